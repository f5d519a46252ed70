"""The encoder's stage: batches of pixels in, vectors out, smaller batches when memory runs out."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fashion_pipeline.embeddings.arena import Arena
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
_LARGEST_BATCH = 1024  # of an encoder's own choice; bounds the arena before the encoder is there
_RATE_BATCHES = 8  # full batches whose rate is believed


@dataclass(frozen=True)
class Encoded:
    """Vectors float32 [n, 768], row i of image `sha256[i]`, which is (width, height) `sizes[i]`."""

    sha256: tuple[str, ...]
    vectors: Vectors
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Started:
    """A batch that the encoder works on. `pixels` are kept, for the device may still read them."""

    images: list[Decoded]
    pixels: Pixels
    finish: Callable[[], Vectors]


@dataclass(frozen=True)
class End:
    """No more images than `total` will come, failed ones included."""

    total: int


class EncodeStage:
    """Runs in a thread of its own: from `pixels` to `results`."""

    def __init__(
        self,
        spec: ModelSpec,
        factory: Callable[[], ImageEncoder],
        options: PipelineOptions,
        decode_mode: str,
    ) -> None:
        self._spec = spec
        self._factory = factory
        self._options = options
        self._decode_mode = decode_mode
        self._encoder: ImageEncoder | None = None
        self._under_way: deque[_Started] = deque()
        self._compiled = False
        self._batches = 0
        self._expected: int | None = None
        self.total: int | None = None
        self._received = 0
        self.pixels: Channel[Decoded | End] = Channel()
        self.results: Channel[Any] = Channel()
        self.batch_size: int | None = options.batch_size
        self.provenance: Provenance | None = None
        self.load_seconds = self.encode_seconds = self.wait_seconds = 0.0
        largest = options.batch_size or _LARGEST_BATCH
        self.most_under_way = (options.queue_batches + 1) * largest + options.chunk

    @property
    def window(self) -> int:
        """Images that may be under way: room for a batch in the encoder and those decoded ahead.

        While the model loads, which takes seconds, a thousand are decoded: 40 MB at 112 pixels, 154 at 224.
        """
        if self.batch_size is None:
            return min(self.most_under_way, _LARGEST_BATCH)
        return (self._options.queue_batches + 1) * self.batch_size + self._options.chunk

    @property
    def device_peak_memory(self) -> int:
        """Most bytes of a GPU's memory in use so far; 0 without one."""
        return self._encoder.device_peak_memory if self._encoder is not None else 0

    def run(self, arena: Arena) -> None:
        """Encode until `End` is met and everything before it came. `arena` holds the pixels.

        Raises:
            ChannelClosed: the run was stopped.
        """
        while self._expected is None or self._received < self._expected:
            batch = self._next_batch()
            if batch:
                self._encode(batch, arena)
        while self._under_way:
            self._finish_oldest()

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
            if message.slot is None:
                self.results.put(message)
            else:
                batch.append(message)
        # While a batch is under way the device works; how long of it, only the device knows.
        if self._encoder is not None and not self._under_way:
            self.wait_seconds += time.perf_counter() - started
        return batch

    def _encode(self, batch: list[Decoded], arena: Arena) -> None:
        encoder = self._encoder or self._load()
        start = 0
        while start < len(batch):
            part = batch[start : start + (self.batch_size or _FIRST_BATCH)]
            began = time.perf_counter()
            try:
                self._start(encoder, part, arena)
            except EncoderMemoryError:
                self._shrink(len(part))
                continue
            start += len(part)
            while len(self._under_way) > encoder.overlap:
                self._finish_oldest()
            seconds = time.perf_counter() - began
            self.encode_seconds += seconds
            self._after(encoder, len(part), seconds)

    def _start(self, encoder: ImageEncoder, images: list[Decoded], arena: Arena) -> None:
        slots = [image.slot for image in images if image.slot is not None]
        pixels = encoder.buffer(len(slots))
        arena.gather(slots, pixels)
        started = _Started(images, pixels, encoder.start(pixels))
        arena.give(slots)
        self._under_way.append(started)

    def _shrink(self, images: int) -> None:
        """Half the batch from here on; the memory of what is under way comes back first."""
        if self._under_way:
            self._finish_oldest()
        elif images == 1:
            raise EncoderMemoryError("not even one image fits into the memory of the device")
        self.batch_size = max(1, images // 2)
        logger.warning("out of memory with %d images: going on with %d at a time", images, self.batch_size)

    def _finish_oldest(self) -> None:
        """Hand out the vectors of the oldest batch; images without one become failures."""
        started = self._under_way.popleft()
        images, pixels = started.images, started.pixels
        finish = started.finish
        while True:
            try:
                vectors = unit_vectors(finish())
                break
            except BadVectorError as error:
                bad = set(error.indices)
                for index in sorted(bad):
                    self.results.put(Decoded(images[index].sha256, None, None, "bad_vector", str(error)))
                good = [index for index in range(len(images)) if index not in bad]
                if not good:
                    return
                images, pixels = [images[index] for index in good], pixels[good]
                assert self._encoder is not None
                finish = self._encoder.start(pixels)
        if len(vectors) != len(images):
            raise ModelError(f"the model gave {len(vectors)} vectors for {len(images)} images")
        names = tuple(image.sha256 for image in images)
        self.results.put(Encoded(names, vectors, tuple(image.size or (0, 0) for image in images)))

    def _after(self, encoder: ImageEncoder, images: int, seconds: float) -> None:
        """Learn from a batch: smaller ones where it took long, compiled where enough is left."""
        if seconds > self._options.batch_seconds / 2 and images > 1:
            # A batch is what `kill -9` repeats besides what waits to be handed over.
            self.batch_size = max(1, int(images * self._options.batch_seconds / 2 / seconds))
            logger.info("a batch of %d images took %.1f s: %d from here on", images, seconds, self.batch_size)
        self._batches += images == self.batch_size
        if self._compiled or self._batches < _RATE_BATCHES or encoder.compile_pays_after is None:
            return
        left = (self.total or self._expected or 0) - self._received
        if left * seconds / images > encoder.compile_pays_after:
            while self._under_way:
                self._finish_oldest()
            began = time.perf_counter()
            encoder.compile(self.batch_size or images)
            self.load_seconds += time.perf_counter() - began
        self._compiled = True

    def _load(self) -> ImageEncoder:
        started = time.perf_counter()
        encoder = self._factory()
        if encoder.spec.image_model_id != self._spec.image_model_id:
            raise ModelError(
                f"the encoder is {encoder.spec.image_model_id}, "
                f"but vectors of {self._spec.image_model_id} are due"
            )
        self._encoder = encoder
        self.provenance = encoder.provenance(self._decode_mode)
        if self.batch_size is None:
            self.batch_size = min(encoder.batch_size, _LARGEST_BATCH)
        self.load_seconds = time.perf_counter() - started
        return encoder
