"""Comparing what should be in a collection with what is, as one sorted stream in bounded memory.

The caller gives what should be there (from PostgreSQL, sorted by id); the collection is scrolled beside it.
Nothing is changed here: the differences are handed over as they are found.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import IdRange, Payload, SearchFilter

_FIELDS = ("store_id", "payload_hash", "image_sha256")
#: Points per page where a part of the ids is compared: the last page reads beyond the part.
_PART_PAGE = 2_500


class DifferenceKind(StrEnum):
    """How a point differs from what it should be; a point has one kind."""

    MISSING = "missing"
    """Should be there and is not."""
    ORPHANED = "orphaned"
    """Is there and should not be: the product left, or never had an active row."""
    STALE_VECTOR = "stale_vector"
    """Stands for another picture, and its payload then differs too; or its vector was found wrong and is awaited."""
    STALE_PAYLOAD = "stale_payload"
    """The picture is right, the payload is not."""
    FOREIGN = "foreign"
    """Is there, should not be, and is of no store that is known, or carries no payload of this pipeline."""


class WantedPoint(NamedTuple):
    """What a point should be."""

    id: UUID
    payload_hash: str
    image_sha256: str
    store_id: str


class Difference(NamedTuple):
    """One point that is not what it should be. `store_id` is None where a foreign one names none."""

    kind: DifferenceKind
    id: UUID
    store_id: str | None


@dataclass(frozen=True)
class ReconcileReport:
    """What a comparison found. `by_store` counts kinds by store; `sample` holds the first differences."""

    collection: str
    wanted: int
    points: int
    counts: dict[str, int]
    by_store: dict[str, dict[str, int]]
    sample: tuple[Difference, ...]
    seconds: float

    @property
    def differences(self) -> int:
        """Number of points that differ."""
        return sum(self.counts.values())

    @property
    def agrees(self) -> bool:
        """Whether the collection is what it should be."""
        return self.differences == 0


def differences(
    wanted: Iterable[tuple[UUID, str, str, str]],
    actual: Iterable[tuple[UUID, Payload]],
    *,
    stores: frozenset[str] | None = None,
) -> Iterator[Difference]:
    """Merge two streams sorted by id; every point that is not what it should be, in the order of ids.

    `wanted` holds the fields of `WantedPoint`. With `stores`, a surplus point of any other is foreign.

    Raises:
        ValueError: a stream is not sorted by the bytes of its ids or holds one twice.
    """
    yield from _merged(
        _Ascending(wanted, "what should be there"), _Ascending(actual, "the collection"), stores
    )


def _merged(
    wanted: "_Ascending", actual: "_Ascending", stores: frozenset[str] | None
) -> Iterator[Difference]:
    left, right = iter(wanted), iter(actual)
    want = next(left, None)
    have = next(right, None)
    # A million of each pass through here: no objects are made for points that are right.
    while want is not None and have is not None:
        # Integers compare in a fifth of the time of UUIDs.
        wanted_id, found_id = want[0].int, have[0].int
        if wanted_id == found_id:
            payload = have[1]
            if payload.get("image_sha256") != want[2]:
                yield Difference(DifferenceKind.STALE_VECTOR, want[0], want[3])
            elif payload.get("payload_hash") != want[1]:
                yield Difference(DifferenceKind.STALE_PAYLOAD, want[0], want[3])
            want = next(left, None)
            have = next(right, None)
        elif wanted_id < found_id:
            yield Difference(DifferenceKind.MISSING, want[0], want[3])
            want = next(left, None)
        else:
            yield _surplus(have[0], have[1], stores)
            have = next(right, None)
    while want is not None:
        yield Difference(DifferenceKind.MISSING, want[0], want[3])
        want = next(left, None)
    while have is not None:
        yield _surplus(have[0], have[1], stores)
        have = next(right, None)


def reconcile(
    store: VectorStore,
    collection: str,
    wanted: Iterable[tuple[UUID, str, str, str]],
    *,
    store_id: str | None = None,
    stores: frozenset[str] | None = None,
    ids: IdRange | None = None,
    on_difference: Callable[[Difference], None] | None = None,
    sample: int = 20,
) -> ReconcileReport:
    """Compare a collection, its points of one store, or those of some ids, with what should be there.

    `wanted` is sorted by id and covers the same scope. With `stores`, points of any other are foreign.
    `on_difference` gets every difference as it is found; the report keeps counts and the first `sample`.

    Raises:
        ValueError: `wanted` is not sorted.
        CollectionError: there is no such collection.
    """
    started = time.perf_counter()
    asked = SearchFilter(store=store_id) if store_id is not None else None
    left = _Ascending(wanted, "what should be there")
    found_there = store.scroll(
        collection, fields=_FIELDS, filter=asked, ids=ids, batch=_PART_PAGE if ids else None
    )
    right = _Ascending(found_there, "the collection")
    counts: Counter[str] = Counter()
    by_store: dict[str, Counter[str]] = {}
    first: list[Difference] = []
    for found in _merged(left, right, stores):
        counts[found.kind] += 1
        by_store.setdefault(found.store_id or "", Counter())[found.kind] += 1
        if len(first) < sample:
            first.append(found)
        if on_difference is not None:
            on_difference(found)
    return ReconcileReport(
        collection=collection,
        wanted=left.seen,
        points=right.seen,
        counts={kind.value: counts[kind] for kind in DifferenceKind},
        by_store={name: dict(found) for name, found in sorted(by_store.items())},
        sample=tuple(first),
        seconds=time.perf_counter() - started,
    )


class _Ascending:
    """Items whose first field is an id, read once; a stream out of order would report nonsense."""

    def __init__(self, items: Iterable[tuple[Any, ...]], what: str) -> None:
        self._items = items
        self._what = what
        #: How many there were, once they are read.
        self.seen = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        last, seen = -1, 0
        for item in self._items:
            number = item[0].int
            if number <= last:
                raise ValueError(f"{self._what} is not sorted by id: {item[0]} after {UUID(int=last)}")
            last = number
            seen += 1
            yield item
        self.seen = seen


def _surplus(id_: UUID, payload: Payload, stores: frozenset[str] | None) -> Difference:
    store_id = payload.get("store_id")
    unknown = stores is not None and store_id not in stores
    if "payload_hash" not in payload or unknown:
        return Difference(DifferenceKind.FOREIGN, id_, store_id if isinstance(store_id, str) else None)
    return Difference(DifferenceKind.ORPHANED, id_, store_id)
