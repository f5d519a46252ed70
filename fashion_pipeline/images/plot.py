"""A small line plot of a figure over days, drawn with Pillow, for an event's metadata."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from fashion_pipeline.images.sheet import INK, PAGE, PALE, encode_within, line_height, load_font

WIDTH, HEIGHT, MARGIN = 640, 180, 14
LINE = "#2563eb"
#: Kept with every event of Dagster's log.
MAX_BYTES = 12_000


def trend_plot(points: Sequence[tuple[str, float]], *, title: str) -> tuple[bytes, str]:
    """The points from left to right, the last one named; its bytes and MIME type.

    Raises:
        ValueError: there are fewer than two points.
    """
    if len(points) < 2:
        raise ValueError("a trend needs two points")
    font, large = load_font(12), load_font(14)
    page = Image.new("RGB", (WIDTH, HEIGHT), PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN), title, INK, large)
    values = [value for _, value in points]
    low, high = min(values), max(values)
    span = (high - low) or max(abs(high), 1.0)
    top, bottom = MARGIN + line_height(large) + 12, HEIGHT - MARGIN - line_height(font) - 4
    left, right = MARGIN + 8, WIDTH - MARGIN - 90
    step = (right - left) / (len(points) - 1)
    # Half way up where nothing moves.
    level = (high + low) / 2 if high == low else None
    places = [
        (left + number * step, bottom - (0.5 if level is not None else (value - low) / span) * (bottom - top))
        for number, value in enumerate(values)
    ]
    draw.line(places, LINE, 3, joint="curve")
    for x, y in places:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), LINE)
    draw.text((right + 10, places[-1][1] - line_height(font) / 2), f"{values[-1]:,.6g}", INK, font)
    draw.text((left - 8, HEIGHT - MARGIN - line_height(font)), points[0][0], PALE, font)
    last = points[-1][0]
    draw.text((right - font.getlength(last), HEIGHT - MARGIN - line_height(font)), last, PALE, font)
    return encode_within(page, MAX_BYTES)
