"""The vector store on a Qdrant server or cluster, through `qdrant-client`."""

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from math import ceil
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import numpy as np
import orjson
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from fashion_pipeline.errors import SettingsError
from fashion_pipeline.index.collection import check_name
from fashion_pipeline.index.points import as_uuid, stacked
from fashion_pipeline.index.retry import call, call_async
from fashion_pipeline.index.server_collections import ServerCollections
from fashion_pipeline.index.server_query import filter_of, hits_of, payload_selector, query_arguments
from fashion_pipeline.index.server_tuning import search_params
from fashion_pipeline.index.tuning import Tuning
from fashion_pipeline.index.types import (
    EngineFacts,
    Health,
    IdRange,
    Payload,
    Point,
    PointHit,
    SearchFilter,
    Taste,
    Vector,
)

#: A server refuses requests over 32 MB; 4 MB (250 points as JSON) keeps its memory and a repeat cheap.
_BATCH_BYTES = 4_000_000
#: A float32 as JSON text with its comma.
_BYTES_PER_NUMBER = 20
_BATCH_POINTS = 2_000
#: Points per page of a scroll: a few megabytes of answer.
_PAGE = 5_000
#: Upserts under way at once: hides the round trip; more only queue in the server.
_IN_FLIGHT = 4


class ServerStore(ServerCollections):
    """`VectorStore` on a server. Safe between threads and processes.

    `local` is for a `QdrantClient(":memory:")`, which plays the server in tests: it has neither payload
    indexes nor HNSW nor threads.
    """

    def __init__(
        self,
        client: QdrantClient,
        *,
        where: str,
        async_client: Callable[[], AsyncQdrantClient] | None = None,
        in_flight: int = _IN_FLIGHT,
        batch_bytes: int = _BATCH_BYTES,
        local: bool = False,
        tuning: Tuning | None = None,
    ) -> None:
        super().__init__(client, where, local=local, tuning=tuning or Tuning())
        self._make_async = async_client
        self._async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncQdrantClient] = (
            weakref.WeakKeyDictionary()
        )
        self._in_flight = 1 if local else in_flight
        self._batch_bytes = batch_bytes
        self._counting = threading.Lock()
        self._written = 0

    def async_client(self) -> AsyncQdrantClient:
        """The running event loop's client: one per loop, because its connections belong to the loop.

        Raises:
            SettingsError: the store was built without one.
        """
        if self._make_async is None:
            raise SettingsError("this store has no async client: open it with `open_store(url=...)`")
        loop = asyncio.get_running_loop()
        client = self._async.get(loop)
        if client is None:
            client = self._async[loop] = self._make_async()
        return client

    @property
    def points_written(self) -> int:
        """Points upserted, given a payload or deleted by this object so far."""
        return self._written

    def facts(self) -> EngineFacts:
        """A server has everything; the `:memory:` client accepts and ignores."""
        real = not self._local
        return EngineFacts(
            engine=f"Qdrant server at {self._where}" if real else "qdrant-client :memory:",
            on_disk_payload=real,
            payload_indexes=real,
            hnsw=real,
            status=real,
            threads=real,
            processes=real,
        )

    def health(self) -> Health:
        """Whether the server answers an authorized request, and its version."""
        try:
            release = call("asking its version", self.client.info, tries=1).version
            found = call("listing collections", self.client.get_collections, tries=1).collections
        except Exception as error:  # noqa: BLE001 - whatever it is, the report is what was asked for
            return Health(False, "qdrant server", "unknown", f"{self._where}: {error}")
        return Health(True, "qdrant server", release, f"{len(found)} collections at {self._where}")

    @contextmanager
    def session(self, name: str, purpose: str = "a batch of calls") -> Iterator[None]:
        """Nothing to share: connections are pooled."""
        del name, purpose
        yield

    # -- points

    def upsert(self, name: str, points: Iterable[Point], *, wait: bool = True) -> int:
        """Insert or replace points, several requests at once; each is waited for when `wait`.

        Without `wait` the server has logged them on return, and searches find them a little later.
        """
        source = iter(points)
        first = next(source, None)
        if first is None:
            return 0
        dimension = self._inspect(name)[1].size
        written = 0
        with ThreadPoolExecutor(self._in_flight, thread_name_prefix="qdrant-upsert") as pool:
            flying: deque[Future[int]] = deque()
            for batch in self._batches(chain([first], source), dimension):
                if len(flying) == self._in_flight:
                    written += flying.popleft().result()
                structs = _structs(batch, stacked(batch, dimension, name))
                flying.append(pool.submit(self._upsert_batch, name, structs, wait))
            while flying:
                written += flying.popleft().result()
        return written

    def _batches(self, points: Iterable[Point], dimension: int) -> Iterator[list[Point]]:
        batch: list[Point] = []
        size = 0
        for point in points:
            weight = dimension * _BYTES_PER_NUMBER + len(orjson.dumps(point.payload))
            if batch and (size + weight > self._batch_bytes or len(batch) == _BATCH_POINTS):
                yield batch
                batch, size = [], 0
            batch.append(point)
            size += weight
        if batch:
            yield batch

    def _upsert_batch(self, name: str, structs: list[models.PointStruct], wait: bool) -> int:
        what = f"writing {len(structs)} points to {name}"
        self._call(what, lambda: self.client.upsert(name, structs, wait=wait))
        self._count(len(structs))
        return len(structs)

    def set_payload(self, name: str, payloads: Mapping[UUID, Payload]) -> list[UUID]:
        """Replace whole payloads; the ids that are not there."""
        missing: list[UUID] = []
        source = iter(payloads.items())
        while block := list(islice(source, _BATCH_POINTS)):
            there = self.retrieve(name, [id_ for id_, _ in block], fields=())
            missing.extend(id_ for id_, _ in block if id_ not in there)
            operations: list[models.UpdateOperation] = [
                models.OverwritePayloadOperation(
                    overwrite_payload=models.SetPayload(payload=payload, points=[str(id_)])
                )
                for id_, payload in block
                if id_ in there
            ]
            if operations:
                self._write_operations(name, operations)
        return missing

    def _write_operations(self, name: str, operations: list[models.UpdateOperation]) -> None:
        what = f"writing {len(operations)} payloads to {name}"
        self._call(what, lambda: self.client.batch_update_points(name, operations, wait=True))
        self._count(len(operations))

    def delete(self, name: str, ids: Iterable[UUID]) -> None:
        """Remove points, each request waited for."""
        source = iter(ids)
        while block := [str(id_) for id_ in islice(source, _BATCH_POINTS)]:
            self._delete_batch(name, block)

    def _delete_batch(self, name: str, ids: list[str]) -> None:
        selector = models.PointIdsList(points=list(ids))
        what = f"deleting {len(ids)} points of {name}"
        self._call(what, lambda: self.client.delete(name, selector, wait=True))
        self._count(len(ids))

    def count(self, name: str, filter: SearchFilter | None = None) -> int:
        """Exact number of points that pass."""
        what = f"counting {check_name(name)}"
        return self._call(what, lambda: self.client.count(name, filter_of(filter), exact=True)).count

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
        for start in range(0, len(ids), _BATCH_POINTS):
            part = [str(id_) for id_ in ids[start : start + _BATCH_POINTS]]
            for record in self._retrieve_batch(name, part, with_vectors, payload_selector(fields)):
                point = _point(record)
                found[point.id] = point
        return found

    def _retrieve_batch(
        self, name: str, ids: list[str], with_vectors: bool, payload: bool | list[str]
    ) -> list[models.Record]:
        return self._call(
            f"reading points of {check_name(name)}",
            lambda: self.client.retrieve(name, ids, with_payload=payload, with_vectors=with_vectors),
        )

    def scroll(
        self,
        name: str,
        *,
        fields: Sequence[str] = (),
        filter: SearchFilter | None = None,
        ids: IdRange | None = None,
        batch: int | None = None,
    ) -> Iterator[tuple[UUID, Payload]]:
        """Every point that passes, sorted by id."""
        name = self.aliases().get(check_name(name), name)
        offset: Any = str(ids.first) if ids else None
        while True:
            page, offset = self._scroll_page(
                name, offset, batch or _PAGE, filter_of(filter), payload_selector(fields)
            )
            for record in page:
                id_ = as_uuid(record.id)
                if ids and id_ > ids.last:
                    return
                yield id_, record.payload or {}
            if offset is None:
                return

    def _scroll_page(
        self, name: str, offset: Any, limit: int, asked: models.Filter | None, payload: bool | list[str]
    ) -> tuple[list[models.Record], Any]:
        return self._call(
            f"reading all points of {name}",
            lambda: self.client.scroll(
                name, asked, limit=limit, offset=offset, with_payload=payload, with_vectors=False
            ),
        )

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
        arguments = query_arguments(
            query,
            limit=limit,
            asked=filter,
            group_by=group_by,
            fields=fields,
            params=None if self._local else search_params(self._tuning, exact=exact),
        )
        what = f"searching {check_name(name)}"
        if group_by is None:
            return hits_of(self._call(what, lambda: self.client.query_points(name, **arguments)))
        return hits_of(self._call(what, lambda: self.client.query_points_groups(name, **arguments)))

    async def query_async(
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
        """`query` on the running loop's async client."""
        arguments = query_arguments(
            query,
            limit=limit,
            asked=filter,
            group_by=group_by,
            fields=fields,
            params=None if self._local else search_params(self._tuning, exact=exact),
        )
        client = self.async_client()
        what = f"Qdrant at {self._where}, searching {check_name(name)}"
        if group_by is None:
            return hits_of(await call_async(what, lambda: client.query_points(name, **arguments)))
        return hits_of(await call_async(what, lambda: client.query_points_groups(name, **arguments)))

    async def retrieve_async(
        self,
        name: str,
        ids: Sequence[UUID],
        *,
        with_vectors: bool = False,
        fields: Sequence[str] | None = None,
    ) -> dict[UUID, Point]:
        """`retrieve` on the running loop's async client, for some ids."""
        client = self.async_client()
        wanted, payload = [str(id_) for id_ in ids], payload_selector(fields)
        records = await call_async(
            f"Qdrant at {self._where}, reading points of {check_name(name)}",
            lambda: client.retrieve(name, wanted, with_payload=payload, with_vectors=with_vectors),
        )
        return {point.id: point for point in map(_point, records)}

    def close(self) -> None:
        """Close the sync client. An async one closes with `await store.async_client().close()`."""
        self.client.close()

    def _count(self, points: int) -> None:
        with self._counting:
            self._written += points


def _point(record: models.Record) -> Point:
    vector = None if record.vector is None else np.asarray(record.vector, np.float32)
    return Point(as_uuid(record.id), vector, record.payload or {})


def _structs(points: list[Point], vectors: Vector) -> list[models.PointStruct]:
    # Checked in `stacked` already; validating 768 floats per point again takes longer than sending them.
    return [
        models.PointStruct.model_construct(id=str(point.id), vector=row, payload=point.payload)
        for point, row in zip(points, vectors.tolist(), strict=True)
    ]


def connect(
    url: str,
    *,
    api_key: str | None,
    prefer_grpc: bool,
    grpc_port: int,
    timeout: float,
    tuning: Tuning | None = None,
) -> ServerStore:
    """The store at `url`; connects with the first request. Without a port in the URL it is 6333.

    Raises:
        SettingsError: the URL cannot be one.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("QDRANT_URL must look like http://host:6333 or https://host:6333")
    arguments: dict[str, Any] = {
        "url": url,
        "api_key": api_key,
        "prefer_grpc": prefer_grpc,
        "grpc_port": grpc_port,
        "timeout": ceil(timeout),
        "check_compatibility": False,  # would ask the server already while connecting; `health` tells
    }
    where = f"{parts.scheme}://{parts.hostname}:{parts.port or 6333}"
    return ServerStore(
        QdrantClient(**arguments),
        where=where,
        async_client=lambda: AsyncQdrantClient(**arguments),
        tuning=tuning,
    )
