"""The embedded vector store: Qdrant's own engine in this process, in a folder (`qdrant-edge-py`).

    collections/<name>/shard/         the engine's files
    collections/<name>/metadata.json  written last: without it the collection does not exist
    aliases/<alias>                   the name of a collection
    locks/                            one lock per collection and one for names; never removed

The engine lets one process at a time open a shard, and merely trying to open a held one spoils the
owner's next flush. So every open..close happens under our own lock, which an unused shard gives up as soon as
somebody waits for it (`edge_kept`), and the write-ahead log is on: what a call acknowledged survives `kill -9`.
"""

import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as engine

from fashion_pipeline.errors import CollectionError
from fashion_pipeline.index.collection import check_name, check_same, check_unserved, metadata_of
from fashion_pipeline.index.edge_folder import EdgeFolder
from fashion_pipeline.index.edge_kept import KeptShards
from fashion_pipeline.index.edge_query import filter_of, payload_selector, run_grouped_query, run_query
from fashion_pipeline.index.edge_shard import HeldShard, create_shard, index_operations, translated
from fashion_pipeline.index.points import as_uuid, stacked
from fashion_pipeline.index.types import (
    CollectionInfo,
    CollectionSpec,
    EngineFacts,
    Health,
    IdRange,
    IndexType,
    Payload,
    Point,
    PointHit,
    SearchFilter,
    Taste,
    Vector,
)

#: Points per engine call: large enough for full speed, small enough to let a search in between.
_CHUNK = 512
#: Points gathered before the lock is taken, so that a slow source never holds it (30 MB of vectors).
_BLOCK = 10_000
#: Points per page of a scroll: 35 MB with the three fields that reconcile reads. Opening the shard for a
#: page costs as much as reading 10,000 points.
_PAGE = 50_000
#: A search waits this long for its turn; a write longer, because what it carries was costly to make.
_READ_TIMEOUT = 10.0
_WRITE_TIMEOUT = 60.0


class EdgeStore:
    """`VectorStore` in a folder. Safe between threads and processes; one of them works at a time."""

    def __init__(
        self, folder: Path, *, read_timeout: float = _READ_TIMEOUT, write_timeout: float = _WRITE_TIMEOUT
    ) -> None:
        self._folder = EdgeFolder(folder)
        self._read_timeout = read_timeout
        self._write_timeout = write_timeout
        self._local = threading.local()
        self._kept = KeptShards()
        self._counting = threading.Lock()
        self._written = 0

    @property
    def points_written(self) -> int:
        """Points upserted, given a payload or deleted by this object so far."""
        return self._written

    def facts(self) -> EngineFacts:
        """The engine is Qdrant's own: everything but a status and parallel opens is real."""
        return EngineFacts(
            engine=f"qdrant-edge-py {version('qdrant-edge-py')}",
            on_disk_payload=True,
            payload_indexes=True,
            hnsw=True,
            status=False,
            threads=True,
            processes=True,
        )

    def health(self) -> Health:
        """Whether the folder can be used."""
        root, release = self._folder.root, version("qdrant-edge-py")
        try:
            self._folder.names_lock()
            found = len(self.collections())
        except OSError as error:
            return Health(False, "qdrant-edge-py", release, f"the folder {root} cannot be used: {error}")
        if not os.access(root, os.W_OK | os.X_OK):
            return Health(False, "qdrant-edge-py", release, f"the folder {root} cannot be written")
        return Health(True, "qdrant-edge-py", release, f"{found} collections in {root}")

    @contextmanager
    def session(self, name: str, purpose: str = "a batch of calls") -> Iterator[None]:
        """Share one open of the collection between this thread's calls in the block.

        Others are let in between two calls when it has been open for a second, but not during what the
        caller does outside of calls.
        """
        with self._held(name, purpose, self._write_timeout):
            yield

    @contextmanager
    def _held(self, name: str, purpose: str, timeout: float, *, trims: bool = True) -> Iterator[HeldShard]:
        """The open shard behind a name: this thread's session's, else one that is kept open or opened now.

        A search `trims` no pages: the next one wants the same, and to map them again takes twice what it takes.
        """
        mine = self._mine()
        collection = self._folder.resolve(check_name(name))
        held = mine.get(collection)
        if held is not None:
            held.give_way()
            if trims:
                held.trim()
            yield held
            return
        held = self._kept.take(collection)
        if held is None:
            held = HeldShard(self._folder, collection, purpose, timeout)
            held.open()
        else:
            held.reuse(purpose, timeout)
        mine[collection] = held
        try:
            yield held
        except BaseException:
            held.close()
            raise
        finally:
            del mine[collection]
        self._kept.put(held, trims=trims)

    def _mine(self) -> dict[str, HeldShard]:
        if getattr(self._local, "pid", None) != os.getpid():
            # A forked child must neither use nor close its parent's shard: it is left, not freed.
            self._local.inherited = getattr(self._local, "shards", None)
            self._local.pid = os.getpid()
            self._local.shards = {}
        shards: dict[str, HeldShard] = self._local.shards
        return shards

    # -- collections and aliases

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""
        return self._folder.collections()

    def describe(self, name: str) -> CollectionInfo:
        """What the collection is, how many points it has, and its indexes as the engine tells them."""
        with self._held(name, "describing", self._read_timeout) as held, translated(held.name):
            info = held.shard.info()
            stored = held.metadata
            return CollectionInfo(
                name=held.name,
                dimension=stored["dimension"],
                distance=stored["distance"],
                on_disk_payload=stored["on_disk_payload"],
                points=held.shard.count(engine.CountRequest(exact=True)),
                indexed_vectors=info.indexed_vectors_count,
                status="green",
                payload_indexes={
                    field: "float" if index.data_type == engine.PayloadSchemaType.Float else "keyword"
                    for field, index in info.payload_schema.items()
                },
                metadata=stored["metadata"],
            )

    def metadata(self, name: str) -> Mapping[str, str]:
        """What the collection remembers of itself, read without opening the shard."""
        collection = self._folder.resolve(check_name(name))
        stored = self._folder.metadata(collection)
        if stored is None:
            raise self._folder.missing(collection)
        found: Mapping[str, str] = stored["metadata"]
        return found

    def ensure_collection(self, spec: CollectionSpec) -> bool:
        """Create the collection, or check it and add the payload indexes that it lacks."""
        name = check_name(spec.name)
        if tuned := spec.tuning.given():
            raise CollectionError(
                f"QDRANT_TUNING says {', '.join(tuned)}, which the embedded engine does not have: leave it empty, "
                "or set QDRANT_URL to a server"
            )
        root = self._folder.root
        with self._folder.names_lock().held(f"ensuring collection {name}", self._write_timeout):
            if self._folder.alias(name) is not None:
                raise CollectionError(f"{name!r} is an alias in {root}: use another collection name")
            stored = self._folder.metadata(name)
            if stored is None:
                self._create(name, spec)
                return True
            check_same(
                spec,
                dimension=stored["dimension"],
                distance=stored["distance"],
                metadata=stored["metadata"],
                where=str(root),
            )
            have: dict[str, IndexType] = stored["payload_indexes"]
            lacking = {field: kind for field, kind in spec.payload_indexes.items() if field not in have}
            if lacking:
                with self._held(name, "adding payload indexes", self._write_timeout) as held:
                    for operation in index_operations(lacking):
                        held.update(operation, 1)
                self._folder.save_metadata(name, {**stored, "payload_indexes": {**have, **lacking}})
            return False

    def _create(self, name: str, spec: CollectionSpec) -> None:
        path = self._folder.shard(name)
        lock = self._folder.lock(name)
        with lock.held(f"creating collection {name}", self._write_timeout), translated(name):
            shutil.rmtree(path, ignore_errors=True)  # left by a crash before metadata.json was written
            path.mkdir(parents=True)
            create_shard(path, spec)
            self._folder.save_metadata(
                name,
                {
                    "dimension": spec.dimension,
                    "distance": spec.distance,
                    "on_disk_payload": spec.on_disk_payload,
                    "payload_indexes": dict(spec.payload_indexes),
                    "metadata": metadata_of(spec),
                },
            )

    @contextmanager
    def bulk(self, name: str) -> Iterator[None]:
        """Nothing to put off: the engine builds HNSW only when told (`optimize`)."""
        del name
        yield

    def settle(self, name: str, *, timeout: float = 3600.0) -> CollectionInfo:
        """Nothing to wait for: what a call wrote is indexed as far as it ever is."""
        del timeout
        return self.describe(name)

    def drop_collection(self, name: str) -> None:
        """Remove a collection; an alias that points to it must be moved first."""
        check_name(name)
        with self._folder.names_lock().held(f"dropping collection {name}", self._write_timeout):
            check_unserved(name, self._folder.aliases(), str(self._folder.root))
            with self._folder.lock(name).held(f"dropping collection {name}", self._write_timeout):
                self._folder.remove(name)

    def alias(self, alias: str) -> str | None:
        """The collection that `alias` points to, or None."""
        return self._folder.alias(check_name(alias))

    def aliases(self) -> dict[str, str]:
        """Every alias and its collection."""
        return self._folder.aliases()

    def set_alias(self, alias: str, collection: str) -> None:
        """Point `alias` at `collection` by one rename."""
        check_name(alias)
        check_name(collection)
        with self._folder.names_lock().held(f"moving the alias {alias}", self._write_timeout):
            if self._folder.metadata(collection) is None:
                raise self._folder.missing(collection)
            if self._folder.metadata(alias) is not None:
                raise CollectionError(f"{alias!r} is the name of a collection: use another alias")
            self._folder.save_alias(alias, collection)

    # -- points

    def upsert(self, name: str, points: Iterable[Point], *, wait: bool = True) -> int:
        """Insert or replace points; durable on return, whatever `wait` says."""
        del wait
        source = iter(points)
        written = 0
        while block := list(islice(source, _BLOCK)):
            with self._held(name, "writing points", self._write_timeout) as held:
                for start in range(0, len(block), _CHUNK):
                    chunk = block[start : start + _CHUNK]
                    # The engine reads a buffer in a third of the time of a row of numpy's.
                    vectors: Any = map(memoryview, stacked(chunk, held.metadata["dimension"], held.name))
                    rows = [
                        engine.Point(point.id, vector, point.payload)
                        for point, vector in zip(chunk, vectors, strict=True)
                    ]
                    held.update(engine.UpdateOperation.upsert_points(rows), len(rows))
                    written += len(rows)
                    self._count(len(rows))
        return written

    def set_payload(self, name: str, payloads: Mapping[UUID, Payload]) -> list[UUID]:
        """Replace whole payloads; the ids that are not there."""
        missing: list[UUID] = []
        source = iter(payloads.items())
        while block := list(islice(source, _CHUNK)):
            with self._held(name, "writing payloads", self._write_timeout) as held, translated(held.name):
                # The engine writes a change of a missing point to its log before it refuses it.
                there = {record.id for record in held.shard.retrieve([id_ for id_, _ in block], False, False)}
                for id_, payload in block:
                    if id_ not in there:
                        missing.append(id_)
                        continue
                    held.update(engine.UpdateOperation.overwrite_payload([id_], payload), 1)
                    self._count(1)
        return missing

    def delete(self, name: str, ids: Iterable[UUID]) -> None:
        """Remove points; durable on return."""
        source = iter(ids)
        while block := list(islice(source, _BLOCK)):
            with self._held(name, "deleting points", self._write_timeout) as held:
                held.update(engine.UpdateOperation.delete_points(list(block)), len(block))
            self._count(len(block))

    def count(self, name: str, filter: SearchFilter | None = None) -> int:
        """Exact number of points that pass."""
        with self._held(name, "counting", self._read_timeout) as held, translated(held.name):
            return held.shard.count(engine.CountRequest(exact=True, filter=filter_of(filter)))

    def retrieve(
        self,
        name: str,
        ids: Sequence[UUID],
        *,
        with_vectors: bool = False,
        fields: Sequence[str] | None = None,
    ) -> dict[UUID, Point]:
        """The points that are there."""
        found: dict[UUID, Point] = {}
        for start in range(0, len(ids), _BLOCK):
            part: list[int | UUID | str] = list(ids[start : start + _BLOCK])
            with self._held(name, "reading points", self._read_timeout) as held, translated(held.name):
                for record in held.shard.retrieve(part, payload_selector(fields), with_vectors):
                    vector = np.asarray(record.vector, np.float32) if with_vectors else None
                    id_ = as_uuid(record.id)
                    found[id_] = Point(id_, vector, record.payload or {})
        return found

    def scroll(
        self,
        name: str,
        *,
        fields: Sequence[str] = (),
        filter: SearchFilter | None = None,
        ids: IdRange | None = None,
        batch: int | None = None,
    ) -> Iterator[tuple[UUID, Payload]]:
        """Every point that passes, sorted by id; others get the shard while the caller works on a page."""
        name = self._folder.resolve(check_name(name))
        offset: Any = ids.first if ids else None
        while True:
            with self._held(name, "reading all points", self._read_timeout) as held, translated(held.name):
                page, offset = held.shard.scroll(
                    engine.ScrollRequest(
                        offset=offset,
                        limit=batch or _PAGE,
                        filter=filter_of(filter),
                        with_payload=payload_selector(fields),
                        with_vector=False,
                    )
                )
            for record in page:
                id_ = as_uuid(record.id)
                if ids and id_ > ids.last:
                    return
                yield id_, record.payload or {}
            if offset is None:
                return

    def query(
        self,
        name: str,
        query: Vector | Taste,
        *,
        limit: int,
        filter: SearchFilter | None = None,
        group_by: str | None = None,
        fields: Sequence[str] | None = None,
        exact: bool = False,
    ) -> list[PointHit]:
        """The `limit` best points, or the best point of each of the `limit` best groups."""
        reading = self._held(name, "searching", self._read_timeout, trims=False)
        with reading as held, translated(held.name):
            if group_by is None:
                return run_query(held.shard, query, limit=limit, asked=filter, fields=fields, exact=exact)
            return run_grouped_query(
                held.shard, query, group_by, limit=limit, asked=filter, fields=fields, exact=exact
            )

    def optimize(self, name: str) -> bool:
        """Merge segments, drop deleted points and build HNSW in segments of about 200,000 points and more.

        Maintenance: takes minutes on hundreds of thousands of points and holds the collection all along.
        True when there was something to do.
        """
        with self._held(name, "optimizing", self._write_timeout) as held, translated(held.name):
            return held.shard.optimize()

    def close(self) -> None:
        """Close what was kept open for the next call."""
        self._kept.close()

    def _count(self, points: int) -> None:
        with self._counting:
            self._written += points
