"""Comparing points with PostgreSQL id by id, and mending what differs."""

from dataclasses import dataclass

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.index.payload import PAYLOAD_VERSION
from fashion_pipeline.index.reconcile import (
    Difference,
    DifferenceKind,
    ReconcileReport,
    WantedPoint,
    reconcile,
)
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.line.points import PointsReport, Serving, points_lock, write_points_locked
from fashion_pipeline.storage import DataLocation

#: Ids per statement and per delete.
BATCH_IDS = 1000


@dataclass(frozen=True)
class RepairReport:
    """What was found, what mending wrote, and what is found afterwards, for one store."""

    before: ReconcileReport
    removed: int
    points: PointsReport
    after: ReconcileReport


def reconcile_store(
    database: Database,
    vectors: VectorStore,
    store_id: str,
    *,
    serving: Serving,
    found: list[Difference] | None = None,
) -> ReconcileReport:
    """Compare a store's points in the serving collection with what PostgreSQL and the shards say.

    Args:
        found: gets every difference, where mending needs them all.
    """
    wanted = (
        WantedPoint(*row)
        for row in ledger.expected_points(
            database, serving.collection, serving.model_id, store_id, payload_version=PAYLOAD_VERSION
        )
    )
    on_difference = found.append if found is not None else None
    return reconcile(vectors, serving.collection, wanted, store_id=store_id, on_difference=on_difference)


def repair_store(
    database: Database, data: DataLocation, vectors: VectorStore, store_id: str, *, serving: Serving
) -> RepairReport:
    """Mend a store's points: what should not be there goes, what is missing or stale is written again."""
    with points_lock(database, store_id):
        found: list[Difference] = []
        before = reconcile_store(database, vectors, store_id, serving=serving, found=found)
        surplus = {DifferenceKind.ORPHANED, DifferenceKind.FOREIGN}
        removed = 0
        for start in range(0, len(found), BATCH_IDS):
            batch = found[start : start + BATCH_IDS]
            gone = [each.id for each in batch if each.kind in surplus]
            if gone:
                vectors.delete(serving.collection, gone)
                removed += len(gone)
            rewritten = [each.id for each in batch if each.kind is DifferenceKind.STALE_VECTOR]
            ledger.forget_points(database, serving.collection, [*gone, *rewritten])
            ledger.mark_stale(
                database,
                serving.collection,
                [
                    each.id
                    for each in batch
                    if each.kind in {DifferenceKind.MISSING, DifferenceKind.STALE_PAYLOAD}
                ],
            )
        points = write_points_locked(database, data, vectors, store_id, serving=serving)
        after = reconcile_store(database, vectors, store_id, serving=serving)
    return RepairReport(before, removed, points, after)
