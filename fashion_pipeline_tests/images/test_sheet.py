import io
from pathlib import Path

import pytest
from PIL import Image

from fashion_pipeline.images import thumbnails as module
from fashion_pipeline.images.sheet import Tile, contact_sheet, encode_within
from fashion_pipeline.images.thumbnails import thumbnails
from fashion_pipeline_tests.images.samples import HTML, SVG, drawing, encoded, jpeg, pictures, png_header


def test_every_format_has_a_thumbnail_and_nothing_else_has() -> None:
    names, data = zip(*((name, data) for name, _, _, data in pictures()), strict=True)
    for name, image in zip(names, thumbnails(data, 32), strict=True):
        assert image is not None, name
        assert max(image.size) == 32
        assert (image.width > image.height) == (name not in ("jpeg_exif", "webp_alpha")), "upright by EXIF"
    bad = [None, b"", HTML, SVG, jpeg()[:40], png_header(100_000, 100_000), b"%!PS-Adobe-3.0 EPSF-3.0\n"]
    assert list(thumbnails(bad, 32)) == [None] * len(bad)


def test_a_crash_or_a_hang_costs_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import os, struct, sys, time\n"
        "while head := sys.stdin.buffer.read(4):\n"
        "    data = sys.stdin.buffer.read(struct.unpack('>I', head)[0])\n"
        "    os._exit(139) if data == b'crash' else time.sleep(60 if data == b'hang' else 0)\n"
        "    sys.stdout.buffer.write(struct.pack('>HH', 1, 1) + b'rgb')\n"
        "    sys.stdout.buffer.flush()\n"
    )
    monkeypatch.setattr(module, "WORKER", worker)
    images = list(thumbnails([b"good", b"crash", b"good", b"hang", b"good"], 32, timeout=1.0))
    assert [image is not None for image in images] == [True, False, True, False, True]


def test_a_sheet_shows_every_tile() -> None:
    red = encoded(Image.new("RGB", (300, 300), (220, 20, 20)), "PNG")
    tiles = [
        Tile(red, ("first", "a caption that is much too long for its tile " * 3)),
        Tile(None, ("gap",)),
        Tile(HTML),
    ]
    sheet = contact_sheet(tiles, columns=2, tile_size=100, title="Title")
    plain = contact_sheet(tiles, columns=2, tile_size=100)
    assert sheet.height > plain.height
    assert sheet.width == plain.width == 2 * 16 + 2 * 116 + 12
    corner = 16 + 8
    assert plain.getpixel((corner + 50, corner + 50)) == (220, 20, 20)
    assert plain.getpixel((corner + 128 + 2, corner + 50)) == (236, 236, 239)
    assert contact_sheet([]).size
    with pytest.raises(ValueError):
        contact_sheet(tiles, columns=0)


def test_a_caption_stays_in_its_tile() -> None:
    long = contact_sheet([Tile(None, ("W" * 500,))], columns=1, tile_size=100)
    short = contact_sheet([Tile(None, ("",))], columns=1, tile_size=100)
    edge = (16 + 8 + 100 + 2, 0, long.width, long.height)
    assert long.crop(edge).tobytes() == short.crop(edge).tobytes()
    assert long.tobytes() != short.tobytes()


def test_words_stand_in_place_of_a_picture_and_a_frame_marks_a_tile() -> None:
    def drawn(words: str, *, marked: bool = False) -> Image.Image:
        return contact_sheet([Tile(None, ("title",), text=words, marked=marked)], columns=1, tile_size=100)

    few, many, endless = drawn("Red dress"), drawn("Red dress " * 4), drawn("Red dress " * 90)
    square = (24, 24, 124, 124)
    outside = (0, 124 + 24, few.width, few.height)
    assert few.crop(square).tobytes() != many.crop(square).tobytes() != endless.crop(square).tobytes()
    assert many.crop(outside).tobytes() == endless.crop(outside).tobytes() == few.crop(outside).tobytes()
    assert few.getpixel((17, 60)) != (22, 163, 74) == drawn("Red dress", marked=True).getpixel((17, 60))


@pytest.mark.parametrize("limit", [60_000, 20_000, 2_000])
def test_a_sheet_is_encoded_within_a_limit(limit: int) -> None:
    noise = Image.effect_noise((700, 500), 90).convert("RGB")
    data, mime = encode_within(noise, limit)
    assert len(data) <= limit
    assert mime == "image/webp"
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert 0.95 < (image.width / image.height) / 1.4 < 1.05


def test_what_cannot_fit_is_refused() -> None:
    assert len(encode_within(drawing(), 60_000)[0]) < 2_000
    with pytest.raises(ValueError, match="does not fit"):
        encode_within(drawing(), 10)
