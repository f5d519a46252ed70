"""An engine's shard: making one, and one open of it under the collection's lock."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import qdrant_edge as engine

from fashion_pipeline.errors import CollectionError, FashionPipelineError, PermanentError, TransientError
from fashion_pipeline.index.edge_folder import EdgeFolder
from fashion_pipeline.index.edge_pages import MAY_GATHER, give_back, mapped_bytes
from fashion_pipeline.index.types import CollectionSpec, IndexType

#: Unflushed points are replayed from the log when a killed writer's shard is opened: 20,000 in a second.
_FLUSH_EVERY = 10_000
#: A holder lets waiters in after this long: a search then waits about two seconds at worst, of its ten.
_HOLD_SECONDS = 1.0
#: Asking whether someone waits costs two system calls: not after every point.
_ASK_EVERY_SECONDS = 0.1


#: `optimize` builds HNSW from 200,000 points of 768 floats on: below that the scan is as fast
#: and the graph costs minutes.
_HNSW_FROM_KILOBYTES = 600_000
_INDEX_TYPES = {
    "keyword": engine.PayloadSchemaType.Keyword,
    "float": engine.PayloadSchemaType.Float,
}


@contextmanager
def translated(collection: str) -> Iterator[None]:
    """Turn the engine's bare exceptions into ours."""
    try:
        yield
    except FashionPipelineError:
        raise
    except Exception as error:
        text = str(error)
        if "dimension" in text:
            raise CollectionError(f"collection {collection!r}: {text}") from error
        if "os error 28" in text or "No space left" in text:
            raise TransientError(f"collection {collection!r}: the disk is full: {text}") from error
        raise PermanentError(f"collection {collection!r}: Qdrant's engine refused: {text}") from error


def create_shard(path: Path, spec: CollectionSpec) -> None:
    """Make the engine's files of an empty collection in an empty folder."""
    config = engine.EdgeConfig(
        # Cold: else each opening reads all vectors into memory, 3 GB at a million points.
        vectors=engine.EdgeVectorParams(
            size=spec.dimension, distance=engine.Distance.Cosine, memory=engine.Memory.Cold
        ),
        payload_memory=engine.Memory.Cold if spec.on_disk_payload else engine.Memory.Cached,
        optimizers=engine.EdgeOptimizersConfig(indexing_threshold=_HNSW_FROM_KILOBYTES),
        wal_enabled=True,
    )
    shard = engine.EdgeShard.create(str(path), config)
    try:
        for operation in index_operations(spec.payload_indexes):
            shard.update(operation)
        shard.flush()
    finally:
        shard.close()


def index_operations(indexes: Mapping[str, IndexType]) -> Iterator[engine.UpdateOperation]:
    """What makes payload indexes."""
    for field, kind in indexes.items():
        yield engine.UpdateOperation.create_field_index(field, _INDEX_TYPES[kind])


class HeldShard:
    """A shard that this thread holds open. `shard` may be another object after `update` or `give_way`."""

    def __init__(self, folder: EdgeFolder, name: str, purpose: str, timeout: float) -> None:
        self.name = name
        self.metadata: dict[str, Any] = {}
        self._folder = folder
        self._lock = folder.lock(name)
        self._purpose = purpose
        self._timeout = timeout
        self._stack = ExitStack()
        self._shard: engine.EdgeShard | None = None
        self._opened_as: tuple[int, int] | None = None
        self._unflushed = 0
        self._ask_at = 0.0
        #: What opening it took.
        self.opening_seconds = 0.0
        self._mapped_before: int | None = None
        self._introduce: Callable[[str], None] = lambda purpose: None

    @property
    def shard(self) -> engine.EdgeShard:
        """The open shard."""
        if self._shard is None:
            raise PermanentError(f"collection {self.name!r} is not open")
        return self._shard

    def open(self) -> None:
        """Take the lock and open the shard.

        Raises:
            CollectionError: there is no such collection.
            TransientError: the lock was not free in time.
        """
        with ExitStack() as stack:
            if self._folder.metadata(self.name) is None:
                raise self._folder.missing(self.name)
            self._introduce = stack.enter_context(
                self._lock.held(f"{self._purpose} ({self.name})", self._timeout)
            )
            self._opened_as = self._folder.identity(self.name)
            metadata = self._folder.metadata(self.name)
            if metadata is None:
                raise self._folder.missing(self.name)
            self._mapped_before, began = mapped_bytes(), time.monotonic()
            with translated(self.name):
                self._shard = engine.EdgeShard.load(str(self._folder.shard(self.name)))
            self.opening_seconds = time.monotonic() - began
            stack.callback(self._close_shard)
            self.metadata = metadata
            self._ask_at = time.monotonic() + _HOLD_SECONDS
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Flush what was written, close the shard, free the lock. Closing twice is harmless."""
        self._stack.close()

    def reuse(self, purpose: str, timeout: float) -> None:
        """Serve another block of work, whose purpose waiters read from now on."""
        self._purpose, self._timeout = purpose, timeout
        self._introduce(f"{purpose} ({self.name})")

    def flush(self) -> None:
        """Have what was written in the engine's own files, not only in its log."""
        if self._shard is not None and self._unflushed:
            self._unflushed = 0
            with translated(self.name):
                self._shard.flush()

    def trim(self) -> None:
        """Give back the pages that its files take of this process's memory, where they are many."""
        now = mapped_bytes()
        if self._shard is None or now is None:
            return
        self._mapped_before = min(self._mapped_before or now, now)
        if now - self._mapped_before > MAY_GATHER:
            give_back(self._folder.shard(self.name))
            self._mapped_before = mapped_bytes()

    def is_current(self) -> bool:
        """Whether the collection's files are still those that were opened: a restore puts others in their place."""
        return self._shard is not None and self._opened_as == self._folder.identity(self.name)

    def wanted(self) -> bool:
        """Whether somebody waits for the lock, or may: a folder that was removed or is read-only does not tell."""
        try:
            return self._lock.wanted()
        except OSError:
            return True

    def update(self, operation: engine.UpdateOperation, points: int) -> None:
        """Apply one operation that changes `points` points; durable on return."""
        with translated(self.name):
            self.shard.update(operation)
            self._unflushed += points
            if self._unflushed >= _FLUSH_EVERY:
                self.flush()
                self.trim()
        self.give_way()

    def give_way(self) -> None:
        """Close and open again when it has been open for long and someone waits."""
        if self._shard is None:
            self.open()
        elif (now := time.monotonic()) >= self._ask_at:
            self._ask_at = now + _ASK_EVERY_SECONDS
            if self._lock.wanted():
                self.close()
                self.open()

    def _close_shard(self) -> None:
        try:
            self.flush()
        finally:
            shard, self._shard = self.shard, None
            with translated(self.name):
                shard.close()
