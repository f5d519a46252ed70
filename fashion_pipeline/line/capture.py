"""`raw_feeds`: the exact bytes of a store's feed and of its supplements for a day, captured once."""

import logging
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from fashion_pipeline.catalog import snapshots
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.snapshots import Snapshot, StoredFile
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.feeds.config import StoreConfig, Supplement, public_location_for
from fashion_pipeline.feeds.transport import Validators, fetch_feed
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline.storage import DataLocation

logger = logging.getLogger(__name__)

#: A run launched on its day may still queue and fetch after midnight; beyond this the live feed is
#: another day's.
LIVE_GRACE = timedelta(hours=6)


@dataclass(frozen=True)
class CaptureReport:
    """What capturing did. `action` is `fetched`, `same_bytes`, `not_modified` or `reused`."""

    action: str
    snapshot: Snapshot
    location: str
    seconds: float


def capture_feed(
    database: Database,
    data: DataLocation,
    store: StoreConfig,
    day: date,
    *,
    policy: AddressPolicy,
    user_agent: str,
    refetch: bool = False,
    launched_at: datetime | None = None,
    now: datetime | None = None,
) -> CaptureReport:
    """Fetch a store's feed and its supplements for `day`, unless the last snapshot of the day is not refused.

    A supplement that cannot be fetched fails the capture: the feed without it would be another catalogue.

    Args:
        refetch: ask the store again although a good snapshot is there.
        launched_at: when the run was launched; a live feed belongs to that day.
        now: the present, for tests.

    Raises:
        PermanentError: the feed is not there, `day` is a past day of a live feed, or the store is retired.
        TransientError: the store does not answer.
    """
    store.refuse_retired()
    now = now or datetime.now(UTC)
    started = now if launched_at is None else launched_at
    with database.lock(store.id, "raw_feeds"):
        with database.connection() as connection:
            of_day = snapshots.snapshots_of_day(connection, store.id, day)
            latest = snapshots.latest_snapshot(connection, store.id)
            later = snapshots.later_day_captured(connection, store.id, day)
        current = of_day[0] if of_day else None
        location = public_location_for(store, day)
        good = (
            current is not None
            and current.verdict != "refused"
            and supplements_of(store, current).keys() == set(range(len(store.supplements)))
        )
        if current is not None and good and not refetch:
            return CaptureReport("reused", current, location, 0.0)
        closed = None if store.dated else _closed(day, started, now, later)
        if closed is not None:
            if current is not None:
                logger.warning("store %s, %s: %s; the stored snapshot is used", store.id, day, closed)
                return CaptureReport("reused", current, location, 0.0)
            raise PermanentError(
                f"store {store.id}, {day}: {closed}, and nothing was captured on that day; "
                "only a location with {date} can be backfilled: run today's partition instead"
            )
        known = None if refetch or (latest is not None and latest.verdict == "refused") else latest
        return _fetch(database, data, store, day, location, known, policy, user_agent)


def _closed(day: date, launched_at: datetime, now: datetime, later: date | None) -> str | None:
    """Why a live feed can no longer be captured for `day`, or None."""
    ends = datetime.combine(day + timedelta(days=1), time(), UTC)
    if later is not None:
        return f"the feed of a live location was already captured for {later}"
    if launched_at.astimezone(UTC).date() != day or now > ends + LIVE_GRACE:
        return f"a live location has only today's feed, and today is {now.astimezone(UTC).date()}"
    return None


def supplements_of(store: StoreConfig, snapshot: Snapshot) -> dict[int, StoredFile]:
    """The captured files of the store's supplements, by their number in feeds.yaml.

    One that was added to feeds.yaml after the capture is not there.
    """
    captured = {file.source: file for file in snapshot.supplement_files}
    wanted = (public_location_for(store, snapshot.day, part) for part in store.supplements)
    return {n: captured[source] for n, source in enumerate(wanted) if source in captured}


def _fetch(
    database: Database,
    data: DataLocation,
    store: StoreConfig,
    day: date,
    location: str,
    latest: Snapshot | None,
    policy: AddressPolicy,
    user_agent: str,
) -> CaptureReport:
    began = datetime.now(UTC)
    actions, files = [], []
    for part in (None, *store.supplements):
        source = public_location_for(store, day, part)
        # Validators of another place, or of bytes that are gone, would leave us without bytes.
        of_latest = () if latest is None else (latest.supplement_files if part else (latest.feed_file,))
        known = next(
            (file for file in of_latest if file.source == source and data.exists(file.file_key)), None
        )
        action, file = _fetch_file(database, data, store, day, part, source, known, policy, user_agent)
        actions.append(action)
        files.append(file)
    action = next(name for name in ("fetched", "same_bytes", "not_modified") if name in actions)
    with database.connection() as connection:
        snapshot = snapshots.record_capture(connection, store.id, day, files, datetime.now(UTC))
    return CaptureReport(action, snapshot, location, (datetime.now(UTC) - began).total_seconds())


def _fetch_file(
    database: Database,
    data: DataLocation,
    store: StoreConfig,
    day: date,
    part: Supplement | None,
    source: str,
    known: StoredFile | None,
    policy: AddressPolicy,
    user_agent: str,
) -> tuple[str, StoredFile]:
    """Fetch the feed, or a supplement of it; what was done, and the stored file."""
    validators = Validators(known.etag, known.last_modified) if known is not None else None
    folder = f"raw/store={store.id}/day={day}"
    with data.staging(folder) as upload:
        fetched = fetch_feed(
            store,
            day,
            policy=policy,
            target=upload.path,
            validators=validators,
            supplement=part,
            user_agent=user_agent,
        )
        if fetched.not_modified:
            assert known is not None
            return "not_modified", replace(
                known,
                etag=fetched.etag or known.etag,
                last_modified=fetched.last_modified or known.last_modified,
            )
        with database.connection() as connection:
            stored = snapshots.known_file(connection, store.id, fetched.sha256)
        key = stored or f"{folder}/{fetched.sha256}"
        if not data.exists(key):
            upload.commit(key)
    return "same_bytes" if stored else "fetched", StoredFile(
        source,
        fetched.sha256,
        fetched.size,
        key,
        fetched.etag,
        fetched.last_modified,
        fetched.content_type,
        fetched.charset,
    )
