"""The encoder's stage: batches of pixels in, vectors out, smaller batches when memory runs out."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fashion_pipeline.embeddings.channel import Channel
from fashion_pipeline.embeddings.pool import Decoded
from fashion_pipeline.embeddings.report import PipelineOptions
from fashion_pipeline.embeddings.spec import ModelSpec
from fashion_pipeline.embeddings.vectors import (
    BadVectorError,
    EncoderMemoryError,
    ImageEncoder,
    Pixels,
    Provenance,
    Vectors,
    unit_vectors,
)
from fashion_pipeline.errors import ModelError

logger = logging.getLogger(__name__)

_FIRST_BATCH = 32  # images to begin with, before the encoder is there to say what suits it


@dataclass(frozen=True)
class Encoded:
    """Vectors float32 [n, 768], row i of image `sha256[i]`."""

    sha256: tuple[str, ...]
    vectors: Vectors


@dataclass(frozen=True)
class End:
    """No more images than `total` will come, failed ones included."""

    total: int


class EncodeStage:
    """Runs in a thread of its own: from `pixels` to `results`."""

    def __init__(
        self, spec: ModelSpec, factory: Callable[[], ImageEncoder], options: PipelineOptions
    ) -> None:
        self._spec = spec
        self._factory = factory
        self._options = options
        self._encoder: ImageEncoder | None = None
        self._expected: int | None = None
        self._received = 0
        self.pixels: Channel[Decoded | End] = Channel()
        self.results: Channel[Any] = Channel()
        self.batch_size: int | None = options.batch_size
        self.provenance: Provenance | None = None
        self.load_seconds = self.encode_seconds = self.wait_seconds = 0.0

    @property
    def window(self) -> int:
        """Images that may be under way: room for a batch in the encoder and those decoded ahead."""
        return (self._options.queue_batches + 1) * (self.batch_size or _FIRST_BATCH) + self._options.chunk

    def run(self) -> None:
        """Encode until `End` is met and everything before it came.

        Raises:
            ChannelClosed: the run was stopped.
        """
        while self._expected is None or self._received < self._expected:
            batch = self._next_batch()
            if batch:
                self._encode(batch)

    def _next_batch(self) -> list[Decoded]:
        batch: list[Decoded] = []
        started = time.perf_counter()
        while len(batch) < (self.batch_size or _FIRST_BATCH) and (
            self._expected is None or self._received < self._expected
        ):
            message = self.pixels.get()
            if isinstance(message, End):
                self._expected = message.total
                continue
            self._received += 1
            if message.pixels is None:
                self.results.put(message)
            else:
                batch.append(message)
        if self._encoder is not None:
            self.wait_seconds += time.perf_counter() - started
        return batch

    def _encode(self, batch: list[Decoded]) -> None:
        encoder = self._encoder or self._load()
        size = self.batch_size or _FIRST_BATCH
        start = 0
        while start < len(batch):
            part = batch[start : start + size]
            started = time.perf_counter()
            try:
                good, vectors = self._vectors(encoder, part)
            except EncoderMemoryError:
                if len(part) == 1:
                    raise
                size = self.batch_size = max(1, len(part) // 2)
                logger.warning("out of memory with %d images: going on with %d at a time", len(part), size)
                continue
            self.encode_seconds += time.perf_counter() - started
            if good:
                self.results.put(Encoded(tuple(image.sha256 for image in good), vectors))
            start += len(part)

    def _vectors(self, encoder: ImageEncoder, images: list[Decoded]) -> tuple[list[Decoded], Vectors]:
        """Vectors of those that have one; the others become failures, and the rest is encoded again."""
        try:
            vectors = unit_vectors(encoder.encode_images(self._stack(images)))
        except BadVectorError as error:
            bad = set(error.indices)
            for index in sorted(bad):
                self.results.put(Decoded(images[index].sha256, None, "bad_vector", str(error)))
            rest = [image for index, image in enumerate(images) if index not in bad]
            if not rest:
                return [], np.empty((0, self._spec.dimension), dtype=np.float32)
            return self._vectors(encoder, rest)
        if len(vectors) != len(images):
            raise ModelError(f"the model gave {len(vectors)} vectors for {len(images)} images")
        return images, vectors

    def _stack(self, images: list[Decoded]) -> Pixels:
        data = bytearray().join(image.pixels or b"" for image in images)
        return np.frombuffer(data, dtype=np.uint8).reshape(len(images), *self._spec.preprocessing.size, 3)

    def _load(self) -> ImageEncoder:
        started = time.perf_counter()
        encoder = self._factory()
        if encoder.spec.image_model_id != self._spec.image_model_id:
            raise ModelError(
                f"the encoder is {encoder.spec.image_model_id}, "
                f"but vectors of {self._spec.image_model_id} are due"
            )
        self._encoder = encoder
        self.provenance = encoder.provenance(self._options.decode_options.mode)
        if self.batch_size is None:
            self.batch_size = encoder.batch_size
        self.load_seconds = time.perf_counter() - started
        return encoder
