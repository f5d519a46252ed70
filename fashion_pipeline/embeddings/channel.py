"""A bounded queue between two stages that can be closed from either side."""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ChannelClosed(Exception):  # noqa: N818 - it ends a loop, it is no error
    """There is nothing more to take, or nobody left to give to."""


class Channel(Generic[T]):
    """First in, first out, of at most `size` items (0: no bound). Every wait ends when it is closed."""

    def __init__(self, size: int = 0) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: T) -> None:
        """Add `item`, waiting for room.

        Raises:
            ChannelClosed: the channel is closed.
        """
        with self._changed:
            while not self._closed and self._size and len(self._items) >= self._size:
                self._changed.wait()
            if self._closed:
                raise ChannelClosed
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T:
        """Take the oldest item, waiting for one. What was put before `close` is still given.

        Raises:
            ChannelClosed: the channel is closed and empty.
        """
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            if not self._items:
                raise ChannelClosed
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self, *, discard: bool = False) -> None:
        """Take nothing more; `discard` also drops what waits."""
        with self._changed:
            self._closed = True
            if discard:
                self._items.clear()
            self._changed.notify_all()
