"""From a stored file to its documents: gzip, zip and zstd found by magic bytes, in any nesting.

File names and headers say little about compression (a feed may be compressed twice, or not at all under
`.gz`), so only the first bytes count. Everything streams; limits on expanded size, ratio, depth and number
of members hold at every layer, so that a bomb is refused while it is still small.
"""

import gzip
import io
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

import pyarrow as pa

from fashion_pipeline.errors import FeedError

GZIP, ZSTD, ZIP, EMPTY_ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PK\x05\x06"
#: Extensions of data; a zip's other members (readme, images, licences) are passed over when one has these.
DATA_SUFFIXES = frozenset(
    {
        *(".xml", ".rss", ".atom", ".csv", ".tsv", ".txt", ".psv", ".json", ".jsonl", ".ndjson"),
        *(".parquet", ".gz", ".zip", ".zst", ".html"),
    }
)


#: What gzip, zipfile and pyarrow raise for bytes that they cannot unpack.
UNPACKING = (
    OSError, zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError,
)  # fmt: skip


#: Characters shown of what a file says of itself, names of members included.
SHOWN = 200

#: What is put beside a feed for people.
NOTES = re.compile(
    r"(?:read[ _-]?me|licen[cs]e|changelog|copyright)(?:\.(?:txt|md|html?|pdf))?\Z", re.IGNORECASE
)


@dataclass(frozen=True)
class ExpansionLimits:
    """What a file may become when it is expanded."""

    #: Sixteen times the largest feed that was heard of (0.5 GiB).
    max_bytes: int = 8 << 30
    #: Product feeds shrink 5 to 40 times; deflate can do 1,032 times.
    max_ratio: int = 250
    #: Below this the ratio says nothing: a tiny repetitive feed is no bomb.
    ratio_from: int = 32 << 20
    max_depth: int = 4
    #: A crawl of pages of 250 products: 2.5 million products.
    max_members: int = 10_000

    def allowed(self, packed: int) -> int:
        """How many bytes a stored file of `packed` bytes may become in all."""
        return min(self.max_bytes, max(self.ratio_from, packed * self.max_ratio))


@dataclass(frozen=True)
class Document:
    """One file inside the stored file: its name there, and how to open its expanded bytes anew."""

    name: str
    open: Callable[[], BinaryIO]


@dataclass(frozen=True)
class Expansion:
    """The documents of a stored file, how it was packed ("gzip", "zip+gzip", "") and what was passed over."""

    documents: tuple[Document, ...]
    compression: str
    skipped: tuple[str, ...] = ()


class _Bounded(io.RawIOBase):
    """Counts the bytes that a decompressor gives and stops it at the limit; closes what lies below."""

    def __init__(self, stream: IO[bytes], below: IO[bytes] | None, allowed: int, name: str) -> None:
        self._stream, self._below, self._name, self._given = stream, below, name, 0
        self._allowed = allowed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with reading(self._name):
            data = self._stream.read(len(buffer))
        self._given += len(data)
        if self._given > self._allowed:
            raise bomb(self._name, self._allowed)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            if self._below is not None:
                self._below.close()
        super().close()


def bomb(name: str, allowed: int) -> FeedError:
    """What is said of a file that expands too far."""
    return FeedError(
        f"{name} expands beyond {allowed:,} bytes: this looks like a decompression bomb; if the store really "
        "sends this, ask it for smaller files"
    )


def expand(path: Path, scratch: ExitStack, limits: ExpansionLimits | None = None) -> Expansion:
    """The documents inside `path`. `scratch` closes what had to be opened meanwhile.

    Raises:
        FeedError: a broken or encrypted archive, one without data, a bomb, or nested too deep.
    """
    limits = limits or ExpansionLimits()
    expander = _Expander(limits.allowed(path.stat().st_size), limits, scratch)
    root = Document(path.name, lambda: path.open("rb"))
    with reading(path.name):
        documents = tuple(expander.walk(root, 0, path))
    return Expansion(documents, "+".join(expander.kinds), tuple(expander.skipped))


class _Expander:
    def __init__(self, allowed: int, limits: ExpansionLimits, scratch: ExitStack) -> None:
        self.allowed, self.limits, self.scratch = allowed, limits, scratch
        self.declared = 0
        self.kinds: list[str] = []
        self.skipped: list[str] = []

    def walk(self, document: Document, depth: int, path: Path | None = None) -> Iterator[Document]:
        with document.open() as stream:
            head = stream.read(4)
        kind = _kind(head)
        if not kind:
            yield document
            return
        if depth >= self.limits.max_depth:
            raise FeedError(f"{document.name} is compressed more than {depth} times: send it compressed once")
        if len(self.kinds) <= depth:
            self.kinds.append(kind)
        if kind == "zip":
            yield from self._members(document, depth, path)
            return
        yield from self.walk(Document(document.name, self._unpacker(document, kind)), depth + 1)

    def _unpacker(self, document: Document, kind: str) -> Callable[[], BinaryIO]:
        def unpack() -> BinaryIO:
            source = document.open()
            unpacked = (
                gzip.GzipFile(fileobj=source) if kind == "gzip" else pa.CompressedInputStream(source, "zstd")
            )
            return self._bounded(cast(IO[bytes], unpacked), source, document.name)

        return unpack

    def _bounded(self, stream: IO[bytes], below: IO[bytes] | None, name: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Bounded(stream, below, self.allowed, name), 1 << 18))

    def _members(self, document: Document, depth: int, path: Path | None) -> Iterator[Document]:
        source: IO[bytes]
        if path is not None:
            source = self.scratch.enter_context(path.open("rb"))
        else:
            # A zip is read from its end: one inside another archive needs a file of its own.
            source = self.scratch.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            with document.open() as packed:
                shutil.copyfileobj(packed, source, 1 << 20)
        self._check_directory(source, document.name)
        archive = self.scratch.enter_context(zipfile.ZipFile(source))
        members = [info for info in archive.infolist() if not info.is_dir()]
        data = [info for info in members if not _is_junk(info.filename)]
        if any(info.filename == "[Content_Types].xml" for info in data):
            raise FeedError(f"{document.name} is an Office document (Excel?), not a feed: export it as CSV")
        known = [info for info in data if PurePosixPath(info.filename).suffix.lower() in DATA_SUFFIXES]
        chosen = known or data
        if not chosen:
            raise FeedError(f"{document.name} is an archive without a feed in it ({len(members)} members)")
        # zipfile gives no more bytes of a member than its directory says.
        self.declared += sum(info.file_size for info in chosen)
        if self.declared > self.allowed:
            raise bomb(document.name, self.allowed)
        kept = {id(info) for info in chosen}
        self.skipped.extend(_short(info.filename) for info in members if id(info) not in kept)
        for info in chosen:
            if info.flag_bits & 1:
                raise FeedError(f"{document.name}: member {_short(info.filename)!r} is encrypted: not read")
            yield from self.walk(
                Document(_short(info.filename), self._member_opener(archive, info)), depth + 1
            )

    def _member_opener(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
        return lambda: self._bounded(archive.open(info), None, _short(info.filename))

    def _check_directory(self, source: IO[bytes], name: str) -> None:
        """Refuse a directory of members that would not fit into memory, before it is read."""
        size = source.seek(0, io.SEEK_END)
        source.seek(max(0, size - (1 << 16) - 22))
        tail = source.read()
        at = tail.rfind(EMPTY_ZIP)
        if at < 0 or len(tail) < at + 22:
            raise FeedError(f"{name} is a zip archive that ends early: truncated; fetch it again")
        members, directory = struct.unpack_from("<HI", tail, at + 10)
        if members > self.limits.max_members or (directory > (16 << 20) and directory != 0xFFFFFFFF):
            raise FeedError(f"{name} has {members} members: more than {self.limits.max_members} are not read")


def _kind(head: bytes) -> str:
    if head[:2] == GZIP:
        return "gzip"
    if head == ZSTD:
        return "zstd"
    return "zip" if head in (ZIP, EMPTY_ZIP) else ""


def _is_junk(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1:] == ("Thumbs.db",):
        return True
    return bool(parts) and NOTES.match(parts[-1]) is not None


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what the decompressors raise into FeedError."""
    try:
        yield
    except EOFError as error:
        raise FeedError(f"{name} is compressed and ends early: truncated; fetch it again") from error
    except UNPACKING as error:
        # zipfile quotes the header that it found, which may be any bytes at all.
        raise FeedError(f"{name} cannot be unpacked ({_short(str(error))}): fetch it again") from error


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
