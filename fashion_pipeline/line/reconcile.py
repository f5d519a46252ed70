"""Comparing points with PostgreSQL id by id, and mending what differs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.index.payload import PAYLOAD_VERSION
from fashion_pipeline.index.reconcile import (
    Difference,
    DifferenceKind,
    ReconcileReport,
    reconcile,
)
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import IdRange
from fashion_pipeline.line.points import (
    PointsReport,
    Serving,
    points_lock,
    write_points,
    write_points_locked,
)
from fashion_pipeline.storage import DataLocation

#: Differences gathered before they are mended: bounds memory, statements and deletes.
BATCH_IDS = 1000

#: Repair removes at most this share of a collection, and always this many points, unless it is told otherwise: a
#: wrong feeds.yaml or data location must not empty an index.
REMOVE_SHARE, REMOVE_ALWAYS = 0.10, 100

#: Points of a store that its day's check compares; those of a larger store take turns by day.
CHECK_POINTS = 10_000

_SURPLUS = {DifferenceKind.ORPHANED, DifferenceKind.FOREIGN}


@dataclass(frozen=True)
class RepairReport:
    """What was found, what mending wrote, and what is found afterwards, for one store."""

    before: ReconcileReport
    removed: int
    points: PointsReport
    after: ReconcileReport


@dataclass(frozen=True)
class RepairAllReport:
    """The same for a whole collection; `rewritten` points were inserted or written again."""

    before: ReconcileReport
    removed: int
    rewritten: int
    after: ReconcileReport


@dataclass(frozen=True)
class Turn:
    """The part of a store's points that is compared on a day: `number`, from 1, of `of`."""

    number: int
    of: int


def turn_of(database: Database, store_id: str, day: date, serving: Serving) -> Turn:
    """Whose turn it is: a store of up to `CHECK_POINTS` points is compared whole.

    As many parts as days in a row cover all of a larger one; their number doubles with it, so that it seldom changes.
    """
    points = ledger.count_entries(database, serving.collection, store_id)
    of = 1 << (max(points - 1, 0) // CHECK_POINTS).bit_length()
    return Turn(day.toordinal() % of + 1, of)


def reconcile_store(
    database: Database,
    vectors: VectorStore,
    store_id: str,
    *,
    serving: Serving,
    turn: Turn | None = None,
    on_difference: Callable[[Difference], None] | None = None,
) -> ReconcileReport:
    """Compare a store's points, or those whose `turn` it is, with what PostgreSQL and the shards say."""
    ids = IdRange.part(turn.number - 1, turn.of) if turn and turn.of > 1 else None
    asked = ids or IdRange.part(0, 1)
    return reconcile(
        vectors,
        serving.collection,
        ledger.expected_points(
            database,
            serving.collection,
            serving.model_id,
            [store_id],
            payload_version=PAYLOAD_VERSION,
            first=asked.first,
            last=asked.last,
        ),
        store_id=store_id,
        ids=ids,
        on_difference=on_difference,
    )


def reconcile_all(
    database: Database,
    vectors: VectorStore,
    serving: Serving,
    stores: Sequence[str],
    *,
    on_difference: Callable[[Difference], None] | None = None,
) -> ReconcileReport:
    """Compare every point of a collection with what PostgreSQL and the shards say of `stores`, in one stream.

    A point without a store, or of a store that is not among `stores`, is foreign.
    """
    return reconcile(
        vectors,
        serving.collection,
        ledger.expected_points(
            database, serving.collection, serving.model_id, stores, payload_version=PAYLOAD_VERSION
        ),
        stores=frozenset(stores),
        on_difference=on_difference,
    )


def repair_store(
    database: Database, data: DataLocation, vectors: VectorStore, store_id: str, *, serving: Serving
) -> RepairReport:
    """Mend a store's points: what should not be there goes, what is missing or stale is written again."""
    with points_lock(database, store_id):
        mending = _Mending(database, vectors, serving, [store_id], locked=True)
        before = reconcile_store(database, vectors, store_id, serving=serving, on_difference=mending.add)
        mending.flush()
        points = write_points_locked(database, data, vectors, store_id, serving=serving)
        after = reconcile_store(database, vectors, store_id, serving=serving)
    return RepairReport(before, mending.removed, points, after)


def repair_all(
    database: Database,
    data: DataLocation,
    vectors: VectorStore,
    serving: Serving,
    stores: Sequence[str],
    *,
    remove_many: bool = False,
) -> RepairAllReport:
    """Mend a whole collection, in bounded memory, while stores may be written.

    Raises:
        PermanentError: more than a tenth of the points would be removed, and `remove_many` was not said.
    """
    before = reconcile_all(database, vectors, serving, stores)
    surplus = sum(before.counts[kind] for kind in _SURPLUS)
    if surplus > max(REMOVE_ALWAYS, REMOVE_SHARE * before.points) and not remove_many:
        raise PermanentError(
            f"{surplus:,} of {before.points:,} points of {serving.collection!r} would be removed, by store: "
            f"{_surplus_by_store(before)}. See that feeds.yaml and DATABASE_URL are the right ones, then repeat "
            "with --remove-many"
        )
    mending = _Mending(database, vectors, serving, stores, locked=False)
    if not before.agrees:
        reconcile_all(database, vectors, serving, stores, on_difference=mending.add)
        mending.flush()
    rewritten = 0
    for store_id in stores:
        report = write_points(database, data, vectors, store_id, serving=serving)
        rewritten += report.inserted + report.vectors_updated + report.payloads_updated
    after = reconcile_all(database, vectors, serving, stores) if not before.agrees or rewritten else before
    return RepairAllReport(before, mending.removed, rewritten, after)


class _Mending:
    """Removes surplus points as they are found, and makes the ledger ask for the others again."""

    def __init__(
        self,
        database: Database,
        vectors: VectorStore,
        serving: Serving,
        stores: Sequence[str],
        *,
        locked: bool,
    ) -> None:
        self._database = database
        self._vectors = vectors
        self._serving = serving
        self._stores = stores
        self._locked = locked
        self._found: list[Difference] = []
        self.removed = 0

    def add(self, difference: Difference) -> None:
        self._found.append(difference)
        if len(self._found) >= BATCH_IDS:
            self.flush()

    def flush(self) -> None:
        """Settle what was gathered. Asking the ledger to write a point again is right at any time."""
        found, self._found = self._found, []
        collection = self._serving.collection
        rewritten = [each.id for each in found if each.kind is DifferenceKind.STALE_VECTOR]
        ledger.mark_stale(self._database, collection, rewritten, whole=True)
        again = {DifferenceKind.MISSING, DifferenceKind.STALE_PAYLOAD}
        ledger.mark_stale(self._database, collection, [each.id for each in found if each.kind in again])
        gone = [each.id for each in found if each.kind in _SURPLUS]
        if self._locked:
            self._remove(gone)
            return
        # A product may have come back since it was read: its store's lock is held from asking again to deleting.
        owners = ledger.stores_of(self._database, gone)
        by_store: dict[str | None, list[UUID]] = {}
        for id_ in gone:
            by_store.setdefault(owners.get(id_), []).append(id_)
        for store_id, ids in by_store.items():
            if store_id is None:
                self._remove(ids)
                continue
            with points_lock(self._database, store_id):
                back = ledger.expected_among(
                    self._database,
                    collection,
                    self._serving.model_id,
                    self._stores,
                    ids,
                    payload_version=PAYLOAD_VERSION,
                )
                self._remove([id_ for id_ in ids if id_ not in back])

    def _remove(self, ids: list[UUID]) -> None:
        if ids:
            self._vectors.delete(self._serving.collection, ids)
            ledger.forget_points(self._database, self._serving.collection, ids)
            self.removed += len(ids)


def _surplus_by_store(report: ReconcileReport) -> str:
    counted = {
        store or "(no store)": sum(counts.get(kind, 0) for kind in _SURPLUS)
        for store, counts in report.by_store.items()
    }
    return ", ".join(f"{count:,} of {store}" for store, count in counted.items() if count)
