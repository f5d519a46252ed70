"""The folder of an embedded store: where its files lie, what they say, and its locks."""

import shutil
from pathlib import Path
from typing import Any

import orjson

from fashion_pipeline.errors import CollectionError, PermanentError
from fashion_pipeline.index.locks import FileLock
from fashion_pipeline.storage import DataLocation


class EdgeFolder:
    """Collections, aliases and locks as files; everything that is written is renamed into place."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._files = DataLocation(str(self.root))

    def lock(self, collection: str) -> FileLock:
        """The lock around every open of a collection."""
        return FileLock(self._lock_folder(), f"collection-{collection}")

    def names_lock(self) -> FileLock:
        """The lock around changes of which names exist. Taken before a collection's lock, never after."""
        return FileLock(self._lock_folder(), "names")

    def _lock_folder(self) -> Path:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""
        folder = self.root / "collections"
        if not folder.is_dir():
            return []
        return sorted(entry.name for entry in folder.iterdir() if (entry / "metadata.json").is_file())

    def shard(self, collection: str) -> Path:
        """The engine's folder."""
        return self.root / "collections" / collection / "shard"

    def metadata(self, collection: str) -> dict[str, Any] | None:
        """What is recorded of a collection; None where it does not exist.

        Raises:
            PermanentError: the file was changed by something else.
        """
        path = self.root / "collections" / collection / "metadata.json"
        try:
            found: dict[str, Any] = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError as error:
            raise PermanentError(
                f"collection {collection!r}: {path} is damaged ({error}): restore the file from a backup, or delete "
                "the collection and fill another one"
            ) from error
        return found

    def identity(self, collection: str) -> tuple[int, int] | None:
        """What tells a collection's record from one that took its place: inode and time of writing in ns."""
        try:
            found = (self.root / "collections" / collection / "metadata.json").stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def save_metadata(self, collection: str, metadata: dict[str, Any]) -> None:
        """Record a collection; from here on it exists."""
        content = orjson.dumps(metadata, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        self._files.write(f"collections/{collection}/metadata.json", content)

    def remove(self, collection: str) -> None:
        """Forget a collection, then remove its files."""
        self._files.delete(f"collections/{collection}/metadata.json")
        shutil.rmtree(self.root / "collections" / collection, ignore_errors=True)

    def alias(self, alias: str) -> str | None:
        """The collection that an alias points to, or None."""
        try:
            return (self.root / "aliases" / alias).read_text()
        except FileNotFoundError:
            return None

    def aliases(self) -> dict[str, str]:
        """Every alias and its collection."""
        names = sorted(Path(entry.key).name for entry in self._files.list("aliases"))
        found = {name: self.alias(name) for name in names}
        return {name: target for name, target in found.items() if target is not None}

    def save_alias(self, alias: str, collection: str) -> None:
        """Point an alias at a collection."""
        self._files.write(f"aliases/{alias}", collection.encode())

    def resolve(self, name: str) -> str:
        """The collection behind a name that may be an alias."""
        return self.alias(name) or name

    def missing(self, name: str) -> CollectionError:
        """The error for a collection that does not exist."""
        there = ", ".join(self.collections()) or "none"
        return CollectionError(
            f"no collection {name!r} in {self.root} (there: {there}): materialize `qdrant_collection`, or "
            "check that the data location is the one that the pipeline writes to"
        )
