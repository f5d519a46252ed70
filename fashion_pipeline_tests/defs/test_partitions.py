"""Day x store: which partitions there are, and what a running partition is."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from fashion_pipeline.defs.partitions import LinePartition, line_partitions, partition_of
from fashion_pipeline.feeds.config import FeedsConfig


def feeds(first: date, last: date | None, **statuses: str) -> FeedsConfig:
    stores: list[dict[str, Any]] = [
        {"id": name, "status": status, "format": "google_xml", "location": "https://shop.example/feed.xml"}
        for name, status in statuses.items()
    ]
    return FeedsConfig.model_validate({"first_day": first, "last_day": last, "stores": stores})


def days(definition: dg.MultiPartitionsDefinition, now: datetime) -> list[str]:
    (dimension,) = [each for each in definition.partitions_defs if each.name == "day"]
    return list(dimension.partitions_def.get_partition_keys(current_time=now))


NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


def test_today_is_there_from_its_first_minute_and_tomorrow_is_not() -> None:
    definition = line_partitions(feeds(date(2026, 11, 8), None, a="active"))
    assert days(definition, NOON) == ["2026-11-08", "2026-11-09", "2026-11-10"]
    assert days(definition, datetime(2026, 11, 10, 0, 0, 1, tzinfo=UTC))[-1] == "2026-11-10"
    assert days(definition, datetime(2026, 11, 10, 23, 59, 59, tzinfo=UTC))[-1] == "2026-11-10"


def test_days_are_utc_days_over_clock_changes() -> None:
    definition = line_partitions(feeds(date(2026, 10, 24), None, a="active"))
    now = datetime(2026, 10, 27, 23, 30, tzinfo=UTC)
    assert days(definition, now) == ["2026-10-24", "2026-10-25", "2026-10-26", "2026-10-27"]


@pytest.mark.parametrize("now", [NOON, NOON + timedelta(days=4000)])
def test_a_bounded_history_keeps_its_days(now: datetime) -> None:
    definition = line_partitions(feeds(date(2026, 11, 2), date(2026, 11, 3), a="active"))
    assert days(definition, now) == ["2026-11-02", "2026-11-03"]


def test_a_history_that_is_not_over_yet_has_today() -> None:
    definition = line_partitions(feeds(date(2026, 11, 8), date(2026, 11, 12), a="active"))
    assert days(definition, NOON) == ["2026-11-08", "2026-11-09", "2026-11-10"]


def test_a_history_of_one_day() -> None:
    definition = line_partitions(feeds(date(2026, 11, 2), date(2026, 11, 2), a="active"))
    assert days(definition, NOON) == ["2026-11-02"]


def test_paused_and_retired_stores_keep_their_partitions() -> None:
    definition = line_partitions(
        feeds(date(2026, 11, 2), date(2026, 11, 3), a="active", b="paused", c="retired")
    )
    assert set(definition.get_partition_keys()) == {
        f"{day}|{store}" for day in ("2026-11-02", "2026-11-03") for store in "abc"
    }
    assert {each.name for each in definition.partitions_defs} == {"day", "store"}


@pytest.mark.parametrize("multi", [True, False], ids=["key object", "text"])
def test_a_running_partition_is_its_store_and_day(multi: bool) -> None:
    partition = LinePartition("sunday-market", date(2026, 11, 2))
    assert str(partition.key) == "2026-11-02|sunday-market"
    key = partition.key if multi else str(partition.key)
    assert partition_of(dg.build_asset_context(partition_key=key)) == partition
