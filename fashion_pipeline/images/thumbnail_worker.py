"""The process that decodes pictures for contact sheets: a crash or a bomb in it costs one picture.

Run as a script, so that it imports Pillow and nothing of this package. On stdin: a length (4 bytes, big
endian) and a picture, again and again. On stdout: width and height (2 bytes each) and the RGB pixels; a
width of 0 means that the picture does not decode.
"""

import contextlib
import resource
import struct
import sys
from io import BytesIO

from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF")
MEMORY = 2 * 2**30


def thumbnail(data: bytes, edge: int, max_pixels: int) -> Image.Image:
    """The first frame, upright, on white, within `edge` x `edge` pixels.

    Raises:
        Exception: whatever Pillow raises for bytes that it cannot decode.
    """
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > max_pixels:
            raise ValueError(f"{image.width} x {image.height} pixels")
        image.draft("RGB", (2 * edge, 2 * edge))
        image.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=2.0)
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            layer = upright.convert("RGBA")
            page = Image.new("RGBA", layer.size, "white")
            return Image.alpha_composite(page, layer).convert("RGB")
        return upright.convert("RGB")


def main() -> None:
    """Serve thumbnails until stdin ends; arguments: edge, max_pixels."""
    edge, max_pixels = int(sys.argv[1]), int(sys.argv[2])
    # Where the system allows no such limit, the limit of pixels has to do.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(4):
        data = source.read(struct.unpack(">I", head)[0])
        try:
            image = thumbnail(data, edge, max_pixels)
        except Exception:  # noqa: BLE001 - decoders raise anything, and the answer is always "no picture"
            sink.write(struct.pack(">HH", 0, 0))
        else:
            sink.write(struct.pack(">HH", image.width, image.height) + image.tobytes())
        sink.flush()


if __name__ == "__main__":
    main()
