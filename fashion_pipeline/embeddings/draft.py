"""Whether JPEGs may be decoded at a fraction of their size: measured for a model, kept in its folder.

libjpeg scales by 1/2, 1/4 or 1/8 while it decodes, which takes a third of the time; the resize then starts
from at least twice the model's size. Whether a vector minds depends on the model. It is admitted where the
worst of the pictures keeps cosine 0.999 to full decode (design, guarantee 10), and stands in the provenance.
"""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fashion_pipeline.embeddings.decode import DecodeOptions, decode_image
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.embeddings.golden import MIN_COSINE
from fashion_pipeline.embeddings.spec import ModelSpec
from fashion_pipeline.errors import ModelError

DRAFT_FILE = "draft.json"
_WIDTH, _HEIGHT = 1200, 1600


@dataclass(frozen=True)
class DraftMeasure:
    """The worst and the mean cosine between vectors of draft and of full decode, over so many pictures.

    Pictures that are too small to be scaled while they are decoded are not counted.
    """

    image_model_id: str
    pictures: int
    worst_cosine: float
    mean_cosine: float

    @property
    def admitted(self) -> bool:
        """Whether draft mode keeps the vectors."""
        return self.pictures > 0 and self.worst_cosine >= MIN_COSINE


def measure_draft(encoder: Encoder, photos: Iterable[bytes]) -> DraftMeasure:
    """Embed JPEGs both ways.

    Raises:
        ImageDecodeError: one of them cannot be decoded.
    """
    shape = encoder.spec.preprocessing
    cosines: list[float] = []
    for data in photos:
        full = decode_image(data, shape)
        draft = decode_image(data, shape, DecodeOptions(draft=True))
        if not np.array_equal(full, draft):
            vectors = encoder.encode_images(np.stack([full, draft]))
            cosines.append(float(vectors[0] @ vectors[1]))
    mean = float(np.mean(cosines)) if cosines else 0.0
    return DraftMeasure(encoder.spec.image_model_id, len(cosines), min(cosines, default=0.0), mean)


def write_draft(spec: ModelSpec, measure: DraftMeasure) -> Path:
    """Keep a measure with the model folder."""
    path = spec.folder / DRAFT_FILE
    path.write_text(json.dumps(asdict(measure)) + "\n", encoding="utf-8")
    return path


def read_draft(spec: ModelSpec) -> DraftMeasure | None:
    """The measure in the model's folder; None where there is none, or where it is of another model.

    Raises:
        ModelError: the file cannot be read.
    """
    path = spec.folder / DRAFT_FILE
    try:
        measure = DraftMeasure(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{str(path)!r} cannot be read ({error}): delete it and measure again") from error
    return measure if measure.image_model_id == spec.image_model_id else None


def admitted_decode(spec: ModelSpec) -> DecodeOptions:
    """Draft where the folder's measure admits it, else full decode."""
    measure = read_draft(spec)
    return DecodeOptions(draft=measure is not None and measure.admitted)


def hard_photos() -> Iterator[bytes]:
    """JPEGs of 1,200 x 1,600 with what scaling may spoil: stripes and checks of few pixels, dots, grain, edges."""
    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    generator = np.random.default_rng(20261128)
    body = (np.abs(x / _WIDTH - 0.5) < 0.16 + 0.2 * y / _HEIGHT) & (y > 150) & (y < 1450)
    for period in (5, 12, 33):
        stripes = (x + y) // period % 2
        checks = (x // period + y // period) % 2
        dots = ((x % (2 * period) - period) ** 2 + (y % (2 * period) - period) ** 2) < (period * 0.6) ** 2
        grain = generator.normal(0, 25, size=(_HEIGHT, _WIDTH))
        for pattern in (stripes, checks, dots):
            light, dark = generator.integers(150, 256, 3), generator.integers(0, 100, 3)
            cloth = np.where(pattern[..., None] > 0, light, dark) + grain[..., None] * 0.4
            picture = np.where(body[..., None], cloth, 250)
            stream = io.BytesIO()
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=88)
            yield stream.getvalue()
