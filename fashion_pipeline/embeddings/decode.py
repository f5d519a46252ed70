"""Encoded image bytes to the pixels that the model takes. Runs in worker processes: no torch, no numpy.

The resize is open_clip's own (Pillow's, in the same order), so that vectors agree with the model card's
loop. Where open_clip's loop is crude, this is not: EXIF orientation is applied, what is transparent lies
on white as in a shop, 16-bit grey is scaled, and palettes are expanded before they are resized.
"""

import io
import struct
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from fashion_pipeline.embeddings.spec import Preprocessing
from fashion_pipeline.errors import PermanentError

if TYPE_CHECKING:
    import numpy as np

#: Formats that shops serve. Left out: EPS, which starts Ghostscript, and others that no shop serves.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "TIFF", "BMP", "JPEG2000", "ICO")

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# ISO base media files of HEVC pictures: box type and brand (ISO/IEC 23008-12, annex B).
_HEIC_BRANDS = frozenset(b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"))
# A sliver of 1 x 50,000 pixels whose short side is enlarged to 224 would fill 7 GB.
_MAX_ASPECT = 200
_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# What Pillow's decoders raise on broken bytes, beside OSError: see PIL/ImageFile.py and the plugins.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError)


@dataclass(frozen=True)
class DecodeOptions:
    """Limits and speed.

    `max_pixels` bounds width x height as the header states them: 50 million is twice a 24-megapixel
    camera, and 200 MB as RGBA. `draft` lets libjpeg scale by 1/2, 1/4 or 1/8 while it decodes, keeping
    at least twice the model's size; the vectors change a little (see `draft.py`).
    """

    max_pixels: int = 50_000_000
    draft: bool = False

    @property
    def mode(self) -> str:
        """The decode mode as provenance names it."""
        return "draft" if self.draft else "full"


@dataclass(frozen=True)
class Picture:
    """Pixels at the model's size, RGB, row by row; `width` and `height` are the image's own, as stored."""

    pixels: bytes
    width: int
    height: int


class ImageDecodeError(PermanentError):
    """These bytes do not become pixels. `slug` is the class of the failure, for counting."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.detail = detail


def decode_picture(data: bytes, preprocessing: Preprocessing, options: DecodeOptions) -> Picture:
    """Decode and resize to `preprocessing.size`: height x width x 3 bytes.

    Raises:
        ImageDecodeError: `empty`, `not_an_image`, `unsupported_format`, `too_many_pixels`, `truncated`,
            `decode_failed` or `decode_memory`.
    """
    if not data:
        raise ImageDecodeError("empty", "the file has 0 bytes")
    try:
        with warnings.catch_warnings():
            # A damaged EXIF block or an odd palette costs nothing here; the limit below replaces Pillow's.
            warnings.simplefilter("ignore")
            return _decode(data, preprocessing, options)
    except UnidentifiedImageError as error:
        if data[4:12] in _HEIC_BRANDS:
            raise ImageDecodeError(
                "unsupported_format", "HEIC, which Pillow reads only where pillow-heif is installed"
            ) from error
        raise ImageDecodeError("not_an_image", f"no known image format; starts with {data[:16]!r}") from error
    except Image.DecompressionBombError as error:
        raise ImageDecodeError("too_many_pixels", str(error)) from error
    except MemoryError as error:
        raise ImageDecodeError("decode_memory", "decoding needs more memory than a worker may use") from error
    except (*_BROKEN, struct.error) as error:
        text = f"{type(error).__name__}: {error}"
        slug = "truncated" if "truncated" in text.lower() else "decode_failed"
        raise ImageDecodeError(slug, text) from error


def decode_image(
    data: bytes, preprocessing: Preprocessing, options: DecodeOptions | None = None
) -> "np.ndarray":
    """Like `decode_picture`, in this process: a uint8 array [height, width, 3].

    For one picture that a person hands in; the line decodes in workers, which a hostile file can kill.
    """
    import numpy as np

    picture = decode_picture(data, preprocessing, options or DecodeOptions())
    return np.frombuffer(picture.pixels, dtype=np.uint8).reshape(*preprocessing.size, 3)


def _decode(data: bytes, preprocessing: Preprocessing, options: DecodeOptions) -> Picture:
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        width, height = image.size
        if width * height > options.max_pixels:
            raise ImageDecodeError(
                "too_many_pixels", f"{width} x {height} is over the limit of {options.max_pixels} pixels"
            )
        orientation = _orientation(image)
        if options.draft:
            target_height, target_width = preprocessing.size
            if orientation >= 5:
                target_height, target_width = target_width, target_height
            image.draft(None, (2 * target_width, 2 * target_height))
        image.load()
        rgb = _to_rgb(image)
    if orientation in _TRANSPOSE:
        rgb = rgb.transpose(_TRANSPOSE[orientation])
    if preprocessing.resize_mode == "shortest" and max(rgb.size) > _MAX_ASPECT * min(rgb.size):
        raise ImageDecodeError("too_many_pixels", f"{rgb.width} x {rgb.height} is too narrow to be enlarged")
    return Picture(_resize(rgb, preprocessing).tobytes(), width, height)


def _formats() -> list[str]:
    Image.init()
    _register_heif()
    return [name for name in FORMATS if name in Image.OPEN]


@cache
def _register_heif() -> None:
    try:
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return  # HEIC is then an unsupported format
    pillow_heif.register_heif_opener()


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except (*_BROKEN, struct.error):
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGB", rgba.size, (255, 255, 255))
        canvas.paste(rgba, mask=rgba.getchannel("A"))
        return canvas
    if image.mode.startswith(("I", "F")):
        return _scaled_grey(image).convert("RGB")
    return image.convert("RGB")


def _scaled_grey(image: Image.Image) -> Image.Image:
    """16- and 32-bit integers or floats to 8 bits: Pillow's own `convert` clips at 255 instead."""
    wide = image.convert("F")
    low, high = wide.getextrema()
    assert isinstance(low, float)
    assert isinstance(high, float)
    if image.mode.startswith("I"):
        full = 255.0 if high <= 255 and not image.mode.startswith("I;16") else 65535.0
        low, high = 0.0, max(full, high)
    elif low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    scale = 255.0 / (high - low) if high > low else 0.0
    return wide.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")


def _resize(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Squash, or fit and crop, as open_clip's `image_transform` does at inference."""
    height, width = preprocessing.size
    resample = _RESAMPLING[preprocessing.interpolation]
    if preprocessing.resize_mode == "squash":
        return image.resize((width, height), resample)
    ratios = (image.height / height, image.width / width)
    if preprocessing.resize_mode == "longest":
        ratio = max(ratios)
        fitted = image.resize((round(image.width / ratio), round(image.height / ratio)), resample)
    elif height == width:
        # torchvision's Resize with one number cuts the longer side's fraction off.
        short, long = sorted(image.size)
        longer = int(height * long / short)
        fitted = image.resize((height, longer) if image.width <= image.height else (longer, height), resample)
    else:
        ratio = min(ratios)
        fitted = image.resize(
            (round(image.width / ratio), round(image.height / ratio)), Image.Resampling.BICUBIC
        )
    if fitted.size == (width, height):
        return fitted
    canvas = Image.new("RGB", (width, height), (preprocessing.fill_color,) * 3)
    # Python's round() on the halves, as torchvision's center_crop and open_clip's center_crop_or_pad.
    canvas.paste(fitted, (_offset(width, fitted.width), _offset(height, fitted.height)))
    return canvas


def _offset(target: int, actual: int) -> int:
    return (target - actual) // 2 if actual < target else -round((actual - target) / 2.0)
