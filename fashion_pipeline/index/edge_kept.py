"""Shards that stay open between calls, because opening one costs more than most calls do.

Opening reads the payload indexes of every point: a third of a second of the processor at 100,000 points. A shard that
nobody works on is flushed, and closed as soon as somebody else waits for its lock, or after a while.
"""

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

from fashion_pipeline.errors import FashionPipelineError
from fashion_pipeline.index.edge_shard import HeldShard

logger = logging.getLogger(__name__)

#: How long a shard stays open unused: from one step of a run to the next, and many times what opening it took.
KEEP_SECONDS, KEEP_OPENINGS = 5.0, 20
#: How often an unused one looks whether somebody waits: the most that it delays another process's search.
_LOOK_SECONDS = 0.02


class KeptShards:
    """Open shards of this process that nobody uses, by collection. Safe between threads; a fork has none."""

    def __init__(self) -> None:
        self._unused: dict[str, tuple[HeldShard, float]] = {}
        self.start_anew()
        _all.add(self)

    def start_anew(self) -> None:
        """In a forked child: what the parent opened meanwhile is neither used nor closed, but left, not freed."""
        self._inherited = self._unused
        self._guard = threading.Lock()
        self._unused = {}
        self._watcher: threading.Thread | None = None

    def take(self, collection: str) -> HeldShard | None:
        """The open shard of a collection, for the caller alone; None where none is kept or its files are others now.

        Those of other collections are closed: each holds its payload indexes in memory.
        """
        with self._guard:
            held, _ = self._unused.pop(collection, (None, 0.0))
        self.close()
        if held is not None and not held.is_current():
            held.close()
            return None
        return held

    def put(self, held: HeldShard, *, trims: bool = True) -> None:
        """Keep a shard for the next call, flushed; closed where somebody waits for it."""
        try:
            held.flush()
            if held.wanted():
                held.close()
                return
            if trims:
                held.trim()
        except BaseException:
            held.close()
            raise
        with self._guard:
            keep = max(KEEP_SECONDS, KEEP_OPENINGS * held.opening_seconds)
            self._unused[held.name] = held, time.monotonic() + keep
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="kept-shards", daemon=True)
                self._watcher.start()

    def close(self) -> None:
        """Close what is kept."""
        self._close_those(lambda held, until: True)

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(_LOOK_SECONDS)
            self._close_those(lambda held, until: time.monotonic() >= until or held.wanted())
            with self._guard:
                if not self._unused:
                    self._watcher = None
                    return

    def _close_those(self, chosen: Callable[[HeldShard, float], bool]) -> None:
        with self._guard:
            leaving = [held for held, until in self._unused.values() if chosen(held, until)]
            for held in leaving:
                del self._unused[held.name]
        for held in leaving:
            try:
                held.close()
            except (FashionPipelineError, OSError) as error:
                # What was acknowledged is flushed: nobody's write is lost by this.
                logger.warning("%s", error)


_all: "weakref.WeakSet[KeptShards]" = weakref.WeakSet()


def _close_all() -> None:
    for kept in list(_all):
        kept.close()


def _start_anew() -> None:
    for kept in list(_all):
        kept.start_anew()


atexit.register(_close_all)
# The engine's own lock on its log goes with the descriptor, which a child would hold as long as it lives.
os.register_at_fork(before=_close_all, after_in_child=_start_anew)
