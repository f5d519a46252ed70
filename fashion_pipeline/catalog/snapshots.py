"""The ledger of feed snapshots: what was captured, what it held, whether it may be applied."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.postgresql import distinct_on, insert

from fashion_pipeline.catalog.models import FeedSnapshot, RejectedProduct, Store
from fashion_pipeline.errors import PermanentError, VerdictError

_columns = FeedSnapshot.__table__.c


@dataclass(frozen=True)
class StoredFile:
    """A captured file: where it came from, its bytes by hash, where they lie, what serves the next request."""

    source: str
    sha256: str
    size_bytes: int
    file_key: str
    etag: str | None = None
    last_modified: str | None = None
    content_type: str | None = None
    charset: str | None = None


def snapshot_sha256(files: Sequence[StoredFile]) -> str:
    """What identifies a snapshot of a feed and its supplements, in this order.

    It is the hash of the feed's bytes where there is no supplement. Everything that is said of "these very
    bytes" (known bytes, a person's acceptance, what was applied) hangs on it, so supplements are part of it.
    """
    if len(files) == 1:
        return files[0].sha256
    return hashlib.sha256("\n".join(file.sha256 for file in files).encode()).hexdigest()


@dataclass(frozen=True)
class Snapshot:
    """One row of `feed_snapshots`."""

    id: UUID
    store_id: str
    day: date
    sha256: str
    file_sha256: str
    size_bytes: int
    file_key: str
    source: str
    captured_at: datetime
    etag: str | None
    last_modified: str | None
    content_type: str | None
    charset: str | None
    supplements: list[dict[str, Any]] | None
    cleaning: str | None
    clean_key: str | None
    rejected_key: str | None
    deletions_key: str | None
    account: dict[str, Any] | None
    verdict: str | None
    findings: list[dict[str, Any]] | None
    failure: str | None
    accepted_reason: str | None
    accepted_guards: list[str] | None
    outcome: str | None
    applied_at: datetime | None
    skipped_reason: str | None

    @classmethod
    def of(cls, row: Any) -> Self:
        """Make one from a row that has these columns."""
        return cls(**{name: row._mapping[name] for name in cls.__dataclass_fields__})

    @property
    def feed_file(self) -> StoredFile:
        """The feed itself."""
        return StoredFile(
            self.source,
            self.file_sha256,
            self.size_bytes,
            self.file_key,
            self.etag,
            self.last_modified,
            self.content_type,
            self.charset,
        )

    @property
    def supplement_files(self) -> tuple[StoredFile, ...]:
        """The supplements that were captured with it."""
        return tuple(StoredFile(**each) for each in self.supplements or ())


def snapshots_of_day(connection: Connection, store_id: str, day: date) -> list[Snapshot]:
    """Every snapshot of a store's day, the last captured first."""
    rows = connection.execute(
        select(FeedSnapshot.__table__)
        .where(_columns.store_id == store_id, _columns.day == day)
        .order_by(_columns.captured_at.desc())
    )
    return [Snapshot.of(row) for row in rows]


def current_snapshot(connection: Connection, store_id: str, day: date) -> Snapshot | None:
    """The snapshot that stands for a store's day.

    It is the last captured one that is not refused; a refused one stands only where there is no other,
    so that a bad feed never replaces a good one of the same day.
    """
    snapshots = snapshots_of_day(connection, store_id, day)
    return next(
        (each for each in snapshots if each.verdict != "refused"), snapshots[0] if snapshots else None
    )


def require_snapshot(connection: Connection, store_id: str, day: date) -> Snapshot:
    """The same, or a clear failure.

    Raises:
        PermanentError: nothing was captured for that day.
    """
    return _required(current_snapshot(connection, store_id, day), store_id, day)


def require_capture(connection: Connection, store_id: str, day: date) -> Snapshot:
    """The last captured snapshot of a store's day, whatever its verdict: what is cleaned, judged and checked.

    It is not always the one that stands: a refused feed is told of though a good one of the day is applied.

    Raises:
        PermanentError: nothing was captured for that day.
    """
    return _required(next(iter(snapshots_of_day(connection, store_id, day)), None), store_id, day)


def _required(snapshot: Snapshot | None, store_id: str, day: date) -> Snapshot:
    if snapshot is None:
        raise PermanentError(
            f"store {store_id}: no feed was captured for {day}; materialize raw_feeds for this partition first"
        )
    return snapshot


def latest_snapshot(connection: Connection, store_id: str) -> Snapshot | None:
    """The store's last captured snapshot of any day: its validators serve the next request."""
    row = connection.execute(
        select(FeedSnapshot.__table__)
        .where(_columns.store_id == store_id)
        .order_by(_columns.captured_at.desc())
        .limit(1)
    ).first()
    return Snapshot.of(row) if row else None


def last_captured(connection: Connection, day: date) -> dict[str, Snapshot]:
    """The last capture of `day`, refused ones included, by store."""
    rows = connection.execute(
        select(FeedSnapshot.__table__)
        .ext(distinct_on(_columns.store_id))
        .where(_columns.day == day)
        .order_by(_columns.store_id, _columns.captured_at.desc())
    )
    return {row.store_id: Snapshot.of(row) for row in rows}


def known_file(connection: Connection, store_id: str, sha256: str) -> str | None:
    """Where equal bytes of the store already lie, of a feed or of a supplement."""
    of_feed: str | None = connection.scalar(
        select(_columns.file_key)
        .where(_columns.store_id == store_id, _columns.file_sha256 == sha256)
        .limit(1)
    )
    if of_feed is not None:
        return of_feed
    rows = connection.scalars(
        select(_columns.supplements)
        .where(_columns.store_id == store_id, _columns.supplements.contains([{"sha256": sha256}]))
        .limit(1)
    )
    return next((str(each["file_key"]) for row in rows for each in row if each["sha256"] == sha256), None)


def later_day_captured(connection: Connection, store_id: str, day: date) -> date | None:
    """The first later day for which the store's feed was captured."""
    return connection.scalar(
        select(func.min(FeedSnapshot.day)).where(_columns.store_id == store_id, _columns.day > day)
    )


def record_capture(
    connection: Connection, store_id: str, day: date, files: Sequence[StoredFile], captured_at: datetime
) -> Snapshot:
    """Write a capture: a new snapshot, or new validators and time on the one with these bytes.

    Args:
        files: the feed, then its supplements.
    """
    feed, *supplements = files
    values = asdict(feed) | {
        "store_id": store_id,
        "day": day,
        "sha256": snapshot_sha256(files),
        "file_sha256": feed.sha256,
        "captured_at": captured_at,
        "supplements": [asdict(each) for each in supplements] or None,
    }
    new = insert(FeedSnapshot).values(**values)
    statement = new.on_conflict_do_update(
        index_elements=["store_id", "day", "sha256"],
        set_={
            name: new.excluded[name]
            for name in (
                "captured_at",
                "etag",
                "last_modified",
                "content_type",
                "charset",
                "source",
                "supplements",
            )
        }
        | {"updated_at": func.now()},
    ).returning(FeedSnapshot.__table__)
    return Snapshot.of(connection.execute(statement).one())


def cleaned_twin(connection: Connection, snapshot: Snapshot, cleaning: str) -> Snapshot | None:
    """A snapshot of the same store and bytes that was cleaned by the same rules, perhaps itself."""
    row = connection.execute(
        select(FeedSnapshot.__table__)
        .where(
            _columns.store_id == snapshot.store_id,
            _columns.sha256 == snapshot.sha256,
            _columns.cleaning == cleaning,
            _columns.clean_key.is_not(None),
        )
        .order_by((_columns.id == snapshot.id).desc())
        .limit(1)
    ).first()
    return Snapshot.of(row) if row else None


def record_cleaning(
    connection: Connection, snapshot: Snapshot, values: dict[str, Any], rejected: Iterable[dict[str, Any]]
) -> None:
    """Write what cleaning found, and put its rejected items in the place of earlier ones."""
    connection.execute(delete(RejectedProduct).where(RejectedProduct.snapshot_id == snapshot.id))
    batch: list[dict[str, Any]] = []
    for row in rejected:
        batch.append({"snapshot_id": snapshot.id, "store_id": snapshot.store_id, "day": snapshot.day, **row})
        if len(batch) == 1000:
            connection.execute(insert(RejectedProduct), batch)
            batch = []
    if batch:
        connection.execute(insert(RejectedProduct), batch)
    record(connection, snapshot.id, values)


def record(connection: Connection, snapshot_id: UUID, values: dict[str, Any]) -> None:
    """Set columns of one snapshot."""
    connection.execute(update(FeedSnapshot).where(_columns.id == snapshot_id).values(**values))


def accept(
    connection: Connection, snapshot: Snapshot, *, sha256_prefix: str, guards: Sequence[str], reason: str
) -> Snapshot:
    """Let a person overrule guards for these very bytes; who reads the ledger sees why.

    Raises:
        VerdictError: the bytes are others, the snapshot cannot be read, or a guard that fired is not named.
    """
    place = f"store {snapshot.store_id}, {snapshot.day}"
    if len(sha256_prefix) < 8 or not snapshot.sha256.startswith(sha256_prefix):
        raise VerdictError(
            f"{place}: the snapshot is {snapshot.sha256[:12]}, not {sha256_prefix!r}: what was accepted are "
            "other bytes; look at this feed, then accept it by at least 8 digits of its own sha256"
        )
    if snapshot.failure:
        raise VerdictError(f"{place}: an unreadable feed cannot be accepted: {snapshot.failure}")
    if not reason.strip():
        raise VerdictError(f"{place}: a reason is needed to accept a refused feed")
    fired = {str(finding["guard"]) for finding in snapshot.findings or []}
    unnamed = sorted(fired - set(guards))
    if unnamed:
        raise VerdictError(
            f"{place}: these guards fired and were not named in the acceptance: {', '.join(unnamed)}"
        )
    values = {"verdict": "accepted", "accepted_reason": reason, "accepted_guards": sorted(guards)}
    record(connection, snapshot.id, values)
    return Snapshot(**{**snapshot.__dict__, **values})


def skip_day(connection: Connection, store_id: str, day: date, reason: str) -> int:
    """Give up a day that was captured and never applied, so that later deltas need not wait for it.

    Returns how many snapshots of the day were given up. Running the day still applies it, where no later day
    was applied before.

    Raises:
        VerdictError: nothing was captured on that day, it is settled already, or there is no reason.
    """
    place = f"store {store_id}, {day}"
    if not reason.strip():
        raise VerdictError(f"{place}: say why the day is given up: it is kept with the snapshot")
    of_day = snapshots_of_day(connection, store_id, day)
    if not of_day:
        raise VerdictError(f"{place}: no feed was captured on that day, so no later day waits for it")
    settled = next((each.outcome for each in of_day if each.outcome is not None), None)
    if settled is not None:
        raise VerdictError(f"{place}: the day is {settled} already, so no later day waits for it")
    for snapshot in of_day:
        values = {"outcome": "skipped", "applied_at": func.now(), "skipped_reason": reason}
        record(connection, snapshot.id, values)
    return len(of_day)


def unapplied_before(connection: Connection, store_id: str, day: date) -> list[date]:
    """Earlier captured days that were neither applied nor superseded nor skipped."""
    settled = (
        select(_columns.day)
        .where(_columns.store_id == store_id, _columns.day < day, _columns.outcome.is_not(None))
        .scalar_subquery()
    )
    return list(
        connection.scalars(
            select(_columns.day)
            .where(_columns.store_id == store_id, _columns.day < day, _columns.day.not_in(settled))
            .distinct()
            .order_by(_columns.day)
        )
    )


@dataclass(frozen=True)
class StoreState:
    """How far a store was brought."""

    applied_through: date | None = None
    applied_sha256: str | None = None
    applied_cleaning: str | None = None


def store_state(connection: Connection, store_id: str) -> StoreState:
    """The store's row, or an empty state where it was never applied."""
    row = connection.execute(
        select(Store.applied_through, Store.applied_sha256, Store.applied_cleaning).where(
            Store.store_id == store_id
        )
    ).first()
    return StoreState(*row) if row else StoreState()
