"""Contact sheets: many pictures with captions as one picture that a person takes in at a glance."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

# Pillow imports all its plugins at the first save in a format that is not registered yet.
from PIL import Image, ImageDraw, ImageFont, WebPImagePlugin

from fashion_pipeline.images.thumbnails import thumbnails

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAGE = "#f4f4f5"
CARD = "#ffffff"
EDGE = "#dcdce0"
BLANK = "#ececef"
MARK = "#16a34a"
INK = "#18181b"
PALE = "#71717a"
MARGIN = 16
GAP = 12
PADDING = 8
RADIUS = 8

QUALITIES = (40, 55, 70, 82)
SCALES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.15, 0.08)


@dataclass(frozen=True)
class Tile:
    """One picture (encoded, in any format; None for a gap) and the lines under it.

    `text` stands in place of a picture; a `marked` tile has a frame.
    """

    image: bytes | None
    caption: tuple[str, ...] = ()
    text: str = ""
    marked: bool = False


def contact_sheet(
    tiles: Sequence[Tile],
    *,
    columns: int = 6,
    tile_size: int = 160,
    title: str | None = None,
    max_pixels: int | None = None,
) -> Image.Image:
    """The tiles in rows of `columns`, each picture within `tile_size` x `tile_size` pixels.

    Captions that are too long end in an ellipsis; the first line is dark, the others pale. A picture that
    does not decode, or crashes its decoder, leaves its tile blank.

    Raises:
        ValueError: fewer than one column, or a tile too small to see anything.
    """
    if columns < 1 or tile_size < 16:
        raise ValueError("a contact sheet needs at least one column and tiles of 16 pixels")
    columns = min(columns, max(len(tiles), 1))
    rows = max(1, -(-len(tiles) // columns))
    small, large = load_font(max(10, tile_size // 13)), load_font(max(13, tile_size // 9))
    line = line_height(small)
    captions = max((len(tile.caption) for tile in tiles), default=0)
    card = tile_size + 2 * PADDING
    card_height = card + (captions * line + PADDING if captions else 0)
    top = MARGIN + (line_height(large) + GAP if title else 0)
    page = Image.new(
        "RGB",
        (2 * MARGIN + columns * (card + GAP) - GAP, top + rows * (card_height + GAP) - GAP + MARGIN),
        PAGE,
    )
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((MARGIN, MARGIN), _fit(title, large, page.width - 2 * MARGIN), INK, large)
    pictures = thumbnails((tile.image for tile in tiles), tile_size, max_pixels=max_pixels)
    for index, (tile, picture) in enumerate(zip(tiles, pictures, strict=True)):
        left = MARGIN + index % columns * (card + GAP)
        high = top + index // columns * (card_height + GAP)
        draw.rounded_rectangle(
            (left, high, left + card - 1, high + card_height - 1),
            RADIUS,
            CARD,
            MARK if tile.marked else EDGE,
            width=3 if tile.marked else 1,
        )
        corner = left + PADDING, high + PADDING
        if tile.text:
            _write(draw, tile.text, corner, tile_size, large)
        else:
            _place(page, draw, picture, corner, tile_size, small)
        for number, text in enumerate(tile.caption):
            place = (left + PADDING, high + card + number * line)
            draw.text(place, _fit(text, small, tile_size), PALE if number else INK, small)
    return page


def _place(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    picture: Image.Image | None,
    corner: tuple[int, int],
    size: int,
    font: Font,
) -> None:
    left, top = corner
    if picture is not None:
        page.paste(picture, (left + (size - picture.width) // 2, top + (size - picture.height) // 2))
        return
    draw.rectangle((left, top, left + size - 1, top + size - 1), BLANK)
    text = _fit("no picture", font, size)
    draw.text(
        (left + (size - font.getlength(text)) / 2, top + (size - line_height(font)) / 2), text, PALE, font
    )


def _write(draw: ImageDraw.ImageDraw, text: str, corner: tuple[int, int], size: int, font: Font) -> None:
    """Words in lines that fit; what needs more lines than there are ends in an ellipsis."""
    words = text.split()
    lines: list[str] = []
    most, height = max(1, size // line_height(font)), line_height(font)
    while words and len(lines) < most - 1:
        taken = 1
        while taken < len(words) and font.getlength(" ".join(words[: taken + 1])) <= size:
            taken += 1
        lines.append(_fit(" ".join(words[:taken]), font, size))
        words = words[taken:]
    if words:
        lines.append(_fit(" ".join(words), font, size))
    for number, line in enumerate(lines):
        draw.text((corner[0], corner[1] + number * height), line, INK, font)


def load_font(size: int) -> Font:
    """DejaVu Sans where the system has it, for its many scripts, else the font that Pillow brings."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def line_height(font: Font) -> int:
    """Pixels from one line to the next."""
    _, top, _, bottom = font.getbbox("Ågjy|")
    return int(bottom - min(top, 0)) + 4


def _fit(text: str, font: Font, width: float) -> str:
    line = " ".join(text.split())
    if font.getlength(line) <= width:
        return line
    low, high = 0, len(line)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(line[:middle].rstrip() + "…") <= width:
            low = middle
        else:
            high = middle - 1
    return line[:low].rstrip() + "…"


def encode_within(image: Image.Image, max_bytes: int) -> tuple[bytes, str]:
    """`image` as WebP of at most `max_bytes` bytes, in the largest size that fits; and its MIME type.

    Raises:
        ValueError: not even a small one fits.
    """
    for scale in SCALES:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        scaled = image if scale == 1.0 else image.resize(size, Image.Resampling.LANCZOS)
        # The least first: where it is too large, so is every other.
        least, *better = QUALITIES
        best = _webp(scaled, least)
        if len(best) <= max_bytes:
            tried = (_webp(scaled, quality) for quality in reversed(better))
            return next((each for each in tried if len(each) <= max_bytes), best), "image/webp"
    raise ValueError(f"a picture of {image.width} x {image.height} pixels does not fit in {max_bytes} bytes")


def _webp(image: Image.Image, quality: int) -> bytes:
    target = BytesIO()
    # Effort 2 of 6 takes a third of the default's time, for a twentieth more bytes.
    image.save(target, WebPImagePlugin.WebPImageFile.format, quality=quality, method=2)
    return target.getvalue()
