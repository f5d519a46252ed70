"""Applying a snapshot to `products`: upsert, hold, tombstone, in one transaction.

Everything is set-based: ids and hashes of the clean rows and the ids of the rejected ones are staged and
compared with the store's rows once; of what differs the whole rows are staged too, and written.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, TextClause, func, text
from sqlalchemy.dialects.postgresql import insert

from fashion_pipeline.catalog import snapshots
from fashion_pipeline.catalog.models import Store
from fashion_pipeline.catalog.snapshots import Snapshot, StoreState
from fashion_pipeline.catalog.staging import copy_batches, read_batches
from fashion_pipeline.cleaning.schema import CONTENT_FIELDS
from fashion_pipeline.errors import VerdictError

#: Columns that a clean row brings; `image_url` and the lists may change without a change of content.
CONTENT_COLUMNS = [*(each.name for each in CONTENT_FIELDS), "raw_attributes", "image_key", "content_hash"]
#: What tells whether a row differs; `content_hash` stands for all the other columns.
_COMPARED_COLUMNS = ["external_id", "content_hash", "image_url", "additional_image_urls", "raw_attributes"]
_STAGED_TYPES = {
    "price": "numeric(18,4)",
    "sale_price": "numeric(18,4)",
    "sale_starts_at": "timestamptz",
    "sale_ends_at": "timestamptz",
    "additional_image_urls": "text[]",
    "raw_attributes": "jsonb",
}


@dataclass(frozen=True)
class SnapshotFiles:
    """Local copies of what cleaning wrote: clean rows, rejected items, deleted ids."""

    clean: Path
    rejected: Path
    deletions: Path | None = None


@dataclass(frozen=True)
class ApplyReport:
    """What applying a snapshot did to a store's products, in rows.

    `outcome` is `applied`, `unchanged` (the same bytes were applied before) or `superseded` (a newer
    snapshot was applied before: nothing changes but earlier `first_seen_on`).
    """

    outcome: str
    catalogue_as_of: date
    new: int = 0
    changed: int = 0
    price_changed: int = 0
    returned: int = 0
    released: int = 0
    refreshed_urls: int = 0
    unchanged: int = 0
    held: int = 0
    hold_expired: int = 0
    delisted: int = 0
    deleted: int = 0
    delisting_blocked: bool = False
    first_seen_earlier: int = 0
    active: int = 0
    stage_seconds: dict[str, float] = field(default_factory=dict)


def refuse_unless_applicable(connection: Connection, snapshot: Snapshot, *, mode: str) -> None:
    """The guard in front of the catalogue: only snapshots that are judged right get in.

    Raises:
        VerdictError: the verdict is not `ok` or `accepted`, or a delta has an unapplied predecessor.
    """
    place = f"store {snapshot.store_id}, {snapshot.day}"
    if snapshot.verdict is None:
        raise VerdictError(
            f"{place}: the feed was captured but not cleaned; materialize clean_products first"
        )
    if snapshot.failure:
        raise VerdictError(f"{place}: {snapshot.failure}")
    if snapshot.verdict == "refused":
        findings = "; ".join(str(finding["message"]) for finding in snapshot.findings or [])
        guards = sorted({str(finding["guard"]) for finding in snapshot.findings or []})
        raise VerdictError(
            f"{place}: refused by its guards: {findings}. Nothing was changed. Look at the feed; if it is right, "
            "materialize clean_products for this partition with the run config "
            f"{{accept_sha256: {snapshot.sha256[:12]}, accept_guards: {guards}, accept_reason: ...}}, "
            "then products; if it is wrong, materialize raw_feeds again once the store has mended it"
        )
    if mode == "delta":
        waiting = snapshots.unapplied_before(connection, snapshot.store_id, snapshot.day)
        if waiting:
            days = ", ".join(map(str, waiting))
            raise VerdictError(
                f"{place}: a delta applies in order, and these days are not applied: {days}; run them first. One "
                f"that stays unreadable is given up by `fashion-pipeline feeds skip --store {snapshot.store_id} "
                "--day DAY --reason ...`: what it alone told is then missing until the next full feed"
            )


def apply_snapshot(
    connection: Connection,
    snapshot: Snapshot,
    open_files: Callable[[], SnapshotFiles],
    *,
    mode: str,
    hold_days: int,
) -> ApplyReport:
    """Bring a store's products to the state that `snapshot` tells.

    Runs in the connection's transaction; the caller holds the advisory lock of (store, products).

    Args:
        open_files: gives the snapshot's files; not called when nothing has to be read.
        mode: `full` (what is missing is delisted) or `delta`.
        hold_days: days for which an item that is seen but not clean keeps its old row.

    Raises:
        VerdictError: see `refuse_unless_applicable`.
    """
    state = snapshots.store_state(connection, snapshot.store_id)
    if state.applied_through is not None and snapshot.day < state.applied_through:
        if mode == "full":
            return _supersede(connection, snapshot, open_files, state.applied_through)
        raise VerdictError(
            f"store {snapshot.store_id}, {snapshot.day}: a delta cannot be applied behind {state.applied_through}, "
            "which is applied already; apply a full feed of a later day"
        )
    refuse_unless_applicable(connection, snapshot, mode=mode)
    known = (state.applied_sha256, state.applied_cleaning) == (snapshot.sha256, snapshot.cleaning)
    if known and state.applied_through == snapshot.day and snapshot.outcome == "applied":
        active, held = _standing(connection, snapshot.store_id)
        return ApplyReport("unchanged", snapshot.day, active=active, held=held)
    if known:
        report = _advance(connection, snapshot, hold_days)
    else:
        report = _merge(connection, snapshot, open_files(), mode=mode, hold_days=hold_days)
    _finish(connection, snapshot, state)
    return report


def _supersede(
    connection: Connection, snapshot: Snapshot, open_files: Callable[[], SnapshotFiles], as_of: date
) -> ApplyReport:
    earlier = 0
    if snapshot.outcome is None and snapshot.clean_key is not None:
        files = open_files()
        connection.execute(text("CREATE TEMP TABLE seen (external_id text) ON COMMIT DROP"))
        copy_batches(connection, "seen", ["external_id"], read_batches(files.clean, ["external_id"]))
        earlier = connection.execute(
            text(
                "UPDATE products SET first_seen_on = :day FROM seen WHERE store_id = :store "
                "AND products.external_id = seen.external_id AND first_seen_on > :day"
            ),
            {"store": snapshot.store_id, "day": snapshot.day},
        ).rowcount
        snapshots.record(connection, snapshot.id, {"outcome": "superseded", "applied_at": func.now()})
    active, held = _standing(connection, snapshot.store_id)
    return ApplyReport("superseded", as_of, first_seen_earlier=earlier, active=active, held=held)


def _advance(connection: Connection, snapshot: Snapshot, hold_days: int) -> ApplyReport:
    """Known bytes on a new day: only holds grow older."""
    expired = _expire_holds(connection, snapshot, hold_days)
    active, held = _standing(connection, snapshot.store_id)
    outcome = "applied" if expired else "unchanged"
    return ApplyReport(outcome, snapshot.day, hold_expired=expired, active=active, held=held)


def _merge(
    connection: Connection, snapshot: Snapshot, files: SnapshotFiles, *, mode: str, hold_days: int
) -> ApplyReport:
    parameters = {"store": snapshot.store_id, "day": snapshot.day}
    clock = _Clock()
    _stage(connection, files)
    clock.lap("stage")

    def run(statement: TextClause) -> int:
        return connection.execute(statement, parameters).rowcount

    connection.execute(_COMPARE, parameters)
    connection.execute(text("ANALYZE difference"))
    kinds = {str(kind): int(count) for kind, count in connection.execute(_COUNT_KINDS)}
    clock.lap("compare")
    _stage_content(connection, files)
    price_changed = connection.scalar(_COUNT_PRICES, parameters) or 0
    clock.lap("stage_content")
    run(_INSERT)
    run(_UPDATE)
    clock.lap("upsert")
    run(_HOLD)
    expired = _expire_holds(connection, snapshot, hold_days)
    deleted = run(_DELETE) if files.deletions is not None else 0
    delisted, blocked = 0, False
    if mode == "full":
        missing = run(_FIND_MISSING)
        account = snapshot.account or {}
        unreadable = int(account.get("rejected_without_id", 0)) + int(account.get("broken", 0))
        # An item whose id could not be read may be any of the missing ones.
        blocked = missing > 0 and unreadable > missing
        delisted = 0 if blocked or not missing else run(_DELIST)
    clock.lap("delist")
    staged = connection.scalar(text("SELECT count(*) FROM incoming")) or 0
    active, held = _standing(connection, snapshot.store_id)
    return ApplyReport(
        "applied",
        snapshot.day,
        new=kinds.get("new", 0),
        changed=kinds.get("changed", 0),
        price_changed=price_changed,
        returned=kinds.get("returned", 0),
        released=kinds.get("released", 0),
        refreshed_urls=kinds.get("refreshed", 0),
        unchanged=staged - sum(kinds.values()),
        hold_expired=expired,
        delisted=delisted,
        deleted=deleted,
        delisting_blocked=blocked,
        active=active,
        held=held,
        stage_seconds=clock.laps,
    )


def _stage(connection: Connection, files: SnapshotFiles) -> None:
    _create_staged(connection, "incoming", _COMPARED_COLUMNS)
    copy_batches(connection, "incoming", _COMPARED_COLUMNS, read_batches(files.clean, _COMPARED_COLUMNS))
    connection.execute(text("CREATE TEMP TABLE unclean (external_id text) ON COMMIT DROP"))
    copy_batches(connection, "unclean", ["external_id"], read_batches(files.rejected, ["external_id"]))
    connection.execute(text("CREATE TEMP TABLE gone (external_id text) ON COMMIT DROP"))
    if files.deletions is not None:
        copy_batches(connection, "gone", ["external_id"], read_batches(files.deletions, ["external_id"]))
    # The planner knows nothing of temporary tables that were not analyzed. Of long texts it need not know.
    for table in ("incoming", "unclean", "gone"):
        connection.execute(text(f"ANALYZE {table} (external_id)"))


def _stage_content(connection: Connection, files: SnapshotFiles) -> None:
    """Stage the whole rows of what differs."""
    _create_staged(connection, "content", CONTENT_COLUMNS)
    differing = pa.array(connection.scalars(text("SELECT external_id FROM difference")), pa.string())
    if len(differing):
        rows = (
            batch.filter(pc.is_in(batch.column("external_id"), differing))
            for batch in read_batches(files.clean, CONTENT_COLUMNS)
        )
        copy_batches(connection, "content", CONTENT_COLUMNS, rows)
    connection.execute(text("ANALYZE content (external_id)"))


def _create_staged(connection: Connection, table: str, columns: list[str]) -> None:
    typed = ", ".join(f"{name} {_STAGED_TYPES.get(name, 'text')}" for name in columns)
    connection.execute(text(f"CREATE TEMP TABLE {table} ({typed}) ON COMMIT DROP"))


def _expire_holds(connection: Connection, snapshot: Snapshot, hold_days: int) -> int:
    return connection.execute(
        text(
            "UPDATE products SET delisted_on = :day, held_since = NULL, snapshot_date = :day, updated_at = now() "
            "WHERE store_id = :store AND delisted_on IS NULL AND held_since <= :limit"
        ),
        {
            "store": snapshot.store_id,
            "day": snapshot.day,
            "limit": snapshot.day - timedelta(days=hold_days),
        },
    ).rowcount


def _finish(connection: Connection, snapshot: Snapshot, state: StoreState) -> None:
    through = max(snapshot.day, state.applied_through or snapshot.day)
    values = {
        "applied_through": through,
        "applied_sha256": snapshot.sha256,
        "applied_cleaning": snapshot.cleaning,
        "applied_at": func.now(),
    }
    statement = insert(Store).values(store_id=snapshot.store_id, **values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["store_id"], set_=values | {"updated_at": func.now()})
    )
    snapshots.record(connection, snapshot.id, {"outcome": "applied", "applied_at": func.now()})


def _standing(connection: Connection, store_id: str) -> tuple[int, int]:
    """How many products of a store are active, and how many of those are held."""
    row = connection.execute(
        text(
            "SELECT count(*), count(held_since) FROM products WHERE store_id = :store AND delisted_on IS NULL"
        ),
        {"store": store_id},
    ).one()
    return row[0], row[1]


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now


_ASSIGNED = [name for name in CONTENT_COLUMNS if name != "external_id"]

_COMPARE = text(
    """
    CREATE TEMP TABLE difference ON COMMIT DROP AS
    SELECT * FROM (
        SELECT i.external_id, p.id,
               CASE WHEN p.id IS NULL THEN 'new'
                    WHEN p.delisted_on IS NOT NULL THEN 'returned'
                    WHEN p.content_hash <> i.content_hash THEN 'changed'
                    WHEN p.held_since IS NOT NULL THEN 'released'
                    WHEN p.image_url IS DISTINCT FROM i.image_url
                      OR p.additional_image_urls IS DISTINCT FROM i.additional_image_urls
                      OR p.raw_attributes IS DISTINCT FROM i.raw_attributes THEN 'refreshed'
               END AS kind
        FROM incoming i LEFT JOIN products p ON p.store_id = :store AND p.external_id = i.external_id
    ) compared WHERE kind IS NOT NULL
    """
)
_COUNT_KINDS = text("SELECT kind, count(*) FROM difference GROUP BY kind")
_COUNT_PRICES = text(
    """
    SELECT count(*) FROM difference d JOIN products p ON p.id = d.id JOIN content i ON i.external_id = d.external_id
    WHERE d.kind = 'changed' AND (p.price, p.sale_price) IS DISTINCT FROM (i.price, i.sale_price)
    """
)
# gen_random_uuid() is core PostgreSQL's version 4, the same kind that the models make in Python.
_INSERT = text(
    f"""
    INSERT INTO products (id, store_id, {", ".join(CONTENT_COLUMNS)}, snapshot_date, first_seen_on)
    SELECT gen_random_uuid(), :store, {", ".join(f"i.{name}" for name in CONTENT_COLUMNS)}, :day, :day
    FROM difference d JOIN content i ON i.external_id = d.external_id WHERE d.kind = 'new'
    """
)
_UPDATE = text(
    f"""
    UPDATE products p
    SET {", ".join(f"{name} = i.{name}" for name in _ASSIGNED)},
        snapshot_date = CASE WHEN d.kind IN ('changed', 'returned') THEN :day ELSE p.snapshot_date END,
        held_since = NULL, delisted_on = NULL, updated_at = now()
    FROM difference d JOIN content i ON i.external_id = d.external_id
    WHERE p.id = d.id
    """
)
_SEEN_UNCLEAN = """
    p.store_id = :store AND p.delisted_on IS NULL
    AND p.external_id IN (SELECT external_id FROM unclean WHERE external_id IS NOT NULL)
    AND NOT EXISTS (SELECT FROM incoming i WHERE i.external_id = p.external_id)
"""
_HOLD = text(f"UPDATE products p SET held_since = coalesce(p.held_since, :day) WHERE {_SEEN_UNCLEAN}")
_FIND_MISSING = text(
    """
    CREATE TEMP TABLE missing ON COMMIT DROP AS
    SELECT p.id FROM products p WHERE p.store_id = :store AND p.delisted_on IS NULL
    AND NOT EXISTS (SELECT FROM incoming i WHERE i.external_id = p.external_id)
    AND NOT EXISTS (SELECT FROM unclean u WHERE u.external_id = p.external_id)
    """
)
_TOMBSTONE = "delisted_on = :day, held_since = NULL, snapshot_date = :day, updated_at = now()"
_DELIST = text(f"UPDATE products p SET {_TOMBSTONE} FROM missing WHERE p.id = missing.id")
_DELETE = text(
    f"""
    UPDATE products p SET {_TOMBSTONE} WHERE p.store_id = :store AND p.delisted_on IS NULL
    AND p.external_id IN (SELECT external_id FROM gone)
    AND NOT EXISTS (SELECT FROM incoming i WHERE i.external_id = p.external_id)
    """
)
