"""`raw_feeds`: the exact bytes of a store's feed for a day, captured once."""

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from fashion_pipeline.catalog import snapshots
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.snapshots import Snapshot
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.feeds.config import StoreConfig, public_location_for
from fashion_pipeline.feeds.transport import Fetched, Validators, fetch_feed
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
    """Fetch a store's feed for `day`, unless a snapshot that is not refused is there already.

    Args:
        refetch: ask the store again although a good snapshot is there.
        launched_at: when the run was launched; a live feed belongs to that day.
        now: the present, for tests.

    Raises:
        PermanentError: the feed is not there, or `day` is a past day of a live feed.
        TransientError: the store does not answer.
    """
    if store.supplements:
        raise PermanentError(
            f"store {store.id}: the line does not capture supplements yet, and without them rows would lack what "
            "they add: take `supplements` out of feeds.yaml, or have the store merge them into its feed"
        )
    now = now or datetime.now(UTC)
    started = now if launched_at is None else launched_at
    with database.lock(store.id, "raw_feeds"):
        with database.connection() as connection:
            current = snapshots.current_snapshot(connection, store.id, day)
            latest = snapshots.latest_snapshot(connection, store.id)
            later = snapshots.later_day_captured(connection, store.id, day)
        location = public_location_for(store, day)
        good = current is not None and current.verdict != "refused"
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
    same_place = latest is not None and latest.source == location and data.exists(latest.file_key)
    validators = Validators(latest.etag, latest.last_modified) if latest is not None and same_place else None
    folder = f"raw/store={store.id}/day={day}"
    with data.staging(folder) as upload:
        fetched = fetch_feed(
            store, day, policy=policy, target=upload.path, validators=validators, user_agent=user_agent
        )
        if fetched.not_modified:
            assert latest is not None
            action, sha256, size, key = "not_modified", latest.sha256, latest.size_bytes, latest.file_key
        else:
            sha256, size = fetched.sha256, fetched.size
            with database.connection() as connection:
                known = snapshots.known_file(connection, store.id, sha256)
            action = "same_bytes" if known else "fetched"
            key = known or f"{folder}/{sha256}"
            if not data.exists(key):
                upload.commit(key)
    with database.connection() as connection:
        snapshot = snapshots.record_capture(
            connection, _row(store, day, location, fetched, sha256, size, key, latest)
        )
    return CaptureReport(action, snapshot, location, (datetime.now(UTC) - began).total_seconds())


def _row(
    store: StoreConfig,
    day: date,
    location: str,
    fetched: Fetched,
    sha256: str,
    size: int,
    key: str,
    latest: Snapshot | None,
) -> dict[str, object]:
    known = latest if fetched.not_modified else None
    return {
        "store_id": store.id,
        "day": day,
        "sha256": sha256,
        "size_bytes": size,
        "file_key": key,
        "source": location,
        "captured_at": datetime.now(UTC),
        "etag": fetched.etag or (known.etag if known else None),
        "last_modified": fetched.last_modified or (known.last_modified if known else None),
        "content_type": known.content_type if known else fetched.content_type,
        "charset": known.charset if known else fetched.charset,
    }
