import csv
import hashlib
import io
import random
import struct

import pytest
from PIL import Image

from fashion_pipeline.images import inspect
from fashion_pipeline.images.inspect import ImageError, InspectLimits, inspect_image
from fashion_pipeline_tests.images.samples import HEIC, HTML, REAL, SIZE, SVG, jpeg, pictures, png_header

PICTURES = {name: (format, frames, data) for name, format, frames, data in pictures()}


@pytest.mark.parametrize("name", PICTURES)
def test_reads_what_pillow_reads(name: str) -> None:
    format, frames, data = PICTURES[name]
    info = inspect_image(data)
    assert (info.format, info.width, info.height, info.frames) == (format, *SIZE, frames)
    assert info.animated == (frames > 1)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.size, image.format) == (SIZE, format.upper())


@pytest.mark.parametrize(
    ("slug", "data"),
    [
        ("empty", b""),
        ("not_an_image", HTML),
        ("not_an_image", b"\xef\xbb\xbf  <html>"),
        ("not_an_image", b'{"error": "not found"}'),
        ("not_an_image", b"\0" * 100),
        ("not_an_image", struct.pack(">I4s4s", 16, b"ftyp", b"isom") + b"\0" * 40),
        ("unsupported_format", SVG),
        ("unsupported_format", b"<svg xmlns='x'/>"),
        ("unsupported_format", b"\0\0\0\x0cJXL \r\n\x87\n"),
        ("too_many_pixels", png_header(100_000, 100_000)),
        ("too_many_pixels", png_header(2**31 - 1, 2**31 - 1)),
        ("too_many_pixels", png_header(100_000, 100_000)[:40]),
        ("too_many_pixels", b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 2**30, -(2**30))),
        ("too_many_pixels", b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6 + b"\0" * 60),
        ("broken_header", png_header(0, 10)),
        ("broken_header", b"\xff\xd8\xff\xd9"),
        ("broken_header", b"GIF89a\x05\0\x05\0\0\0\0\x99"),
        ("truncated", jpeg()[:-40]),
        ("truncated", jpeg()[:30]),
        ("truncated", PICTURES["png"][2][:-12]),
        ("truncated", PICTURES["gif_animated"][2][:-40]),
        ("truncated", PICTURES["webp_lossy"][2][:-4]),
        ("truncated", PICTURES["avif"][2][:-4]),
    ],
)
def test_names_what_is_wrong(slug: str, data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        inspect_image(data)
    assert caught.value.slug == slug


def test_heic_is_read_where_it_can_be_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "find_spec", lambda name: None)
    with pytest.raises(inspect.UnsupportedFormatError, match="only where pillow-heif is installed"):
        inspect_image(HEIC)
    monkeypatch.setattr(inspect, "find_spec", lambda name: name == "pillow_heif")
    info = inspect_image(HEIC)
    # Coded size; the visible one, which is what the decoder reports, is cut out of it.
    assert (info.format, info.width, info.height, info.frames) == ("heic", 64, 64, 1)
    with pytest.raises(inspect.TruncatedImageError):
        inspect_image(HEIC[:-4])
    with pytest.raises(inspect.TooManyPixelsError):
        inspect_image(HEIC, InspectLimits(64 * 64 - 1))


def test_limits_are_inclusive() -> None:
    data = PICTURES["gif_animated"][2]
    pixels = SIZE[0] * SIZE[1]
    assert inspect_image(data, InspectLimits(max_pixels=pixels, max_frames=3)).frames == 3
    for limits, slug in (
        (InspectLimits(pixels - 1), "too_many_pixels"),
        (InspectLimits(pixels, 2), "too_many_frames"),
    ):
        with pytest.raises(ImageError) as caught:
            inspect_image(data, limits)
        assert caught.value.slug == slug


def test_a_first_gif_frame_beyond_the_screen_counts() -> None:
    data = bytearray(PICTURES["gif"][2])
    struct.pack_into("<HH", data, 6, 1, 1)
    assert (inspect_image(bytes(data)).width, inspect_image(bytes(data)).height) == SIZE


@pytest.mark.parametrize("name", PICTURES)
def test_no_bytes_raise_anything_else(name: str) -> None:
    """Every cut and 200 random changes: a result or an ImageError, nothing else."""
    data = PICTURES[name][2]
    generator = random.Random(name)
    broken = [data[:length] for length in range(0, len(data), max(1, len(data) // 300))]
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(generator.randint(1, 8)):
            changed[generator.randrange(min(len(changed), 400))] = generator.randrange(256)
        broken.append(bytes(changed))
    for bad in broken:
        try:
            inspect_image(bad)
        except ImageError as error:
            assert error.slug  # noqa: PT017 - raising is one of the two right outcomes


@pytest.mark.skipif(not REAL.is_dir(), reason="the real photos are not beside this checkout")
def test_a_thousand_real_photos() -> None:
    with (REAL / "photos" / "index.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 1000
    for row in rows:
        data = (REAL / "photos" / row["file"]).read_bytes()
        info = inspect_image(data)
        assert (info.width, info.height) == (int(row["width"]), int(row["height"])), row["file"]
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (row["sha256"], int(row["bytes"]))
