"""Pictures for the tests, made from numbers."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def photo(seed: int, width: int = 150, height: int = 200) -> Image.Image:
    """Smooth colours with some grain, like a photograph to a codec."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, size=(5, 4, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    grain = generator.normal(0, 6, size=(height, width, 3))
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


def jpeg(seed: int, width: int = 150, height: int = 200, **options: Any) -> bytes:
    return encoded(photo(seed, width, height), "JPEG", quality=90, **options)


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    """80 x 60: the left half of one colour, the right of another."""
    image = Image.new("RGB", (80, 60), right)
    image.paste(left, (0, 0, 40, 60))
    return image


def bomb_header() -> bytes:
    """A PNG of 70 bytes that says it is 60,000 x 60,000."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )
