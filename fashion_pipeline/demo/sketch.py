"""The drawing board of the demo garments: shapes in, an antialiased picture out.

Lives here: paths, the list of strokes that one garment is made of, and their rendering with patterns, folds,
a drop shadow and a tinted background. Must not live here: what a dress looks like (`tops`, `bottoms`,
`accessories`) or what may be drawn (`garments`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Point: TypeAlias = tuple[float, float]
Path: TypeAlias = list[Point]
Rgb: TypeAlias = tuple[int, int, int]

_SUPERSAMPLING = 2
_SOFT = 4
"""Shadows and folds are drawn at a quarter of the canvas and enlarged: soft edges, a 16th of the cost."""

_INK: Rgb = (38, 26, 48)
_PAPERS: tuple[Rgb, ...] = (
    (236, 231, 222),
    (226, 232, 236),
    (238, 228, 228),
    (228, 234, 226),
    (233, 229, 238),
    (230, 230, 230),
)


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """Blend two RGB colours; `share` of `b` in 0..1."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def luma(color: Rgb) -> float:
    """Perceived lightness of an RGB colour, 0..255 (ITU-R BT.601)."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def path(start: Point, *segments: Sequence[float]) -> Path:
    """Flatten a path: a segment of 2 numbers is a line, of 4 a quadratic and of 6 a cubic Bezier curve."""
    points = [start]
    for segment in segments:
        if len(segment) == 2:
            points.append((segment[0], segment[1]))
            continue
        ends = [points[-1], *zip(segment[::2], segment[1::2], strict=True)]
        degree = len(ends) - 1
        for step in range(1, 11):
            t = step / 10
            weights = [math.comb(degree, i) * t**i * (1 - t) ** (degree - i) for i in range(degree + 1)]
            points.append(
                (
                    sum(w * p[0] for w, p in zip(weights, ends, strict=True)),
                    sum(w * p[1] for w, p in zip(weights, ends, strict=True)),
                )
            )
    return points


def mirror(points: Path) -> Path:
    """Reflect a path at the garment's middle line, x = 0.5."""
    return [(1 - x, y) for x, y in points]


def symmetric(half: Path) -> Path:
    """Close a right half that runs from the top middle to the bottom middle into a whole outline."""
    return half + mirror(half)[::-1]


def ellipse(x: float, y: float, rx: float, ry: float) -> Path:
    """An ellipse as a closed path of 40 points."""
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in (i * math.tau / 40 for i in range(40))]


@dataclass(frozen=True, slots=True)
class _Stroke:
    kind: str  # cloth | solid | line | fold
    points: Path
    tone: float = 0.0
    color: Rgb | str = "ink"
    width: float = 0.006
    outline: bool = True


class Sketch:
    """The strokes of one garment, back to front, in a unit square with y pointing down."""

    def __init__(self) -> None:
        self.strokes: list[_Stroke] = []

    def cloth(self, points: Path, *, tone: float = 0.0, outline: bool = True) -> None:
        """A piece of the patterned fabric; `tone` 0..1 darkens it (linings, bands, what lies behind)."""
        self.strokes.append(_Stroke("cloth", points, tone=tone, outline=outline))

    def pair(self, points: Path, *, tone: float = 0.0) -> None:
        """The same piece of fabric on the right and, mirrored, on the left."""
        self.cloth(points, tone=tone)
        self.cloth(mirror(points), tone=tone)

    def solid(self, points: Path, color: Rgb | str, *, outline: bool = True) -> None:
        """A piece without pattern: an RGB colour, or `base`, `trim`, `ink`."""
        self.strokes.append(_Stroke("solid", points, color=color, outline=outline))

    def line(self, points: Path, *, width: float = 0.006, color: Rgb | str = "ink") -> None:
        """A seam, a lace, a drawstring."""
        self.strokes.append(_Stroke("line", points, color=color, width=width))

    def lines(self, points: Path, *, width: float = 0.006, color: Rgb | str = "ink") -> None:
        """A line on the right and, mirrored, on the left."""
        self.line(points, width=width, color=color)
        self.line(mirror(points), width=width, color=color)

    def dot(self, x: float, y: float, radius: float, color: Rgb | str = "trim") -> None:
        """A button or an eyelet."""
        self.solid(ellipse(x, y, radius, radius), color)

    def fold(self, points: Path, *, width: float = 0.018) -> None:
        """A soft shadow along a path, clipped to the garment."""
        self.strokes.append(_Stroke("fold", points, width=width))

    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of everything that is drawn."""
        points = [p for s in self.strokes if s.kind != "fold" for p in s.points]
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        return min(xs), min(ys), max(xs), max(ys)


def render(
    sketch: Sketch,
    base: Rgb,
    fabric: Callable[[int, random.Random], Image.Image],
    rng: random.Random,
    size: int,
) -> Image.Image:
    """Draw a sketch as an RGB picture of `size` x `size` pixels.

    `fabric(side, rng)` gives the patterned fabric as an RGB picture of `side` x `side` pixels. All variation
    of pose, proportion and background comes from `rng`.
    """
    side = size * _SUPERSAMPLING
    place = _pose(sketch, rng, side)
    placed = [(stroke, [place(p) for p in stroke.points]) for stroke in sketch.strokes]
    silhouette = Image.new("L", (side, side))
    pen = ImageDraw.Draw(silhouette)
    for stroke, points in placed:
        if stroke.kind in ("cloth", "solid"):
            pen.polygon(points, fill=255)

    canvas = _background(silhouette, rng)
    cloth = fabric(side, rng)
    ink = mix(base, (255, 255, 255), 0.3) if luma(base) < 70 else mix(base, _INK, 0.55)
    colors: dict[str, Rgb] = {
        "ink": ink,
        "base": base,
        "trim": mix(base, (255, 255, 255), 0.65) if luma(base) < 110 else mix(base, _INK, 0.75),
    }
    pen = ImageDraw.Draw(canvas)
    for stroke, points in placed:
        color = colors[stroke.color] if isinstance(stroke.color, str) else stroke.color
        if stroke.kind == "line":
            pen.line(points, fill=color, width=max(1, round(stroke.width * side)), joint="curve")
        elif stroke.kind != "fold":
            if stroke.kind == "solid":
                pen.polygon(points, fill=color)
            else:
                _paste(canvas, cloth, points, stroke.tone)
            if stroke.outline:
                pen.line(
                    [*points, points[0], points[1]],
                    fill=ink,
                    width=max(1, round(side * 0.006)),
                    joint="curve",
                )
    _shade(canvas, placed, silhouette)
    return canvas.reduce(_SUPERSAMPLING)


def _pose(sketch: Sketch, rng: random.Random, side: int) -> Callable[[Point], Point]:
    left, top, right, bottom = sketch.bounds()
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    scale = min(0.82 / (right - left), 0.86 / (bottom - top), 1.35) * rng.uniform(0.9, 1.02)
    stretch = rng.uniform(0.96, 1.04)
    angle = math.radians(rng.uniform(-5, 5))
    across, along = math.cos(angle) * scale * side, math.sin(angle) * scale * side
    shift_x, shift_y = (0.5 + rng.uniform(-0.025, 0.025)) * side, (0.5 + rng.uniform(-0.02, 0.02)) * side

    def place(point: Point) -> Point:
        x, y = (point[0] - middle_x) * stretch, (point[1] - middle_y) / stretch
        return shift_x + x * across - y * along, shift_y + x * along + y * across

    return place


def _background(silhouette: Image.Image, rng: random.Random) -> Image.Image:
    side = silhouette.width
    paper = mix(rng.choice(_PAPERS), (rng.randrange(200, 256),) * 3, 0.2)
    ramp = Image.new("RGB", (1, 2))
    ramp.putpixel((0, 0), mix(paper, (255, 255, 255), 0.35))
    ramp.putpixel((0, 1), mix(paper, (120, 112, 120), 0.12))
    canvas = ramp.resize((side, side), Image.Resampling.BILINEAR)
    soft = silhouette.reduce(_SOFT).filter(ImageFilter.BoxBlur(side / 160))
    shadow = _moved(soft, side // 160, side // 110).point(lambda v: v * 0.3)
    canvas.paste((70, 58, 78), (0, 0), shadow.resize((side, side), Image.Resampling.BILINEAR))
    return canvas


def _moved(image: Image.Image, dx: int, dy: int) -> Image.Image:
    moved = Image.new("L", image.size)
    moved.paste(image, (dx, dy))
    return moved


def _paste(canvas: Image.Image, cloth: Image.Image, points: Path, tone: float) -> None:
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    left, top = max(0, int(min(xs))), max(0, int(min(ys)))
    right, bottom = min(canvas.width, int(max(xs)) + 2), min(canvas.height, int(max(ys)) + 2)
    if right <= left or bottom <= top:
        return
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in points], fill=255)
    piece = cloth.crop((left, top, right, bottom))
    if tone:
        piece = Image.blend(piece, Image.new("RGB", piece.size, _INK), tone)
    canvas.paste(piece, (left, top), mask)


def _shade(canvas: Image.Image, placed: list[tuple[_Stroke, Path]], silhouette: Image.Image) -> None:
    """Give every piece a lit left edge and a shaded right one, and lay the folds over it."""
    side = canvas.width
    small = side // _SOFT
    dark, light = Image.new("L", (small, small)), Image.new("L", (small, small))
    pen = ImageDraw.Draw(dark)
    rim = max(1, small // 26)
    for stroke, points in placed:
        near = [(x / _SOFT, y / _SOFT) for x, y in points]
        if stroke.kind == "fold":
            pen.line(near, fill=150, width=max(1, round(stroke.width * small)), joint="curve")
        elif stroke.kind == "cloth":
            piece = Image.new("L", (small, small))
            ImageDraw.Draw(piece).polygon(near, fill=255)
            right = ImageChops.subtract(piece, _moved(piece, -rim, -rim // 2))
            left = ImageChops.subtract(piece, _moved(piece, rim, rim // 2))
            dark = ImageChops.lighter(ImageChops.subtract(dark, piece.point(lambda v: v * 0.3)), right)
            light = ImageChops.lighter(ImageChops.subtract(light, piece), left)
            pen = ImageDraw.Draw(dark)
    for layer, color, strength in ((dark, _INK, 0.36), (light, (255, 255, 255), 0.26)):
        soft = layer.filter(ImageFilter.BoxBlur(max(1.0, small / 90))).point(lambda v, k=strength: v * k)
        soft = ImageChops.multiply(soft.resize((side, side), Image.Resampling.BILINEAR), silhouette)
        canvas.paste(color, (0, 0), soft)
