"""Read, decode, encode, hand over: four stages that overlap, with bounded memory between them.

    caller's thread     takes items, hands out vectors and failures (so its database session stays its own)
    reader threads      bytes by SHA-256, checked against it
    decode threads      one per worker process, which decodes and resizes
    encoder thread      batches, loads the model when the first batch is there, encodes

At most a fixed number of images is under way between taking an item and its result.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeAlias

import numpy as np

from fashion_pipeline.embeddings.arena import Arena
from fashion_pipeline.embeddings.channel import Channel, ChannelClosed
from fashion_pipeline.embeddings.draft import admitted_decode
from fashion_pipeline.embeddings.encoding import Encoded, EncodeStage, End
from fashion_pipeline.embeddings.machine import available_cores
from fashion_pipeline.embeddings.pool import Decoded, DecodeWorker, Payload
from fashion_pipeline.embeddings.report import EmbedFailure, EmbedItem, EmbedReport, PipelineOptions
from fashion_pipeline.embeddings.spec import ModelSpec
from fashion_pipeline.embeddings.vectors import EmbeddedBatch, ImageEncoder
from fashion_pipeline.embeddings.worker import WorkerSettings, peak_memory
from fashion_pipeline.errors import PermanentError, TransientError
from fashion_pipeline.ids import sha256_bytes

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int | None], None]

_SMALL_JOB = 100  # images; below, a second worker costs more to start than it saves
_MAX_WORKERS = 16
_CHUNK_BYTES = 8 << 20  # bounds what waits to be decoded where pictures are large
_STORE_FAULTS = frozenset({"read_failed", "other_bytes"})
_JOIN_SECONDS = 10.0  # a reader may be inside a slow read; it is a daemon thread and ends with the process


@dataclass(frozen=True)
class _Crash:
    """A stage cannot go on."""

    error: BaseException


def embed(
    items: Iterable[EmbedItem],
    read: Callable[[str], bytes],
    *,
    spec: ModelSpec,
    encoder_factory: Callable[[], ImageEncoder],
    on_batch: Callable[[EmbeddedBatch], None],
    on_failure: Callable[[EmbedFailure], None],
    options: PipelineOptions | None = None,
    progress: Progress | None = None,
) -> EmbedReport:
    """Embed images of distinct SHA-256.

    `items`, `on_batch`, `on_failure` and `progress` run in the caller's thread, `read` in several others.
    `encoder_factory` is called at most once, when a first batch is decoded; its caller closes the encoder.
    Results come in any order. An image that cannot be read, decoded or embedded costs that image; what
    `on_batch` has returned from is done, also when a later error ends the run.

    Raises:
        ModelError: the encoder is another model than `spec`, or gives vectors of another shape.
        EncoderMemoryError: not even one image fits into memory.
        WorkerStartError: no decode worker starts.
    """
    run = _Run(read, spec, encoder_factory, on_batch, on_failure, options or PipelineOptions(), progress)
    return run.execute(items)


class _Run:
    def __init__(
        self,
        read: Callable[[str], bytes],
        spec: ModelSpec,
        encoder_factory: Callable[[], ImageEncoder],
        on_batch: Callable[[EmbeddedBatch], None],
        on_failure: Callable[[EmbedFailure], None],
        options: PipelineOptions,
        progress: Progress | None,
    ) -> None:
        self.read, self.spec, self.options = read, spec, options
        self.on_batch, self.on_failure, self.progress = on_batch, on_failure, progress
        self.wanted: Channel[list[EmbedItem]] = Channel()
        self.decode_options = options.decode_options or admitted_decode(spec)
        self.encoding = EncodeStage(spec, encoder_factory, options, self.decode_options.mode)
        self.workers: list[DecodeWorker] = []
        self.encoded: list[Encoded] = []
        self.encoded_since = 0.0
        self.requested = self.embedded = 0
        self.failed: Counter[str] = Counter()
        self.read_seconds = self.write_seconds = 0.0
        self.lock = threading.Lock()

    def execute(self, items: Iterable[EmbedItem]) -> EmbedReport:
        started = time.perf_counter()
        total = len(items) if isinstance(items, Sized) else None
        iterator = iter(items)
        first = list(islice(iterator, _SMALL_JOB))
        self.encoding.total = total
        if first:
            count = self._worker_count(len(first))
            self.chunks: Channel[list[Payload]] = Channel(2 * count)
            arena = Arena(self.encoding.most_under_way, self.spec.preprocessing)
            threads = self._start(count, arena)
            try:
                self._drive(chain(first, iterator), total)
            finally:
                self._stop(threads)
                arena.close()
        return self._report(time.perf_counter() - started)

    def _worker_count(self, images: int) -> int:
        if images < _SMALL_JOB:
            return 1
        return self.options.workers or min(available_cores(), _MAX_WORKERS)

    def _start(self, count: int, arena: Arena) -> list[threading.Thread]:
        options = self.options
        settings = WorkerSettings(
            self.spec.preprocessing,
            self.decode_options,
            options.decode,
            options.memory_limit,
            arena.fd,
            arena.size,
        )
        self.workers = [DecodeWorker(settings, arena, options.decode_timeout) for _ in range(count)]
        targets: list[tuple[str, Callable[[], None]]] = [("encode", lambda: self.encoding.run(arena))]
        targets += [("read", self._read_loop)] * max(1, min(options.readers, count * 4))
        targets += [("decode", _bind(self._decode_loop, worker)) for worker in self.workers]
        threads = [
            threading.Thread(target=self._guarded, args=(target,), name=f"embed-{name}-{i}", daemon=True)
            for i, (name, target) in enumerate(targets)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except ChannelClosed:
            pass
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            self._report_crash(error)

    def _report_crash(self, error: BaseException) -> None:
        try:
            self.encoding.results.put(_Crash(error))
        except ChannelClosed:
            logger.debug("a stage ended after the run did: %s", error)

    def _drive(self, items: Iterator[EmbedItem], total: int | None) -> None:
        """Keep the window full and hand out what comes back, until every item has its result."""
        done, exhausted = 0, False
        while True:
            # A chunk goes out whole: what is under way besides is more than a batch, so results must come.
            while not exhausted and self.requested - done + self.options.chunk <= self.encoding.window:
                wanted = list(islice(items, self.options.chunk))
                self.requested += len(wanted)
                if wanted:
                    self.wanted.put(wanted)
                if len(wanted) < self.options.chunk:
                    exhausted = True
                    self.wanted.close()
                    self.encoding.pixels.put(End(self.requested))
            if exhausted and done == self.requested:
                self._hand_over()
                return
            result = self.encoding.results.get()
            if isinstance(result, _Crash):
                self._hand_over()
                raise result.error
            if isinstance(result, Encoded):
                done += len(result.sha256)
                self._collect(result)
            else:
                done += 1
                self._fail(result)
            if self.progress is not None:
                self.progress(done, total)

    def _collect(self, result: Encoded) -> None:
        if not self.encoded:
            self.encoded_since = time.perf_counter()
        self.encoded.append(result)
        rows = sum(len(part.sha256) for part in self.encoded)
        age = time.perf_counter() - self.encoded_since
        if rows >= self.options.batch_rows or age >= self.options.batch_seconds:
            self._hand_over()

    def _hand_over(self) -> None:
        parts, self.encoded = self.encoded, []
        provenance = self.encoding.provenance
        if not parts or provenance is None:
            return
        started = time.perf_counter()
        names = tuple(name for part in parts for name in part.sha256)
        vectors = np.concatenate([part.vectors for part in parts])
        sizes = tuple(size for part in parts for size in part.sizes)
        self.on_batch(EmbeddedBatch(names, vectors, self.spec.image_model_id, provenance, sizes))
        self.embedded += len(names)
        self.write_seconds += time.perf_counter() - started

    def _fail(self, result: Decoded) -> None:
        error = result.error or "decode_failed"
        self.failed[error] += 1
        self.on_failure(EmbedFailure(result.sha256, error, result.detail, error not in _STORE_FAULTS))

    def _read_loop(self) -> None:
        while True:
            chunk: list[Payload] = []
            size = 0
            for item in self.wanted.get():
                payload = self._read_one(item.sha256)
                if payload is None:
                    continue
                chunk.append(payload)
                size += len(payload.data)
                if size >= _CHUNK_BYTES:
                    self.chunks.put(chunk)
                    chunk, size = [], 0
            if chunk:
                self.chunks.put(chunk)

    def _read_one(self, sha256: str) -> Payload | None:
        started = time.perf_counter()
        try:
            data = self.read(sha256)
        except (OSError, PermanentError, TransientError) as error:
            self.encoding.pixels.put(Decoded(sha256, None, None, "read_failed", str(error)[:300]))
            return None
        digest = sha256_bytes(data)
        with self.lock:
            self.read_seconds += time.perf_counter() - started
        if digest != sha256:
            detail = f"the stored bytes have SHA-256 {digest}: they were altered; fetch the picture again"
            self.encoding.pixels.put(Decoded(sha256, None, None, "other_bytes", detail))
            return None
        return Payload(sha256, data)

    def _decode_loop(self, worker: DecodeWorker) -> None:
        try:
            while True:
                for decoded in worker.decode(self.chunks.get()):
                    self.encoding.pixels.put(decoded)
        finally:
            worker.release()

    def _stop(self, threads: list[threading.Thread]) -> None:
        for channel in (self.wanted, self.chunks, self.encoding.pixels, self.encoding.results):
            channel.close(discard=True)
        for worker in self.workers:
            worker.close()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _report(self, seconds: float) -> EmbedReport:
        encoding = self.encoding
        provenance = encoding.provenance
        busy = encoding.encode_seconds + encoding.wait_seconds
        working = max(seconds - encoding.load_seconds, 1e-9)
        return EmbedReport(
            requested=self.requested,
            embedded=self.embedded,
            failed=dict(self.failed),
            seconds=seconds,
            stage_seconds={
                "read": self.read_seconds,
                "decode": sum(worker.seconds for worker in self.workers),
                "load": encoding.load_seconds,
                "encode": encoding.encode_seconds,
                "write": self.write_seconds,
            },
            encoder_wait_share=encoding.wait_seconds / busy if busy else 0.0,
            images_per_second=self.embedded / working,
            device=provenance.device if provenance else None,
            precision=provenance.precision if provenance else None,
            decode_mode=self.decode_options.mode,
            batch_size=encoding.batch_size,
            workers=len(self.workers),
            model_id=self.spec.image_model_id,
            peak_memory=peak_memory(),
            worker_peak_memory=max((worker.peak for worker in self.workers), default=0),
            device_peak_memory=encoding.device_peak_memory,
        )


def _bind(loop: Callable[[DecodeWorker], None], worker: DecodeWorker) -> Callable[[], None]:
    return lambda: loop(worker)
