"""`products`: a judged snapshot, applied to PostgreSQL."""

import contextlib
from datetime import date

from fashion_pipeline.catalog import snapshots
from fashion_pipeline.catalog.apply import ApplyReport, SnapshotFiles, apply_snapshot
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.line.clean import local_files
from fashion_pipeline.storage import DataLocation


def skip_day(database: Database, store_id: str, day: date, reason: str) -> int:
    """Give up a captured day that cannot be applied; see `snapshots.skip_day`."""
    with database.lock(store_id, "products"), database.connection() as connection:
        return snapshots.skip_day(connection, store_id, day, reason)


def apply_products(database: Database, data: DataLocation, store: StoreConfig, day: date) -> ApplyReport:
    """Apply the snapshot that stands for a store's day, in one transaction.

    Raises:
        PermanentError: nothing was captured or cleaned for that day, or the store is retired.
        VerdictError: the snapshot is refused, or not yet judged.
    """
    store.refuse_retired()
    with (
        contextlib.ExitStack() as stack,
        database.lock(store.id, "products"),
        database.connection() as connection,
    ):
        snapshot = snapshots.require_snapshot(connection, store.id, day)

        def open_files() -> SnapshotFiles:
            return stack.enter_context(local_files(data, snapshot))

        report = apply_snapshot(
            connection, snapshot, open_files, mode=store.mode, hold_days=store.thresholds.hold_days
        )
    database.analyze("products", report.new)
    return report
