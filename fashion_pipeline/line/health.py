"""`catalog_health`: one row per store, with what to do."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.health import StoreHealth, store_health
from fashion_pipeline.catalog.points import index_lag
from fashion_pipeline.feeds.config import FeedsConfig, StoreConfig
from fashion_pipeline.index.payload import PAYLOAD_VERSION
from fashion_pipeline.line.live import Live
from fashion_pipeline.line.points import Serving

OK = "nothing"

#: (name, type, meaning, nullable) of the table's columns, in their order.
HEALTH_COLUMNS = (
    ("store", "text", "store in feeds.yaml", False),
    ("what_to_do", "text", "`nothing`, or what a person should do", False),
    ("last_good_day", "date", "day of the newest applied snapshot", True),
    ("verdict", "text", "of the guards on the last captured feed", False),
    ("products", "integer", "active products", False),
    ("held", "integer", "of them, seen but not clean", False),
    ("rejected_share", "float", "rejected items of the last captured feed, 0 to 1", False),
    ("missing_vectors", "integer", "active products without a picture or a vector", False),
    ("index_lag", "integer", "points that are missing or should not be there", False),
    ("others_lag", "integer", "the same in a candidate and in collections that served before", False),
    ("late", "boolean", "no good feed within `late_after_hours` of `due_at`", False),
    ("status", "text", "active, paused or retired in feeds.yaml", False),
)

#: Share of a store's products without a picture from which a person should look; single dead links are normal.
FAILING_PICTURES = 0.05


def health_table(
    database: Database, feeds: FeedsConfig, live: Live, *, now: datetime | None = None
) -> pd.DataFrame:
    """The stores and how they stand: a row each (`HEALTH_COLUMNS`), those that need a person first."""
    moment = now or datetime.now(UTC)
    serving = live.serving
    behind = _behind(database, live.others, [store.id for store in feeds.stores])
    rows = store_health(
        database,
        [store.id for store in feeds.stores],
        collection=serving.collection,
        model_id=serving.model_id,
        payload_version=PAYLOAD_VERSION,
    )
    records = []
    for store, health in zip(feeds.stores, rows, strict=True):
        late = is_late(store, health, feeds, moment)
        records.append(
            {
                "store": store.id,
                "what_to_do": _advice(store, health, late, behind.get(store.id, {})),
                "last_good_day": health.last_good_day,
                "verdict": health.verdict or "none",
                "products": health.products,
                "held": health.held,
                "rejected_share": round(health.rejected_share, 4),
                "missing_vectors": health.without_picture + health.without_vector,
                "index_lag": health.index_lag,
                "others_lag": sum(behind.get(store.id, {}).values()),
                "late": late,
                "status": store.status,
            }
        )
    table = pd.DataFrame.from_records(records)
    return table.sort_values(
        by="what_to_do", key=lambda column: column == OK, kind="stable", ignore_index=True
    )


def _behind(database: Database, others: Sequence[Serving], stores: list[str]) -> dict[str, dict[str, int]]:
    """By store, the collections that do not serve and are behind, and by how many points."""
    found: dict[str, dict[str, int]] = {}
    for each in others:
        lag = index_lag(database, each.collection, each.model_id, stores, payload_version=PAYLOAD_VERSION)
        for store, points in lag.items():
            found.setdefault(store, {})[each.collection] = points
    return found


def is_late(store: StoreConfig, health: StoreHealth, feeds: FeedsConfig, moment: datetime) -> bool:
    """Whether an active store should have a newer good day by now.

    A finished history (`last_day`) is late only while its last day is not there.
    """
    if store.status != "active":
        return False
    due = _last_due_day(store, moment)
    if feeds.last_day is not None:
        due = min(due, feeds.last_day)
    return due >= feeds.first_day and (health.last_good_day is None or health.last_good_day < due)


def _last_due_day(store: StoreConfig, moment: datetime) -> date:
    zone = ZoneInfo(store.timezone)
    latest = moment - timedelta(hours=store.thresholds.late_after_hours)
    local = latest.astimezone(zone)
    due = datetime.combine(local.date(), store.due_at, zone)
    if due > local:
        due = datetime.combine(local.date() - timedelta(days=1), store.due_at, zone)
    return due.astimezone(UTC).date()


def _advice(store: StoreConfig, health: StoreHealth, late: bool, behind: dict[str, int]) -> str:
    if store.status != "active":
        return OK
    if health.failure:
        return f"mend or wait for the feed, then re-run the line for {health.last_captured_day}: {health.failure}"
    if health.verdict == "refused":
        guards = ", ".join(sorted({str(finding["guard"]) for finding in health.findings or []}))
        day = health.last_captured_day
        return f"look at the feed of {day} ({guards}): accept it in clean_products, or fetch it anew"
    # One that is only just judged is being applied.
    if health.waits and (late or health.verdict == "accepted"):
        return (
            f"the feed of {health.last_captured_day} is {health.verdict} and not applied: run the line for it"
        )
    if late:
        return "the feed is late: look at the store's last run of raw_feeds"
    if health.last_good_day is None:
        return "no feed was applied yet: run the line for this store"
    if health.index_lag:
        return "run product_points for this store; if it stays, reconcile the index"
    if health.without_picture > FAILING_PICTURES * health.products:
        return "pictures are missing: see the failures of product_images, mend them, then run it again"
    if health.without_vector:
        return "run image_embeddings for this store, then product_points"
    if behind:
        names = ", ".join(f"{name} by {points:,}" for name, points in behind.items())
        return (
            f"no search is behind, but these collections are, in points: {names}; run product_points for this store, "
            "its check every_collection_follows says what stays"
        )
    return OK
