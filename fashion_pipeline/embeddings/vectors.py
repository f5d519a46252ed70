"""The values that pass between encoder, pipeline and shards, and the guard that every vector passes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fashion_pipeline.embeddings.spec import DIMENSION, ModelSpec
from fashion_pipeline.errors import ModelError, PermanentError, TransientError

Vectors: TypeAlias = NDArray[np.float32]
Pixels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Provenance:
    """How a vector was computed; no part of a model's identity. `libraries` is `name=version`, sorted."""

    device: str
    precision: str
    decode_mode: str
    libraries: str


@dataclass(frozen=True)
class EmbeddedBatch:
    """Vectors of one model: row i of `vectors` (float32 [n, 768], unit length) is of image `sha256[i]`.

    `sizes` holds each image's own (width, height) as its decoder found it; a shard does not keep it.
    """

    sha256: tuple[str, ...]
    vectors: Vectors
    model_id: str
    provenance: Provenance
    sizes: tuple[tuple[int, int], ...] = ()


class BadVectorError(PermanentError):
    """The model gave something that is no direction for the inputs at `indices`."""

    def __init__(self, indices: tuple[int, ...]) -> None:
        super().__init__(f"the model gave NaN, infinity or a zero vector for inputs {list(indices)[:10]}")
        self.indices = indices


class EncoderMemoryError(TransientError):
    """A batch does not fit into the device's memory; a smaller one may."""


class ImageEncoder(Protocol):
    """What the pipeline needs of an encoder."""

    @property
    def spec(self) -> ModelSpec:
        """The model's identity."""
        ...

    @property
    def batch_size(self) -> int:
        """Images that keep the device busy without filling its memory."""
        ...

    def provenance(self, decode_mode: str = "full") -> Provenance:
        """How it computes; `decode_mode` says how its pixels were made."""
        ...

    @property
    def overlap(self) -> int:
        """Batches that may be started before the first is finished: 1 where the device works by itself."""
        ...

    @property
    def compile_pays_after(self) -> float | None:
        """Seconds of remaining work beyond which `compile` is worth its time; None where it never is."""
        ...

    @property
    def device_peak_memory(self) -> int:
        """Most bytes of a GPU's memory in use so far; 0 without one."""
        ...

    def buffer(self, images: int) -> Pixels:
        """Memory for a batch, uint8 [images, height, width, 3], from which the device reads fastest."""
        ...

    def start(self, pixels: Pixels) -> Callable[[], Vectors]:
        """Begin a batch, uint8 [n, height, width, 3]; what is returned waits for its vectors [n, 768]."""
        ...

    def compile(self, batch_size: int) -> bool:
        """Make it faster for batches of one size, at the cost of a minute; whether it is."""
        ...


def unit_vectors(features: Vectors) -> Vectors:
    """Scale each row of float32 [n, 768] to length 1.

    Raises:
        ModelError: the rows have another dimension.
        BadVectorError: a row holds NaN or infinity, or is zero.
    """
    if features.ndim != 2 or features.shape[1] != DIMENSION:
        raise ModelError(f"the model gave an array of shape {features.shape}, not [n, {DIMENSION}]")
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(features.astype(np.float64), axis=1)
    bad = ~np.isfinite(norms) | (norms < 1e-12)
    if bad.any():
        raise BadVectorError(tuple(int(i) for i in np.flatnonzero(bad)))
    unit: Vectors = (features / norms[:, None]).astype(np.float32)
    return unit
