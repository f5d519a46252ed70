"""The data location: one folder or object-store prefix that holds every file of the line.

Keys are relative paths with `/`. A key is written whole or not at all: on a file system aside,
fsynced, then renamed; on an object store by one upload. What exists under a key never changes,
unless the caller says that it replaces.
"""

import ctypes
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec

from fashion_pipeline.errors import PermanentError, SettingsError

#: Keys as the line makes them, which need no further look: a picture is one of many thousands.
PLAIN_KEY = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]*(/[A-Za-z0-9_=-][A-Za-z0-9_.=-]*)*")


@dataclass(frozen=True)
class Entry:
    """One stored file: its key, size in bytes and time of last change in seconds since the epoch."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True)
class Staged:
    """A temporary local file on its way into a data location."""

    location: "DataLocation"
    path: Path

    def commit(self, key: str) -> None:
        """Make the file the content of `key`."""
        self.location.adopt(self.path, key)


class DataLocation:
    """Files under one root: a local folder, or `s3://`, `gs://`, `az://` through fsspec."""

    def __init__(self, url: str, **storage_options: Any) -> None:
        if not url:
            raise SettingsError("the data location is empty: set FASHION_PIPELINE_DATA to a folder or URL")
        self.url = url
        protocol, separator, _ = url.partition("://")
        self._local: Path | None = None
        self._prefix = ""
        self._fs: Any = None
        if not separator or protocol == "file":
            self._local = Path(url.removeprefix("file://")).absolute()
        else:
            self._fs, self._prefix = fsspec.core.url_to_fs(url, **storage_options)

    @property
    def local_root(self) -> Path | None:
        """The folder, where the location is one; None on an object store."""
        return self._local

    def _path(self, key: str) -> str:
        if PLAIN_KEY.fullmatch(key):
            return f"{self._local or self._prefix}/{key}"
        parts = PurePosixPath(key)
        if not parts.parts or parts.is_absolute() or ".." in parts.parts:
            raise ValueError(f"not a relative key: {key!r}")
        return str(self._local / parts) if self._local is not None else f"{self._prefix}/{key}"

    def exists(self, key: str) -> bool:
        """Whether `key` holds a whole file."""
        path = self._path(key)
        return os.path.isfile(path) if self._local is not None else bool(self._fs.isfile(path))

    def size(self, key: str) -> int:
        """Size of `key` in bytes.

        Raises:
            PermanentError: there is no such file.
        """
        try:
            path = self._path(key)
            return os.path.getsize(path) if self._local is not None else int(self._fs.size(path))
        except FileNotFoundError as error:
            raise self._missing(key) from error

    def holds(self, key: str, size: int) -> bool:
        """Whether `key` is there with `size` bytes."""
        try:
            return self.size(key) == size
        except PermanentError:
            return False

    def open(self, key: str) -> IO[bytes]:
        """Open `key` for reading.

        Raises:
            PermanentError: there is no such file.
        """
        try:
            path = self._path(key)
            return open(path, "rb") if self._local is not None else self._fs.open(path, "rb")
        except FileNotFoundError as error:
            raise self._missing(key) from error

    def read(self, key: str) -> bytes:
        """The bytes of `key`.

        Raises:
            PermanentError: there is no such file.
        """
        with self.open(key) as stream:
            return stream.read()

    def write(self, key: str, data: bytes, *, durable: bool = True) -> None:
        """Store `data` whole under `key`, replacing what is there.

        Without `durable` a loss of power may take it back until `sync` is called; a kill does not.
        """
        target = self._path(key)
        if self._local is None:
            with self._in_bucket():
                self._fs.pipe_file(target, data)
            return
        folder = os.path.dirname(target)
        temporary = os.path.join(folder, f".{uuid.uuid4().hex}.part")
        try:
            descriptor = _create(temporary)
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            descriptor = _create(temporary)
        try:
            with open(descriptor, "wb", buffering=0) as stream:
                unwritten = memoryview(data)
                while unwritten:
                    unwritten = unwritten[stream.write(unwritten) :]
                if durable:
                    os.fsync(descriptor)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        if durable:
            _fsync_folder(folder)

    def sync(self) -> None:
        """Make durable what was written without: one call for many files, where each alone would wait.

        Raises:
            OSError: the file system could not write.
        """
        if self._local is None or not self._local.exists():
            return
        descriptor = os.open(self._local, os.O_RDONLY)
        try:
            _sync_file_system(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def writing(self, key: str) -> Iterator[Path]:
        """Give a temporary local file to write; on leaving without an error it becomes `key`.

        On a file system the temporary file lies beside the target, so that the rename is atomic.
        """
        target = self._path(key)
        if self._local is not None:
            folder = os.path.dirname(target)
            os.makedirs(folder, exist_ok=True)
            temporary = Path(folder) / f".{uuid.uuid4().hex}.part"
            try:
                yield temporary
                self.adopt(temporary, key)
            finally:
                temporary.unlink(missing_ok=True)
            return
        with tempfile.TemporaryDirectory(prefix="fashion-pipeline-") as scratch:
            temporary = Path(scratch) / "file"
            yield temporary
            self.adopt(temporary, key)

    @contextmanager
    def staging(self, prefix: str) -> Iterator["Staged"]:
        """Give a temporary local file whose key is known only once its bytes are; see `Staged.commit`.

        What was not committed on leaving is removed.
        """
        if self._local is not None:
            folder = self._path(prefix)
            os.makedirs(folder, exist_ok=True)
            staged = Staged(self, Path(folder) / f".{uuid.uuid4().hex}.part")
            try:
                yield staged
            finally:
                staged.path.unlink(missing_ok=True)
            return
        with tempfile.TemporaryDirectory(prefix="fashion-pipeline-") as scratch:
            yield Staged(self, Path(scratch) / "file")

    def adopt(self, path: Path, key: str) -> None:
        """Make a complete local file the content of `key`; on a file system it is moved, not copied."""
        target = self._path(key)
        if self._local is None:
            # Its own file would be missing by the same error.
            path.stat()
            with self._in_bucket():
                self._fs.put_file(str(path), target)
            return
        folder = os.path.dirname(target)
        os.makedirs(folder, exist_ok=True)
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(path, target)
        _fsync_folder(folder)

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """A real file with the bytes of `key`: the file itself, or a download removed afterwards.

        Raises:
            PermanentError: there is no such file.
        """
        if self._local is not None:
            path = Path(self._path(key))
            if not path.is_file():
                raise self._missing(key)
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="fashion-pipeline-") as scratch:
            path = Path(scratch) / PurePosixPath(key).name
            with self.open(key) as source, path.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            yield path

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens where it does not exist."""
        path = self._path(key)
        if self._local is not None:
            Path(path).unlink(missing_ok=True)
        elif self._fs.exists(path):
            self._fs.rm_file(path)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every file below `prefix` (a folder key), in no order; temporary files are left out."""
        root = self._path(prefix)
        if self._local is not None:
            for folder, _, names in os.walk(root):
                for name in names:
                    if name.startswith("."):
                        continue
                    path = os.path.join(folder, name)
                    try:
                        stat = os.stat(path)
                    except FileNotFoundError:
                        continue  # it was deleted meanwhile
                    key = Path(path).relative_to(self._local).as_posix()
                    yield Entry(key, stat.st_size, stat.st_mtime)
            return
        with self._in_bucket():
            found = self._fs.find(root, detail=True)
        for path, info in found.items():
            changed = info.get("LastModified") or info.get("mtime") or info.get("last_modified")
            seconds = changed.timestamp() if hasattr(changed, "timestamp") else float(changed or 0.0)
            yield Entry(path[len(self._prefix) + 1 :], int(info["size"]), seconds)

    def leftovers(self, prefix: str) -> Iterator[Entry]:
        """Temporary files below `prefix` that a killed process left, or that are being written now."""
        if self._local is None:
            return
        for path in Path(self._path(prefix)).rglob(".*.part"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue  # it got its name meanwhile
            yield Entry(path.relative_to(self._local).as_posix(), stat.st_size, stat.st_mtime)

    def describe(self, key: str) -> str:
        """The place of `key` in words that a person can open: a path or a URL."""
        return self._path(key) if self._local is not None else f"{self.url.rstrip('/')}/{key}"

    @contextmanager
    def _in_bucket(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            bucket = self._prefix.strip("/").partition("/")[0]
            raise PermanentError(
                f"the data location {self.url!r} is not there: there is no bucket {bucket!r}; make it, or mend "
                "FASHION_PIPELINE_DATA"
            ) from error

    def _missing(self, key: str) -> PermanentError:
        return PermanentError(
            f"no file {key!r} in the data location {self.url!r}: it was never written there, was pruned, "
            "or FASHION_PIPELINE_DATA names another location than the one that the database belongs to"
        )


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _fsync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file_system(descriptor: int) -> None:
    """syncfs(2), which Python does not offer; where the system has none, every file system is synced."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
