"""One exclusive lock between threads and processes, which says who holds it and lets waiters in.

Two files: whoever wants `<name>.lock` first takes `<name>.turn` and keeps it while waiting. A holder that
lets go and comes straight back must queue behind the turn, so a loop of writes cannot starve a search.
Both are `flock`s: the kernel frees them when a process dies, however it dies.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fashion_pipeline.errors import TransientError

#: Idle enough while waiting, and short beside the 40 ms that opening a shard takes.
_POLL_SECONDS = 0.004


class FileLock:
    """An exclusive lock beside what it protects. Not reentrant; its files are never removed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._lock = folder / f"{name}.lock"
        self._turn = folder / f"{name}.turn"

    @contextmanager
    def held(self, purpose: str, timeout: float) -> Iterator[Callable[[str], None]]:
        """Hold the lock for the block; `purpose` is what a waiter reads about its holder.

        The block gets a function that tells another purpose from then on.

        Raises:
            TransientError: it was not free within `timeout` seconds; the message says who holds it.
        """
        deadline = time.monotonic() + timeout
        with _opened(self._turn) as turn, _opened(self._lock) as lock:
            self._wait(turn, lock, purpose, deadline, timeout)
            try:
                self._wait(lock, lock, purpose, deadline, timeout)
            finally:
                fcntl.flock(turn, fcntl.LOCK_UN)
            try:
                _write(lock, _introduction(purpose))
                yield lambda purpose: _write(lock, _introduction(purpose))
            finally:
                _write(lock, b"")
                # By hand, not by closing: a child forked meanwhile shares the descriptor and would keep it.
                fcntl.flock(lock, fcntl.LOCK_UN)

    def wanted(self) -> bool:
        """Whether someone waits for the lock right now. Only its holder may ask."""
        with _opened(self._turn) as turn:
            if not _try(turn):
                return True
            fcntl.flock(turn, fcntl.LOCK_UN)
            return False

    def _wait(self, wanted: int, lock: int, purpose: str, deadline: float, timeout: float) -> None:
        while not _try(wanted):
            if time.monotonic() >= deadline:
                raise TransientError(
                    f"{purpose}: the lock {self._lock} was not free within {timeout:g} s; {_holder(lock)}. "
                    "Try again when it is done, or end that process if it hangs (its lock goes with it)"
                )
            time.sleep(_POLL_SECONDS)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)


def _introduction(purpose: str) -> bytes:
    return json.dumps({"pid": os.getpid(), "since": datetime.now(UTC).isoformat(), "what": purpose}).encode()


def _holder(lock: int) -> str:
    try:
        told = json.loads(os.pread(lock, 4096, 0))
        age = (datetime.now(UTC) - datetime.fromisoformat(told["since"])).total_seconds()
        return f"it is held by process {told['pid']} since {told['since']} ({age:.1f} s): {told['what']}"
    except (ValueError, KeyError, TypeError):
        return "its holder changed just now"
