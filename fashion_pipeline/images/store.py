"""Pictures by the SHA-256 of their bytes: equal bytes are one file, whatever URLs they came from."""

import threading
from collections.abc import Iterator
from typing import IO

from fashion_pipeline.ids import SHA256, check_sha256, sha256_bytes
from fashion_pipeline.storage import DataLocation, Entry

FOLDER = "images"


class ImageStore:
    """`images/ab/<sha256>` in a data location; safe to use from many threads.

    One level of folders: 10 million pictures are but 40,000 to a folder, and with a second one most new
    pictures pay for a folder of their own: a quarter more processor time, three times the wait of `sync`.
    """

    def __init__(self, data: DataLocation) -> None:
        self.data = data
        # Striped by the first byte of the digest: two threads with the same bytes write them once.
        self._locks = tuple(threading.Lock() for _ in range(256))

    def key(self, sha256: str) -> str:
        """The key of a picture in the data location.

        Raises:
            ValueError: not a SHA-256 digest.
        """
        check_sha256(sha256)
        return f"{FOLDER}/{sha256[:2]}/{sha256}"

    def put(self, data: bytes) -> tuple[str, bool]:
        """Store `data` whole or not at all; the digest, and whether the bytes were new.

        They are there after a kill, and after a loss of power once `sync` was called. What lies under the
        digest with another size is such a loss, and written again.
        """
        sha256 = sha256_bytes(data)
        key = self.key(sha256)
        with self._locks[int(sha256[:2], 16)]:
            if self.data.holds(key, len(data)):
                return sha256, False
            self.data.write(key, data, durable=False)
        return sha256, True

    def sync(self) -> None:
        """Make durable what was put; before a ledger says that it is there."""
        self.data.sync()

    def exists(self, sha256: str) -> bool:
        """Whether the picture is there."""
        return self.data.exists(self.key(sha256))

    def open(self, sha256: str) -> IO[bytes]:
        """Open a picture for reading.

        Raises:
            PermanentError: it is not there.
        """
        return self.data.open(self.key(sha256))

    def read(self, sha256: str) -> bytes:
        """The bytes of a picture.

        Raises:
            PermanentError: it is not there.
        """
        return self.data.read(self.key(sha256))

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """Digest and file of every picture, in no order; what is not named like one is left out."""
        for entry in self.data.list(FOLDER):
            sha256 = entry.key.rpartition("/")[2]
            if SHA256.fullmatch(sha256):
                yield sha256, entry

    def leftovers(self) -> Iterator[Entry]:
        """Files that a killed process did not finish, and those that are being written now."""
        return self.data.leftovers(FOLDER)

    def delete(self, entry: Entry) -> None:
        """Remove one of `entries` or `leftovers`."""
        self.data.delete(entry.key)

    def discard(self, sha256: str) -> None:
        """Remove a picture; nothing happens where it is not there."""
        self.data.delete(self.key(sha256))

    def verify(self, sha256: str) -> bool:
        """Whether the stored bytes still have the digest that they are named by.

        Raises:
            PermanentError: the picture is not there.
        """
        return sha256_bytes(self.read(sha256)) == sha256
