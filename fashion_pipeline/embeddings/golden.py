"""Golden vectors: what a model folder's own picture and text embedded to when it was made or pulled.

A library that changes how a model is built, how pixels are scaled or how a text is cut changes every
vector without an error; held against `golden.json` it becomes one.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fashion_pipeline.embeddings.spec import DIMENSION, ModelSpec
from fashion_pipeline.embeddings.vectors import Pixels, Vectors
from fashion_pipeline.errors import ModelError

GOLDEN_FILE = "golden.json"
GOLDEN_TEXT = "a red dress with white dots"
#: bf16 on another device keeps this to fp32 (design, guarantee 10); a wrong preprocessor does not.
MIN_COSINE = 0.999


@dataclass(frozen=True)
class Golden:
    """Vectors float32 [768] of `golden_picture` and `GOLDEN_TEXT`, with the ids they belong to."""

    image_model_id: str
    text_model_id: str
    image: Vectors
    text: Vectors


def golden_picture(height: int, width: int) -> Pixels:
    """A red garment-like shape with white dots on white, uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    across, down = (x + 0.5) / width, (y + 0.5) / height
    picture = np.full((height, width, 3), 255, dtype=np.uint8)
    dress = (down > 0.1) & (down < 0.9) & (np.abs(across - 0.5) < 0.1 + 0.3 * down)
    dots = ((across * 10) % 1 - 0.5) ** 2 + ((down * 10) % 1 - 0.5) ** 2 < 0.06
    picture[dress & ~dots] = (200, 20, 40)
    return picture


def write_golden(spec: ModelSpec, image: Vectors, text: Vectors) -> Path:
    """Keep the unit vectors of the built-in picture and text (fp32, [768]) with the model folder."""
    path = spec.folder / GOLDEN_FILE
    content = {
        "image_model_id": spec.image_model_id,
        "text_model_id": spec.text_model_id,
        "image": [round(float(value), 7) for value in image],
        "text": [round(float(value), 7) for value in text],
    }
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return path


def read_golden(spec: ModelSpec) -> Golden | None:
    """The golden vectors of the model's folder; None where it has none.

    Raises:
        ModelError: the file cannot be read, or belongs to another model.
    """
    path = spec.folder / GOLDEN_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        golden = Golden(
            content["image_model_id"],
            content["text_model_id"],
            np.array(content["image"], dtype=np.float32).reshape(DIMENSION),
            np.array(content["text"], dtype=np.float32).reshape(DIMENSION),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{str(path)!r} cannot be read ({error}): delete it or copy it again") from error
    ids = (golden.image_model_id, golden.text_model_id)
    if ids != (spec.image_model_id, spec.text_model_id):
        raise ModelError(
            f"{str(path)!r} belongs to {ids[0]} and {ids[1]}, but the folder holds {spec.image_model_id} and "
            f"{spec.text_model_id}: a file of the folder was replaced; pull it again, or delete {path.name}"
        )
    return golden


def hold_against(golden: Vectors, vector: Vectors, side: str, ref: str) -> None:
    """Compare unit vectors [768].

    Raises:
        ModelError: their cosine is below 0.999.
    """
    cosine = float(golden @ vector)
    if cosine < MIN_COSINE:
        raise ModelError(
            f"the {side} side of {ref} gives cosine {cosine:.5f} to its golden vector "
            f"(at least {MIN_COSINE}): a library treats the model otherwise than when it "
            "was made; compare the versions with those of then"
        )
