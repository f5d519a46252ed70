"""A small line plot, for figures over time in a report."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from fashion_pipeline.images.sheet import CARD, EDGE, INK, MARGIN, PALE, load_font

WIDTH, HEIGHT = 720, 300
LEFT, TOP, BOTTOM = 52, 56, 40


@dataclass(frozen=True)
class Series:
    """Values between 0 and 1, oldest first, under a name."""

    name: str
    values: Sequence[float]
    color: str


def line_plot(
    series: Sequence[Series],
    *,
    labels: Sequence[str],
    marks: Sequence[int] = (),
    title: str = "",
) -> Image.Image:
    """The series over one axis from 0 to 1, the first and the last label under it; `marks` are positions."""
    page = Image.new("RGB", (WIDTH, HEIGHT), CARD)
    draw = ImageDraw.Draw(page)
    small, large = load_font(12), load_font(15)
    right, low = WIDTH - MARGIN, HEIGHT - BOTTOM

    def place(position: int, value: float) -> tuple[float, float]:
        steps = max(1, len(labels) - 1)
        return LEFT + (right - LEFT) * position / steps, low - (low - TOP) * min(1.0, max(0.0, value))

    draw.text((MARGIN, 8), title, INK, large)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        _, high = place(0, tick)
        draw.line((LEFT, high, right, high), EDGE)
        draw.text((MARGIN, high - 7), f"{tick:.2f}", PALE, small)
    for position in marks:
        across, _ = place(position, 0.0)
        draw.line((across, TOP, across, low), PALE, 2)
    edge = float(LEFT)
    for each in series:
        points = [place(position, value) for position, value in enumerate(each.values)]
        if len(points) > 1:
            draw.line(points, each.color, 2, joint="curve")
        for across, high in points:
            draw.ellipse((across - 3, high - 3, across + 3, high + 3), each.color)
        name = f"{each.name} {each.values[-1]:.3f}" if each.values else each.name
        draw.rectangle((edge, 35, edge + 10, 45), each.color)
        draw.text((edge + 16, 32), name, INK, small)
        edge += 40 + small.getlength(name)
    if labels:
        draw.text((LEFT, low + 10), labels[0], PALE, small)
        if len(labels) > 1:
            draw.text((right - small.getlength(labels[-1]), low + 10), labels[-1], PALE, small)
    return page
