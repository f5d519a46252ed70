import io
import random
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from fashion_pipeline.embeddings.decode import DecodeOptions, ImageDecodeError, decode_image, decode_picture
from fashion_pipeline.embeddings.spec import Preprocessing
from fashion_pipeline_tests.embeddings.pictures import bomb_header, encoded, halves, jpeg, photo
from fashion_pipeline_tests.images.samples import HEIC

RED, BLUE, WHITE = (220, 30, 30), (30, 30, 220), (255, 255, 255)
OPTIONS = DecodeOptions()


def shape(
    size: tuple[int, int] = (64, 64), mode: str = "squash", interpolation: str = "bicubic", fill: int = 0
) -> Preprocessing:
    return Preprocessing(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), mode, interpolation, fill)


def decoded(data: bytes) -> np.ndarray:
    return decode_image(data, shape())


def close(pixels: Any, colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(np.all(np.abs(np.asarray(pixels, dtype=int) - np.array(colour)) <= tolerance))


def left_and_right(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image[:, :24], image[:, 40:]


def slug_of(data: bytes, options: DecodeOptions = OPTIONS) -> str:
    with pytest.raises(ImageDecodeError) as caught:
        decode_picture(data, shape(), options)
    return caught.value.slug


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
@pytest.mark.parametrize("mode", ["squash", "shortest", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("picture", [(150, 200), (201, 97), (40, 30), (64, 64), (333, 64)])
def test_pixels_equal_those_of_open_clip(
    size: tuple[int, int], mode: str, interpolation: str, picture: tuple[int, int]
) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    preprocessing = shape(size, mode, interpolation, fill=7)
    data = jpeg(3, *picture)
    cfg = PreprocessCfg(
        size=size, mean=(0, 0, 0), std=(1, 1, 1), interpolation=interpolation, resize_mode=mode, fill_color=7
    )
    theirs = image_transform_v2(cfg, is_train=False)(Image.open(io.BytesIO(data)))
    pixels = (theirs * 255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(decode_image(data, preprocessing), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = photo(5, 90, 60)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for form in ("PNG", "JPEG", "WEBP"):
        options = {"quality": 100, "subsampling": 0} if form == "JPEG" else {"lossless": True}
        result = decoded(encoded(stored, form, exif=exif, **({} if form == "PNG" else options)))
        wanted = decoded(encoded(upright, "PNG"))
        assert np.abs(result.astype(int) - wanted).mean() < 2.0, form


def test_damaged_exif_costs_nothing() -> None:
    data = jpeg(1, exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff\x01\x12\0\x03")
    assert decoded(data).shape == (64, 64, 3)


def test_cmyk() -> None:
    left, right = left_and_right(decoded(encoded(halves(RED, BLUE).convert("CMYK"), "JPEG", quality=95)))
    assert close(left, RED, 30)
    assert close(right, BLUE, 30)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(form: str) -> None:
    ramp = np.tile(np.linspace(0, 65535, 128).astype(np.uint16), (64, 1))
    result = decoded(encoded(Image.fromarray(ramp), form))
    assert close(result[:, :1], (0, 0, 0), 3)
    assert close(result[:, 31:33], (127, 127, 127), 4)
    assert close(result[:, -1:], WHITE, 3)


def test_32_bit_integers_and_floats_are_scaled() -> None:
    ramp = np.tile(np.linspace(0, 65535, 128).astype(np.int32), (64, 1))
    assert close(decoded(encoded(Image.fromarray(ramp), "TIFF"))[:, 31:33], (127, 127, 127), 4)
    unit = np.tile(np.linspace(0, 1, 128, dtype=np.float32), (64, 1))
    assert close(decoded(encoded(Image.fromarray(unit), "TIFF"))[:, 31:33], (127, 127, 127), 4)
    flat = np.full((8, 8), 3.5, dtype=np.float32)
    assert decoded(encoded(Image.fromarray(flat), "TIFF")).shape == (64, 64, 3)


def transparent_left() -> Image.Image:
    """Left: black and wholly transparent. Right: red."""
    image = halves((0, 0, 0), RED).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 40, 60))
    return image


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_transparency_lies_on_white(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    left, right = left_and_right(decoded(encoded(transparent_left(), form, **options)))
    assert close(left, WHITE)
    assert close(right, RED)


def test_half_transparency_is_mixed_with_white() -> None:
    result = decoded(encoded(Image.new("RGBA", (50, 50), (0, 0, 0, 128)), "PNG"))
    assert close(result, (127, 127, 127), 2)


def test_palette_with_alpha_lies_on_white() -> None:
    paletted = transparent_left().quantize(8)
    assert paletted.mode == "P"
    left, right = left_and_right(decoded(encoded(paletted, "PNG")))
    assert close(left, WHITE)
    assert close(right, RED)


def test_palette_index_and_colour_key_transparency() -> None:
    paletted = halves(BLUE, RED).quantize(2)
    index = paletted.getpixel((0, 0))
    left, right = left_and_right(decoded(encoded(paletted, "PNG", transparency=index)))
    assert close(left, WHITE)
    assert close(right, RED)
    left, right = left_and_right(decoded(encoded(halves(BLUE, RED), "PNG", transparency=BLUE)))
    assert close(left, WHITE)
    assert close(right, RED)


def test_palette_is_resized_smoothly() -> None:
    gradient = Image.linear_gradient("L").convert("P")
    rows = decoded(encoded(gradient, "PNG"))[:, 0, 0].astype(int)
    assert np.all(np.diff(rows) >= 0)
    assert len(set(rows.tolist())) > 50


def test_grey_with_alpha_and_bilevel() -> None:
    grey = Image.new("LA", (50, 50), (0, 0))
    assert close(decoded(encoded(grey, "PNG")), WHITE)
    assert close(decoded(encoded(Image.new("1", (50, 50), 1), "PNG")), WHITE)
    assert close(decoded(encoded(Image.new("L", (50, 50), 77), "JPEG")), (77, 77, 77))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF"])
def test_first_frame_of_an_animation(form: str) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    frames = [Image.new("RGB", (60, 60), RED), Image.new("RGB", (60, 60), BLUE)]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=100)
    assert close(decoded(data), RED, 20)


def test_avif() -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    left, right = left_and_right(decoded(encoded(halves(RED, BLUE), "AVIF")))
    assert close(left, RED, 20)
    assert close(right, BLUE, 20)


@pytest.mark.parametrize("form", ["BMP", "TIFF", "JPEG2000", "ICO", "MPO"])
def test_other_formats_of_shops(form: str) -> None:
    if form == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    assert decoded(encoded(halves(RED, BLUE), form)).shape == (64, 64, 3)


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="pillow-heif is installed")
def test_heic_is_named_where_nothing_decodes_it() -> None:
    with pytest.raises(ImageDecodeError, match="only where pillow-heif is installed") as caught:
        decode_picture(HEIC, shape(), OPTIONS)
    assert caught.value.slug == "unsupported_format"


def test_heic() -> None:
    pytest.importorskip("pillow_heif")
    picture = decode_picture(HEIC, shape(), OPTIONS)
    assert (picture.width, picture.height) == (64, 48)
    assert close(decoded(HEIC)[4:26, 4:26], (20, 40, 200), 40)
    assert close(decoded(HEIC)[40:, 40:], (200, 30, 30), 40)


def test_what_is_no_picture() -> None:
    assert slug_of(b"") == "empty"
    assert slug_of(b"<!DOCTYPE html><html><body>404</body></html>") == "not_an_image"
    assert slug_of(b"%PDF-1.7 ...") == "not_an_image"
    assert slug_of(b"\0" * 5000) == "not_an_image"


def test_formats_that_start_programs_are_not_read() -> None:
    assert slug_of(encoded(halves(RED, BLUE), "EPS")) == "not_an_image"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF"])
def test_truncated(form: str) -> None:
    data = encoded(photo(1), form)
    assert slug_of(data[: len(data) // 2]) == "truncated"


@pytest.mark.parametrize("form", ["WEBP", "AVIF"])
def test_cut_container_fails(form: str) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    data = encoded(photo(1), form)
    assert slug_of(data[: len(data) // 2]) in ("decode_failed", "not_an_image", "truncated")


def test_pixel_limits() -> None:
    assert slug_of(bomb_header()) == "too_many_pixels"
    data = jpeg(1, 100, 101)
    assert slug_of(data, DecodeOptions(max_pixels=10_000)) == "too_many_pixels"
    assert len(decode_picture(data, shape(), DecodeOptions(max_pixels=10_100)).pixels) == 64 * 64 * 3
    sliver = encoded(Image.new("RGB", (1, 5000)), "PNG")
    with pytest.raises(ImageDecodeError, match="too narrow"):
        decode_picture(sliver, shape(mode="shortest"), OPTIONS)


def test_draft_mode_stays_close_and_does_not_enlarge() -> None:
    data = jpeg(4, 800, 1000)
    full = decode_image(data, shape()).astype(int)
    draft = decode_image(data, shape(), DecodeOptions(draft=True)).astype(int)
    assert np.abs(full - draft).mean() < 2.0
    small = jpeg(4, 100, 90)
    np.testing.assert_array_equal(
        decode_image(small, shape()), decode_image(small, shape(), DecodeOptions(draft=True))
    )


def test_damaged_bytes_give_pixels_or_a_class() -> None:
    generator = random.Random(11)
    forms = [encoded(photo(1, 60, 50), form) for form in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "ICO")]
    forms.append(encoded(transparent_left().quantize(8), "PNG"))
    known = {"not_an_image", "too_many_pixels", "truncated", "decode_failed", "decode_memory"}
    seen: set[str] = set()
    for _ in range(60):
        for original in forms:
            data = bytearray(original)
            for _ in range(generator.randint(1, 12)):
                data[generator.randrange(min(len(data), 400))] = generator.randrange(256)
            try:
                assert len(decode_picture(bytes(data), shape(), OPTIONS).pixels) == 64 * 64 * 3
                seen.add("pixels")
            except ImageDecodeError as error:
                seen.add(error.slug)
    assert {"pixels", "not_an_image"} <= seen
    assert seen <= known | {"pixels"}
