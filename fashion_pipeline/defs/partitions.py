"""Day x store: the one partitions definition that the line's assets share."""

from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from fashion_pipeline.feeds.config import FeedsConfig

DAY, STORE = "day", "store"


@dataclass(frozen=True)
class LinePartition:
    """The store and day that a run brings up to date."""

    store: str
    day: date

    @property
    def key(self) -> dg.MultiPartitionKey:
        """The partition's key."""
        return dg.MultiPartitionKey({DAY: self.day.isoformat(), STORE: self.store})


def line_partitions(feeds: FeedsConfig) -> dg.MultiPartitionsDefinition:
    """Every day from `first_day` to today (or `last_day`) for every store that was ever listed.

    Retired stores stay: a key that vanishes takes its history out of the grid.
    """
    days = dg.DailyPartitionsDefinition(
        start_date=feeds.first_day.isoformat(),
        # The end is exclusive.
        end_date=(feeds.last_day + timedelta(days=1)).isoformat() if feeds.last_day else None,
        timezone="UTC",
        # A live feed is captured on its own day, so today's partition has to exist today. No key comes after
        # `end_date` by it.
        end_offset=1,
    )
    stores = dg.StaticPartitionsDefinition([store.id for store in feeds.stores])
    return dg.MultiPartitionsDefinition({DAY: days, STORE: stores})


def partition_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> LinePartition:
    """Store and day of the running partition."""
    key = context.partition_key
    if not isinstance(key, dg.MultiPartitionKey):
        day, _, store = str(key).partition("|")
        return LinePartition(store, date.fromisoformat(day))
    dimensions = key.keys_by_dimension
    return LinePartition(dimensions[STORE], date.fromisoformat(dimensions[DAY]))
