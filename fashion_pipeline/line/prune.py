"""Retention: old feeds and what was made of them, and pictures and vectors that no product needs."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.prune import (
    ForgottenPictures,
    captured_stores,
    forget_pictures,
    forget_rejected,
    needed_files,
)
from fashion_pipeline.storage import DataLocation, Entry

#: Folders of a store's snapshots, in the order in which their files go: cleaned rows are taken over from an
#: earlier snapshot only where they are there, so they go before the deletions that belong to them.
FOLDERS = ("clean", "deletions", "rejected", "raw")
#: Stages that read or write these files; each takes one of these locks and never two.
STAGES = ("raw_feeds", "clean_products", "products")


@dataclass(frozen=True)
class PruneReport:
    """What was found, or removed: files of snapshots with their bytes, and rows."""

    files: int
    bytes: int
    rejected: int
    pictures: int
    vectors: int


def prune(
    database: Database,
    data: DataLocation,
    before: date,
    *,
    per_product: Mapping[str, int],
    delete: bool,
) -> PruneReport:
    """Find, and with `delete` remove, what is older than `before` and not needed.

    Of each store the newest applied snapshot stays with its supplements, and every later one; files that a
    snapshot that stays shares with an older one stay, too. Rows of `feed_snapshots` stay: they are the
    history, and say of a day that it is settled. So do tombstones.

    Args:
        before: first day that is kept.
        per_product: pictures of a product that are fetched, by store.
    """
    files = size = rejected = 0
    for store_id in captured_stores(database):
        with ExitStack() as locks:
            if delete:
                # A capture may find old bytes anew, and a run may read an older day just now.
                for stage in STAGES:
                    locks.enter_context(database.lock(store_id, stage))
            with database.connection() as connection:
                rejected += forget_rejected(connection, store_id, before, delete=delete)
                needed = needed_files(connection, store_id, before)
            for entry in _old_files(data, store_id, before):
                if entry.key in needed:
                    continue
                files, size = files + 1, size + entry.size
                if delete:
                    data.delete(entry.key)
    forgotten: ForgottenPictures = forget_pictures(database, before, per_product, delete=delete)
    return PruneReport(files, size, rejected, forgotten.pictures, forgotten.vectors)


def _old_files(data: DataLocation, store_id: str, before: date) -> list[Entry]:
    """Files of a store's snapshots that were written before a day, unfinished ones included."""
    since = datetime.combine(before, time(), UTC).timestamp()
    found = []
    for folder in FOLDERS:
        place = f"{folder}/store={store_id}"
        found += [*data.list(place), *data.leftovers(place)]
    return [entry for entry in found if entry.modified < since]
