"""One open of an engine's shard, under the collection's lock."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import qdrant_edge as engine

from fashion_pipeline.errors import CollectionError, FashionPipelineError, PermanentError, TransientError
from fashion_pipeline.index.edge_folder import EdgeFolder

#: Unflushed points are replayed from the log when a killed writer's shard is opened: 20,000 in a second.
_FLUSH_EVERY = 10_000
#: A holder lets waiters in after this long: a search then waits about two seconds at worst, of its ten.
_HOLD_SECONDS = 1.0
#: Asking whether someone waits costs two system calls: not after every point.
_ASK_EVERY_SECONDS = 0.1


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
        self._unflushed = 0
        self._ask_at = 0.0

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
            stack.enter_context(self._lock.held(f"{self._purpose} ({self.name})", self._timeout))
            metadata = self._folder.metadata(self.name)
            if metadata is None:
                raise self._folder.missing(self.name)
            with translated(self.name):
                self._shard = engine.EdgeShard.load(str(self._folder.shard(self.name)))
            stack.callback(self._close_shard)
            self.metadata = metadata
            self._ask_at = time.monotonic() + _HOLD_SECONDS
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Flush what was written, close the shard, free the lock. Closing twice is harmless."""
        self._stack.close()

    def update(self, operation: engine.UpdateOperation, points: int) -> None:
        """Apply one operation that changes `points` points; durable on return."""
        with translated(self.name):
            self.shard.update(operation)
            self._unflushed += points
            if self._unflushed >= _FLUSH_EVERY:
                self.shard.flush()
                self._unflushed = 0
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
        shard, self._shard = self.shard, None
        try:
            if self._unflushed:
                self._unflushed = 0
                with translated(self.name):
                    shard.flush()
        finally:
            shard.close()
