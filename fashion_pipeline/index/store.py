"""The interface of a vector store: what every adapter guarantees and one contract test holds.

Two adapters implement it: `server.ServerStore` (a Qdrant server) and `edge.EdgeStore` (Qdrant's engine in
this process, in a folder). A collection may always be named by its own name or by an alias, except where
a method says otherwise. Common errors: `CollectionError` when it does not exist or a vector does not fit,
`TransientError` when the store cannot be reached or locked in time, `PermanentError` for the rest.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable
from uuid import UUID

from fashion_pipeline.index.types import (
    CollectionInfo,
    CollectionSpec,
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


@runtime_checkable
class VectorStore(Protocol):
    """Collections of points, aliases and searches."""

    @property
    def points_written(self) -> int:
        """Points upserted, given a payload or deleted by this object so far: 0 proves that nothing was."""

    def facts(self) -> EngineFacts:
        """What this engine really does and what it only accepts."""

    def health(self) -> Health:
        """Whether it answers. Never raises for a store that is away: `ok` is False and `detail` says why."""

    def session(self, name: str, purpose: str = "a batch of calls") -> AbstractContextManager[None]:
        """Let several calls on one collection by this thread share what is costly to open.

        Only a hint: every call is right without it. Do not wait for anything inside: others may be kept
        out meanwhile, and are told `purpose`.
        """

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""

    def describe(self, name: str) -> CollectionInfo:
        """What the collection is and how many points it has."""

    def metadata(self, name: str) -> Mapping[str, str]:
        """What the collection remembers of itself (model_id, model_ref, ...); cheaper than `describe`."""

    def ensure_collection(self, spec: CollectionSpec) -> bool:
        """Create the collection with its metadata and payload indexes; True when it was created.

        An existing one is kept; it gets the payload indexes that it lacks and what `spec.tuning` changes. Safe
        to call at once from several processes, and after a crash in the middle of it.

        Raises:
            CollectionError: one of that name has another size, distance or model, each named, or what is
                tuned cannot be changed in place or is nothing that this engine has.
        """

    def bulk(self, name: str) -> AbstractContextManager[None]:
        """Put indexing off while the block loads many points; turned on and waited for at its end.

        After an error it is turned on and not waited for; after a crash, `settle` turns it on.
        """

    def settle(self, name: str, *, timeout: float = 3600.0) -> CollectionInfo:
        """Turn indexing on where it was put off, and wait until the engine has nothing left to do.

        Raises:
            TransientError: it was still at work after `timeout` seconds; what it had done stays.
            PermanentError: the collection is red: the engine gave up on it.
        """

    def drop_collection(self, name: str) -> None:
        """Remove a collection by its own name with all its points; nothing happens where there is none.

        Raises:
            CollectionError: an alias points to it.
        """

    def alias(self, alias: str) -> str | None:
        """The collection that `alias` points to, or None."""

    def aliases(self) -> dict[str, str]:
        """Every alias and the collection that it points to."""

    def set_alias(self, alias: str, collection: str) -> None:
        """Point `alias` at `collection`, in one step: who reads meanwhile sees the old one or the new one.

        Raises:
            CollectionError: there is no such collection, or one is called like the alias.
        """

    def upsert(self, name: str, points: Iterable[Point], *, wait: bool = True) -> int:
        """Insert points or replace them whole; the number written.

        With `wait`, they are durable and found by searches on return. Not atomic as a whole: after an error
        some of them may be there, and writing them again is harmless.
        """

    def set_payload(self, name: str, payloads: Mapping[UUID, Payload]) -> list[UUID]:
        """Replace the whole payload of each point, durable on return; its vector stays.

        Returns the ids that are not in the collection; those are left alone.
        """

    def delete(self, name: str, ids: Iterable[UUID]) -> None:
        """Remove points, durable on return; ids that are not there are ignored."""

    def count(self, name: str, filter: SearchFilter | None = None) -> int:
        """Exact number of points that pass."""

    def retrieve(
        self,
        name: str,
        ids: Sequence[UUID],
        *,
        with_vectors: bool = False,
        fields: Sequence[str] | None = None,
    ) -> dict[UUID, Point]:
        """The points that are there, with the given payload fields (all by default)."""

    def scroll(
        self,
        name: str,
        *,
        fields: Sequence[str] = (),
        filter: SearchFilter | None = None,
        ids: IdRange | None = None,
        batch: int | None = None,
    ) -> Iterator[tuple[UUID, Payload]]:
        """Every point that passes, in the order of its id's bytes (PostgreSQL's order of uuid), in pages.

        Memory is bounded by one page of `batch` points (by default what suits the engine). No snapshot: a
        point that is written or removed meanwhile may or may not be seen; every other one is seen once.
        """

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
        """The `limit` best points for a vector ([dimension]) or a taste, best first.

        With `group_by` only the best point of each value of that payload field, `limit` values where
        there are as many; points without the field are left out. `exact` scans instead of using HNSW.
        """

    def close(self) -> None:
        """Release what is held; closing twice is harmless."""
