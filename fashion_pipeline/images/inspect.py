"""What a picture says of itself: format, size in pixels and frames from its header, without decoding.

Written by hand over the bytes, because Pillow's openers for WebP and AVIF allocate the canvas that the
header announces, and this runs on bytes from anywhere, in the process that fetches them.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

from fashion_pipeline.errors import PermanentError


class ImageError(PermanentError):
    """Bytes that cannot be used as a picture; `slug` is the class of failure in `types.ERRORS`."""

    slug: ClassVar[str] = "not_an_image"


class NotAnImageError(ImageError):
    """Not a picture of any format known here."""


class EmptyImageError(ImageError):
    """No bytes at all."""

    slug = "empty"


class UnsupportedFormatError(ImageError):
    """A picture, but of a format that is not decoded."""

    slug = "unsupported_format"


class BrokenHeaderError(ImageError):
    """A known format with a header that makes no sense."""

    slug = "broken_header"


class TruncatedImageError(ImageError):
    """The end of the picture is missing."""

    slug = "truncated"


class TooManyPixelsError(ImageError):
    """The header announces more pixels than allowed."""

    slug = "too_many_pixels"


class TooManyFramesError(ImageError):
    """An animation of more frames than allowed."""

    slug = "too_many_frames"


@dataclass(frozen=True)
class InspectLimits:
    """50 million pixels decode to 200 MB; a shop's largest originals have about 25 million."""

    max_pixels: int = 50_000_000
    max_frames: int = 1_000


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Format in lower case as Pillow names it; width and height in pixels as stored."""

    format: str
    width: int
    height: int
    frames: int = 1

    @property
    def animated(self) -> bool:
        """Whether there is more than one frame."""
        return self.frames > 1


def inspect_image(data: bytes, limits: InspectLimits | None = None) -> ImageInfo:
    """Format, size and frames of `data`, by its magic bytes and header.

    A missing end is found where the format shows it (JPEG, PNG, GIF, WebP, AVIF); whether the pixels
    decode, only decoding shows.

    Raises:
        ImageError: in the subclass that says what is wrong.
    """
    limits = limits or InspectLimits()
    if not data:
        raise EmptyImageError("no bytes")
    reader = _reader(data)
    try:
        info, complete = reader(data)
    except (struct.error, IndexError) as error:
        raise TruncatedImageError(f"the header ends after {len(data)} bytes") from error
    if info.width <= 0 or info.height <= 0:
        raise BrokenHeaderError(f"{info.format} of {info.width} x {info.height} pixels")
    if info.width * info.height > limits.max_pixels:
        raise TooManyPixelsError(
            f"{info.format} of {info.width} x {info.height} pixels, more than {limits.max_pixels:,}"
        )
    if info.frames > limits.max_frames:
        raise TooManyFramesError(f"{info.format} of {info.frames} frames, more than {limits.max_frames:,}")
    if not complete:
        raise TruncatedImageError(f"{info.format} of {len(data)} bytes without its end")
    return info


Reading = tuple[ImageInfo, bool]  # and whether the end is there, where the format shows it


def _reader(data: bytes) -> Callable[[bytes], Reading]:
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp
    if data[4:8] == b"ftyp":
        return _iso_media
    if data.startswith((b"II*\0", b"MM\0*")):
        return _tiff
    if data.startswith(b"BM") and data[6:10] == b"\0\0\0\0":
        return _bmp
    raise _stranger(data)


def _stranger(data: bytes) -> ImageError:
    for magic, name in (
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"8BPS", "Photoshop"),
        (b"\0\0\x01\0", "icon"),
        (b"II+\0", "BigTIFF"),
        (b"MM\0+", "BigTIFF"),
    ):
        if data.startswith(magic):
            return UnsupportedFormatError(f"a {name} picture")
    text = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<svg") or (
        text.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text
    ):
        return UnsupportedFormatError("an SVG drawing")
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in text:
        return NotAnImageError("an HTML page")
    return NotAnImageError(f"starts with {data[:12]!r}")


JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg(data: bytes) -> Reading:
    position = 2
    while True:
        if data[position] != 0xFF:
            raise BrokenHeaderError(f"JPEG with no marker at byte {position}")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker in JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            break
        if marker in (0xD9, 0xDA):
            raise BrokenHeaderError("JPEG without a frame header")
        if marker != 0x01 and not 0xD0 <= marker <= 0xD7:
            (length,) = struct.unpack_from(">H", data, position)
            position += max(length, 2)
    # In scan data 0xFF is always followed by 0 or a restart marker, so the last start of scan belongs to
    # the last picture in the file, and an end of image has to follow it.
    return ImageInfo("jpeg", width, height), data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") > 0


def _png(data: bytes) -> Reading:
    if data[12:16] != b"IHDR":
        raise BrokenHeaderError("PNG without IHDR")
    width, height = struct.unpack_from(">II", data, 16)
    frames, complete, position = 1, False, 8
    while not complete and position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"acTL":
            (frames,) = struct.unpack_from(">I", data, position + 8)
        complete = kind == b"IEND"
        position += 12 + length
    return ImageInfo("png", width, height, max(frames, 1)), complete


def _gif(data: bytes) -> Reading:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _palette(flags)
    frames = 0
    while position < len(data) and data[position] != 0x3B:
        if data[position] == 0x2C:
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, position + 1)
            if frames == 0:
                # A first frame beyond the screen makes decoders enlarge the screen.
                width, height = max(width, left + wide), max(height, top + high)
            frames += 1
            position += 11 + _palette(flags)
        elif data[position] == 0x21:
            position += 2
        else:
            raise BrokenHeaderError(f"GIF with no block at byte {position}")
        while data[position]:
            position += 1 + data[position]
        position += 1
    return ImageInfo("gif", width, height, max(frames, 1)), frames > 0


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> Reading:
    (announced,) = struct.unpack_from("<I", data, 4)
    kind = data[12:16]
    frames = 1
    if kind == b"VP8X":
        flags = data[20]
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        if flags & 0x02:
            frames = max(1, sum(name == b"ANMF" for name, _ in _riff_chunks(data)))
    elif kind == b"VP8L":
        if data[20] != 0x2F:
            raise BrokenHeaderError("lossless WebP without its signature")
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise BrokenHeaderError("lossy WebP without its start code")
        wide, high = struct.unpack_from("<HH", data, 26)
        width, height = wide & 0x3FFF, high & 0x3FFF
    else:
        raise BrokenHeaderError(f"WebP that starts with a chunk {kind!r}")
    return ImageInfo("webp", width, height, frames), announced + 8 <= len(data)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        yield name, position + 8
        position += 8 + length + (length & 1)


def _bmp(data: bytes) -> Reading:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    elif header >= 40:
        width, height = struct.unpack_from("<ii", data, 18)
    else:
        raise BrokenHeaderError(f"BMP with a header of {header} bytes")
    return ImageInfo("bmp", width, abs(height)), True


def _tiff(data: bytes) -> Reading:
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, directory)
    found: dict[int, int] = {}
    for index in range(entries):
        place = directory + 2 + 12 * index
        tag, kind = struct.unpack_from(f"{order}HH", data, place)
        if tag in (256, 257):
            (found[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, place + 8)
    return ImageInfo("tiff", found.get(256, 0), found.get(257, 0)), True


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between two places: name, start and end of their content (ISO/IEC 14496-12, 4.2)."""
    while start + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = end if length == 0 else start + length
        if stop < content:
            raise BrokenHeaderError(f"a box {name!r} of {length} bytes")
        yield name, content, stop
        start = stop


def _iso_media(data: bytes) -> Reading:
    size = len(data)
    (length,) = struct.unpack_from(">I", data, 0)
    brands = {data[place : place + 4] for place in range(8, min(length, size, 256), 4)}
    kind = "heic" if brands.isdisjoint({b"avif", b"avis"}) else "avif"
    if kind == "heic":
        if brands.isdisjoint({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}):
            raise NotAnImageError("a video or another media file")
        if find_spec("pillow_heif") is None:
            raise UnsupportedFormatError(
                "a HEIC picture, which is decoded only where pillow-heif is installed"
            )
    sizes: list[tuple[int, int]] = []
    end = 0
    for name, start, end in _boxes(data, 0, size):
        if name == b"meta":
            sizes.extend(_extents(data, start + 4, end))
    if not sizes:
        raise BrokenHeaderError(f"{kind.upper()} that names no size")
    # The largest extent is the picture itself; tiles, thumbnails and alpha planes are not larger.
    width, height = max(sizes, key=lambda extent: extent[0] * extent[1])
    # How many frames a sequence has stands in its tracks; that there are several is enough here.
    return ImageInfo(kind, width, height, 2 if data[8:12] in (b"avis", b"hevc") else 1), end <= size


def _extents(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    for name, inner, stop in _boxes(data, start, min(end, len(data))):
        if name in (b"iprp", b"ipco"):
            yield from _extents(data, inner, stop)
        elif name == b"ispe":
            yield struct.unpack_from(">II", data, inner + 4)
