"""A small line plot, for figures over time in a report or in an event's metadata."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from fashion_pipeline.images.sheet import CARD, EDGE, INK, MARGIN, PALE, load_font

WIDTH, HEIGHT = 720, 300
LEFT, TOP, BOTTOM = 84, 56, 40
BLUE, GREEN, ORANGE = "#2563eb", "#0d9488", "#c2410c"
#: Horizontal lines: the ends of the axis and its quarters.
_TICKS = 5


@dataclass(frozen=True)
class Series:
    """Values under a name, oldest first."""

    name: str
    values: Sequence[float]
    color: str = BLUE


def line_plot(
    series: Sequence[Series],
    *,
    labels: Sequence[str],
    title: str = "",
    axis: tuple[float, float] | None = None,
    marks: Sequence[int] = (),
    height: int = HEIGHT,
) -> Image.Image:
    """The series over one axis, each named with its last value; the first and the last label under them.

    `axis` is its lowest and highest value, by default those of the series; `marks` are positions that a
    vertical line stands at; `height` is in pixels.

    Raises:
        ValueError: a series has not one value for each label, or the axis has no extent.
    """
    if any(len(each.values) != len(labels) for each in series):
        raise ValueError("a series needs one value for each label")
    bottom, top = axis or _extent([value for each in series for value in each.values])
    if not bottom < top:
        raise ValueError(f"an axis from {bottom:g} to {top:g} has no extent")
    page = Image.new("RGB", (WIDTH, height), CARD)
    draw = ImageDraw.Draw(page)
    small, large = load_font(12), load_font(15)
    right, low = WIDTH - MARGIN, height - BOTTOM

    def place(position: int, value: float) -> tuple[float, float]:
        share = min(1.0, max(0.0, (value - bottom) / (top - bottom)))
        steps = max(1, len(labels) - 1)
        return LEFT + (right - LEFT) * position / steps, low - (low - TOP) * share

    draw.text((MARGIN, 8), title, INK, large)
    for number in range(_TICKS):
        tick = bottom + (top - bottom) * number / (_TICKS - 1)
        _, high = place(0, tick)
        draw.line((LEFT, high, right, high), EDGE)
        draw.text((MARGIN, high - 7), f"{tick:,.4g}", PALE, small)
    for position in marks:
        across, _ = place(position, bottom)
        draw.line((across, TOP, across, low), PALE, 2)
    edge = float(MARGIN)
    for each in series:
        points = [place(position, value) for position, value in enumerate(each.values)]
        if len(points) > 1:
            draw.line(points, each.color, 2, joint="curve")
        for across, high in points:
            draw.ellipse((across - 3, high - 3, across + 3, high + 3), each.color)
        name = f"{each.name} {each.values[-1]:,.6g}" if each.values else each.name
        draw.rectangle((edge, 35, edge + 10, 45), each.color)
        draw.text((edge + 16, 32), name, INK, small)
        edge += 40 + small.getlength(name)
    if labels:
        draw.text((LEFT, low + 10), labels[0], PALE, small)
    if len(labels) > 1:
        draw.text((right - small.getlength(labels[-1]), low + 10), labels[-1], PALE, small)
    return page


def _extent(values: Sequence[float]) -> tuple[float, float]:
    lowest, highest = min(values, default=0.0), max(values, default=0.0)
    if lowest < highest:
        return lowest, highest
    # Half way up where nothing moves.
    around = max(abs(lowest), 1.0) / 2
    return lowest - around, highest + around
