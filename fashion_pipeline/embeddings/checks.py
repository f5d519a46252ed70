"""A loaded model looks at a built-in picture and a text: what `fashion-pipeline model check` prints."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fashion_pipeline.embeddings.draft import read_draft
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.embeddings.golden import GOLDEN_TEXT, golden_picture, read_golden, write_golden
from fashion_pipeline.embeddings.lock import check_lock
from fashion_pipeline.embeddings.spec import ModelSpec
from fashion_pipeline.embeddings.vectors import Pixels
from fashion_pipeline.errors import ModelError

_TIMED_SECONDS = 2.0


@dataclass(frozen=True)
class ModelCheck:
    """What a model is and does on this machine. Norms are those of the vectors, `cosine` is between them.

    `golden` says that the folder keeps golden vectors; they were held against at the load. `draft` is the
    measure of draft decoding, and `locked_files` how many files agree with the folder's lock file, where it
    has these.
    """

    ref: str
    architecture: str
    image_model_id: str
    text_model_id: str
    weights_sha256: str
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_mode: str
    interpolation: str
    context_length: int
    tokenizer_sha256: str
    text_template: str
    dimension: int
    device: str
    precision: str
    image_norm: float
    text_norm: float
    cosine: float
    golden: bool
    draft: str
    locked_files: int | None
    images_per_second: float
    libraries: str


def self_check(encoder: Encoder) -> ModelCheck:
    """Embed the built-in picture and text, and time the encoder for some 2 seconds on its own batch size.

    Raises:
        ModelError: the tokenizer is missing or does not fit, or a file differs from the folder's lock file.
        BadVectorError: the model gives no direction for the picture or the text.
    """
    spec = encoder.spec
    picture = golden_picture(*spec.preprocessing.size)
    image = encoder.encode_images(picture[None])[0]
    text = encoder.encode_texts([GOLDEN_TEXT])[0]
    provenance = encoder.provenance()
    shape = spec.preprocessing
    return ModelCheck(
        ref=spec.ref,
        architecture=spec.architecture,
        image_model_id=spec.image_model_id,
        text_model_id=spec.text_model_id,
        weights_sha256=spec.weights_sha256,
        image_size=shape.size,
        mean=shape.mean,
        std=shape.std,
        resize_mode=shape.resize_mode,
        interpolation=shape.interpolation,
        context_length=spec.text.context_length,
        tokenizer_sha256=spec.text.tokenizer_sha256,
        text_template=spec.text.template,
        dimension=spec.dimension,
        device=provenance.device,
        precision=provenance.precision,
        image_norm=float(np.linalg.norm(image)),
        text_norm=float(np.linalg.norm(text)),
        cosine=float(image @ text),
        golden=read_golden(spec) is not None,
        draft=_draft(spec),
        locked_files=check_lock(spec.folder),
        images_per_second=_rate(encoder, picture),
        libraries=provenance.libraries,
    )


def _draft(spec: ModelSpec) -> str:
    measure = read_draft(spec)
    if measure is None:
        return "not measured: full decode"
    verdict = "admitted" if measure.admitted else "full decode"
    return f"{verdict}, cosine {measure.worst_cosine:.6f} at worst over {measure.pictures} pictures"


def make_golden(encoder: Encoder) -> Path:
    """Embed the built-in picture and text and keep the vectors with the model folder, as `golden.json`.

    Raises:
        ModelError: the encoder is not fp32, which golden vectors are.
    """
    if encoder.precision != "fp32":
        raise ModelError(f"golden vectors are fp32, this encoder is {encoder.precision}: load it with fp32")
    picture = golden_picture(*encoder.spec.preprocessing.size)
    image = encoder.encode_images(picture[None])[0]
    return write_golden(encoder.spec, image, encoder.encode_texts([GOLDEN_TEXT])[0])


def _rate(encoder: Encoder, picture: Pixels) -> float:
    # Grow towards the batch size, so that a slow model is not held up by a batch of a minute; the best call
    # counts, for others on the machine only ever make one slower.
    size, best, started = 1, 0.0, time.perf_counter()
    while (left := _TIMED_SECONDS - (time.perf_counter() - started)) > 0:
        began = time.perf_counter()
        encoder.encode_images(np.repeat(picture[None], size, axis=0))
        best = max(best, size / (time.perf_counter() - began))
        size = max(1, min(encoder.batch_size, 2 * size, int(best * left)))
    return best
