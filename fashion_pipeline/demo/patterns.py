"""The fabrics of the demo garments: a base colour, and a pattern in a second one.

The base colour always covers clearly more than the second, so that "red and white" and "white and red"
differ. Sizes are shares of the picture's side, large enough to survive a reduction to 112 pixels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw

from fashion_pipeline.demo.sketch import Point, Rgb, mix

_INK: Rgb = (38, 26, 48)


class _Grid:
    """Fabric coordinates in picture sides, turned and shifted, mapped to pixels."""

    def __init__(self, side: int, rng: random.Random, tilt: float) -> None:
        self.side = side
        angle = math.radians(rng.uniform(-tilt, tilt))
        self.cos, self.sin = math.cos(angle), math.sin(angle)
        self.dx, self.dy = rng.uniform(0, 0.15), rng.uniform(0, 0.15)

    def __call__(self, x: float, y: float) -> Point:
        x, y = x + self.dx - 0.5, y + self.dy - 0.5
        return (x * self.cos - y * self.sin + 0.5) * self.side, (
            x * self.sin + y * self.cos + 0.5
        ) * self.side


def fabric(pattern: str, base: Rgb, second: Rgb | None, side: int, rng: random.Random) -> Image.Image:
    """An RGB picture of `side` x `side` pixels full of the pattern.

    Raises KeyError for an unknown pattern.
    """
    cloth = Image.new("RGB", (side, side), base)
    if second is not None:
        PATTERNS[pattern](ImageDraw.Draw(cloth), side, rng, base, second)
    return cloth


def _striped(pen: ImageDraw.ImageDraw, side: int, rng: random.Random, base: Rgb, second: Rgb) -> None:
    grid, period = _Grid(side, rng, 6), rng.uniform(0.088, 0.104)
    for i in range(-5, 16):
        top, bottom = i * period, (i + 0.37) * period
        pen.polygon([grid(-0.6, top), grid(1.6, top), grid(1.6, bottom), grid(-0.6, bottom)], fill=second)


def _dotted(pen: ImageDraw.ImageDraw, side: int, rng: random.Random, base: Rgb, second: Rgb) -> None:
    grid, period = _Grid(side, rng, 12), rng.uniform(0.098, 0.112)
    radius = period * 0.29 * side
    for row in range(-6, 18):
        for column in range(-6, 16):
            x, y = grid((column + row % 2 / 2) * period, row * period * 0.87)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=second)


def _checked(pen: ImageDraw.ImageDraw, side: int, rng: random.Random, base: Rgb, second: Rgb) -> None:
    grid, period = _Grid(side, rng, 5), rng.uniform(0.118, 0.134)
    width, hair = max(1, round(0.026 * side)), max(1, round(0.005 * side))
    for i in range(-6, 14):
        for at, thickness, color in (
            (i * period, width, second),
            ((i + 0.5) * period, hair, mix(base, second, 0.6)),
        ):
            pen.line([grid(-0.6, at), grid(1.6, at)], fill=color, width=thickness)
            pen.line([grid(at, -0.6), grid(at, 1.6)], fill=color, width=thickness)
    for i in range(-6, 14):
        for j in range(-6, 14):
            x, y = grid(i * period, j * period)
            half = width / 2
            pen.rectangle((x - half, y - half, x + half, y + half), fill=mix(second, _INK, 0.18))


def _floral(pen: ImageDraw.ImageDraw, side: int, rng: random.Random, base: Rgb, second: Rgb) -> None:
    grid, period = _Grid(side, rng, 15), rng.uniform(0.15, 0.168)
    petal, reach = 0.026 * side, 0.029 * side
    for row in range(-4, 13):
        for column in range(-4, 12):
            x, y = grid(
                (column + row % 2 / 2) * period + rng.uniform(-0.01, 0.01),
                row * period * 0.87 + rng.uniform(-0.01, 0.01),
            )
            turn = rng.uniform(0, math.tau)
            leaf = turn + 0.6
            tip = (x + math.cos(leaf) * reach * 2.6, y + math.sin(leaf) * reach * 2.6)
            pen.line([(x, y), tip], fill=mix(second, _INK, 0.3), width=max(1, round(side * 0.01)))
            for i in range(5):
                a = turn + i * math.tau / 5
                px, py = x + math.cos(a) * reach, y + math.sin(a) * reach
                pen.ellipse((px - petal, py - petal, px + petal, py + petal), fill=second)
            heart = petal * 0.72
            pen.ellipse((x - heart, y - heart, x + heart, y + heart), fill=mix(base, _INK, 0.25))


def _zigzag(pen: ImageDraw.ImageDraw, side: int, rng: random.Random, base: Rgb, second: Rgb) -> None:
    grid, period = _Grid(side, rng, 5), rng.uniform(0.108, 0.122)
    half, rise, width = rng.uniform(0.052, 0.062), 0.058, 0.038
    for i in range(-5, 15):
        top = [(j * half, i * period + (rise if j % 2 else 0.0)) for j in range(-12, 32)]
        points = top + [(x, y + width) for x, y in reversed(top)]
        pen.polygon([grid(x, y) for x, y in points], fill=second)


PATTERNS: dict[str, Callable[[ImageDraw.ImageDraw, int, random.Random, Rgb, Rgb], None]] = {
    "striped": _striped,
    "dotted": _dotted,
    "checked": _checked,
    "floral": _floral,
    "zigzag": _zigzag,
}
"""The patterns that take a second colour. `solid` is the absence of one."""
