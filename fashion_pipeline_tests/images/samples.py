"""Small pictures of every format, and the bytes that pretend to be pictures."""

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real"
SIZE = (57, 43)


def drawing(mode: str = "RGB", size: tuple[int, int] = SIZE, seed: int = 0) -> Image.Image:
    image = Image.new("RGB", size, (seed % 256, 80, 160))
    ImageDraw.Draw(image).ellipse((5, 5, size[0] - 5, size[1] - 5), (220, seed // 256 % 256, 30))
    return image.convert(mode)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def jpeg(seed: int = 0) -> bytes:
    return encoded(drawing(seed=seed), "JPEG")


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces any size in 57 bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def pictures() -> Iterator[tuple[str, str, int, bytes]]:
    """Name, format, frames and bytes of pictures that must be read as what they are; all of SIZE."""
    frames = [drawing(seed=seed) for seed in (0, 70, 140)]
    later: dict[str, object] = {"save_all": True, "append_images": frames[1:], "duration": 50}
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "jpeg", "jpeg", 1, jpeg()
    yield "jpeg_progressive", "jpeg", 1, encoded(drawing(), "JPEG", progressive=True)
    yield "jpeg_cmyk", "jpeg", 1, encoded(drawing("CMYK"), "JPEG")
    yield "jpeg_grey", "jpeg", 1, encoded(drawing("L"), "JPEG")
    yield "jpeg_exif", "jpeg", 1, encoded(drawing(), "JPEG", exif=exif, icc_profile=b"x" * 70_000)
    yield "jpeg_with_tail", "jpeg", 1, jpeg() + b"\0" * 512
    yield "png", "png", 1, encoded(drawing("RGBA"), "PNG")
    yield "png_palette", "png", 1, encoded(drawing("P"), "PNG")
    yield "png_animated", "png", 3, encoded(frames[0], "PNG", **later)
    yield "gif", "gif", 1, encoded(drawing("P"), "GIF")
    yield "gif_animated", "gif", 3, encoded(frames[0], "GIF", **later)
    yield "webp_lossy", "webp", 1, encoded(drawing(), "WEBP")
    yield "webp_lossless", "webp", 1, encoded(drawing(), "WEBP", lossless=True)
    yield "webp_alpha", "webp", 1, encoded(drawing("RGBA"), "WEBP", exif=exif)
    yield "webp_animated", "webp", 3, encoded(frames[0], "WEBP", **later)
    yield "bmp", "bmp", 1, encoded(drawing(), "BMP")
    yield "tiff", "tiff", 1, encoded(drawing(), "TIFF")
    yield "tiff_big_endian", "tiff", 1, encoded(drawing("I;16B"), "TIFF")
    yield "avif", "avif", 1, encoded(drawing(), "AVIF")
    yield "avif_alpha", "avif", 1, encoded(drawing("RGBA"), "AVIF")


SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
HTML = b"<!DOCTYPE html><html><body>Are you human?</body></html>"
#: 64 x 48 pixels, made with pillow-heif 1.8.1.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAADMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
    "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAADttZGF0AAAALygBr1j5Et3/5TTkc89/mBy8cw1CzL7+C3Xblram"
    "U7H1q29LX/JW7fn0NoRMctPc"
)
