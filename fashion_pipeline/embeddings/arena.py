"""Memory that decode workers write pixels into and the encoder's stage reads, without a copy in between.

An unlinked file, mapped by this process and by every worker: whatever is killed, nothing is left behind.
"""

import mmap
import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterable

import numpy as np

from fashion_pipeline.embeddings.spec import Preprocessing
from fashion_pipeline.embeddings.vectors import Pixels


class Arena:
    """`slots` images of the model's size. A slot belongs to who took it until it is given back."""

    def __init__(self, slots: int, preprocessing: Preprocessing) -> None:
        height, width = preprocessing.size
        self.slots = slots
        self.slot_bytes = height * width * 3
        self.fd = _anonymous_file(slots * self.slot_bytes)
        # Pages come into being when they are written, so that room for large batches costs nothing unused.
        memory = mmap.mmap(self.fd, slots * self.slot_bytes)
        self.pixels: Pixels = np.frombuffer(memory, dtype=np.uint8).reshape(slots, height, width, 3)
        self._free = deque(range(slots))
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes."""
        return self.slots * self.slot_bytes

    def take(self, count: int) -> list[int]:
        """Slots for `count` images. There are as many as images may be under way, so it never waits."""
        with self._lock:
            return [self._free.popleft() for _ in range(count)]

    def give(self, slots: Iterable[int]) -> None:
        """Give slots back. The last used is the next taken: its pages are there already."""
        with self._lock:
            self._free.extendleft(slots)

    def gather(self, slots: list[int], target: Pixels) -> None:
        """Copy the images in `slots` into `target` [n, height, width, 3]."""
        np.take(self.pixels, slots, axis=0, out=target, mode="clip")

    def close(self) -> None:
        """Close the file; the memory goes with the last view of it."""
        os.close(self.fd)


def _anonymous_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("fashion-pipeline-pixels")
    else:
        with tempfile.TemporaryFile() as stream:
            fd = os.dup(stream.fileno())
    os.ftruncate(fd, size)
    return fd
