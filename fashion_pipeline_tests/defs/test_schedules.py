"""Which stores are due at a tick: over time zones, clock changes and the bounds of the history."""

import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline.defs.schedules import due_stores
from fashion_pipeline.feeds.config import FeedsConfig
from fashion_pipeline_tests.small_world import FIRST, SECOND, SmallWorld

# Dagster complains of the tags that it gives to multi-partitions itself.
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")

ZONES = (
    "UTC", "Europe/Berlin", "Europe/London", "America/Los_Angeles", "America/St_Johns", "Asia/Tokyo",
    "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Kiritimati", "Pacific/Pago_Pago",
)  # fmt: skip


def feeds(*stores: dict[str, Any], first: date = date(2020, 1, 1), last: date | None = None) -> FeedsConfig:
    return FeedsConfig.model_validate(
        {
            "first_day": first,
            "last_day": last,
            "stores": [
                {"id": f"s{n}", "format": "google_xml", "location": "https://shop.example/feed.xml", **store}
                for n, store in enumerate(stores)
            ],
        }
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(config: FeedsConfig, moment: str) -> list[str]:
    found = list(due_stores(config, at(moment)))
    assert {partition.day for partition in found} <= {at(moment).date()}
    return [partition.store for partition in found]


def ticks(first: date, days: int) -> Iterator[datetime]:
    start = datetime.combine(first, time(), UTC)
    return (start + timedelta(hours=hour) for hour in range(24 * days))


def test_a_store_is_due_from_its_time_of_day_on() -> None:
    config = feeds({"due_at": "06:00"}, {"due_at": "08:30"})
    assert due(config, "2026-11-02T05:00") == []
    assert due(config, "2026-11-02T06:00") == ["s0"]
    assert due(config, "2026-11-02T08:00") == ["s0"]
    assert due(config, "2026-11-02T09:00") == ["s0", "s1"]
    assert due(config, "2026-11-02T23:00") == ["s0", "s1"]
    assert due(config, "2026-11-03T00:00") == []


def test_the_time_of_day_is_the_stores_own() -> None:
    config = feeds(
        {"due_at": "06:00", "timezone": "Asia/Tokyo"}, {"due_at": "06:00", "timezone": "Europe/Berlin"}
    )
    # Tokyo's 06:00 is 21:00 UTC of the day before.
    assert due(config, "2026-11-02T20:00") == ["s1"]
    assert due(config, "2026-11-02T21:00") == ["s0", "s1"]
    assert due(config, "2026-11-03T04:00") == []
    assert due(config, "2026-11-03T05:00") == ["s1"]


@pytest.mark.parametrize(
    ("before", "after", "hours"),
    [("2026-03-28", "2026-03-29", (5, 4)), ("2026-10-24", "2026-10-25", (4, 5))],
    ids=["forward", "back"],
)
def test_the_clock_change_moves_the_tick(before: str, after: str, hours: tuple[int, int]) -> None:
    config = feeds({"due_at": "06:00", "timezone": "Europe/Berlin"})
    for day, hour in zip((before, after), hours, strict=True):
        assert due(config, f"{day}T{hour - 1:02}:00") == []
        assert due(config, f"{day}T{hour:02}:00") == ["s0"]


@pytest.mark.parametrize("minutes", [0, 15, 30, 59])
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("first", ["2026-03-07", "2026-03-28", "2026-10-23", "2026-10-31", "2026-04-03"])
def test_every_store_has_every_day_whatever_its_clock_does(zone: str, minutes: int, first: str) -> None:
    """Hourly ticks over days with clock changes in Europe, America and Australia leave no day out."""
    config = feeds(*({"due_at": time(hour, minutes), "timezone": zone} for hour in range(24)))
    days = 4
    asked: dict[str, set[date]] = {}
    for tick in ticks(date.fromisoformat(first), days):
        for partition in due_stores(config, tick):
            # A live feed is captured on its own day only.
            assert partition.day == tick.date()
            asked.setdefault(partition.store, set()).add(partition.day)
    whole = {date.fromisoformat(first) + timedelta(days=n) for n in range(days)}
    assert asked == {store.id: whole for store in config.stores}


@pytest.mark.parametrize("zone", ZONES)
def test_no_store_is_due_before_its_time_but_at_the_days_last_tick(zone: str) -> None:
    config = feeds(*({"due_at": time(hour, 20), "timezone": zone} for hour in range(24)))
    for tick in ticks(date(2026, 6, 1), 2):
        if tick.hour == 23:
            continue
        local = tick.astimezone(ZoneInfo(zone)).date()
        for partition in due_stores(config, tick):
            due_at = config.store(partition.store).due_at
            moments = (
                datetime.combine(local + timedelta(days=shift), due_at, ZoneInfo(zone))
                for shift in (-1, 0, 1)
            )
            assert [m for m in moments if m <= tick and m.astimezone(UTC).date() == tick.date()]


def test_paused_and_retired_stores_are_left_out() -> None:
    config = feeds({"due_at": "06:00"}, {"status": "paused"}, {"status": "retired"})
    assert due(config, "2026-11-02T23:00") == ["s0"]


def test_a_bounded_history_is_asked_for_within_its_days() -> None:
    config = feeds({"due_at": "00:00"}, first=FIRST, last=SECOND)
    assert [due(config, f"2026-11-0{day}T12:00") for day in (1, 2, 3, 4)] == [[], ["s0"], ["s0"], []]


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    config = feeds({"due_at": "06:00"})
    tokyo = at("2026-11-02T06:00").astimezone(ZoneInfo("Asia/Tokyo"))
    assert list(due_stores(config, tokyo)) == [LinePartition("s0", date(2026, 11, 2))]


# The schedules themselves.


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    world = SmallWorld(tmp_path / "data", "postgresql+psycopg://nobody@localhost:1/none", tmp_path)
    world.write_feeds_file(beta={"timezone": "Asia/Tokyo"})
    return world.definitions


def evaluate(
    definitions: dg.Definitions, moment: datetime, instance: dg.DagsterInstance | None = None
) -> Any:
    # A context that is left open leaves the storage of an instance of its own as Dagster's current one.
    with (
        nullcontext(instance) if instance else dg.DagsterInstance.local_temp() as used,
        dg.build_schedule_context(
            instance=used,
            scheduled_execution_time=moment,
            repository_def=definitions.get_repository_def(),
        ) as context,
    ):
        return definitions.resolve_schedule_def("due_stores").evaluate_tick(context)


def test_a_store_is_asked_once_a_day_and_again_only_after_a_failure(world: SmallWorld) -> None:
    with dg.DagsterInstance.local_temp() as instance:

        def asked(moment: str) -> set[str]:
            tick = evaluate(world.definitions, at(moment), instance)
            return {request.tags["store"] for request in tick.run_requests or ()}

        assert asked(f"{SECOND}T06:00") == {"alpha", "beta"}
        world.feed("alpha", SECOND, world.rows("alpha"))
        # One asset alone is not the day.
        assert world.run("line", day=SECOND, assets=["raw_feeds"], instance=instance).success
        assert asked(f"{SECOND}T07:00") == {"alpha", "beta"}
        assert world.run("line", day=SECOND, instance=instance).success
        assert not world.run("line", day=SECOND, store="beta", instance=instance).success
        assert asked(f"{SECOND}T08:00") == {"beta"}
        world.feed("beta", SECOND, world.rows("beta"))
        assert world.run("line", day=SECOND, store="beta", instance=instance).success
        assert asked(f"{SECOND}T09:00") == set()
        assert asked(f"{SECOND}T23:00") == set()


def test_a_store_that_is_under_way_is_not_asked_again(world: SmallWorld) -> None:
    with dg.DagsterInstance.local_temp() as instance:
        key = LinePartition("alpha", SECOND).key
        run = dg.DagsterRun(
            job_name="line",
            run_id=str(uuid.uuid4()),
            status=dg.DagsterRunStatus.STARTED,
            tags={
                "dagster/partition": str(key),
                "dagster/partition/store": "alpha",
                "dagster/partition/day": str(SECOND),
            },
        )
        instance.add_run(run)
        tick = evaluate(world.definitions, at(f"{SECOND}T06:00"), instance)
        assert {request.tags["store"] for request in tick.run_requests} == {"beta"}


def test_a_tick_asks_for_one_run_per_due_store_and_day(definitions: dg.Definitions) -> None:
    tick = evaluate(definitions, at("2026-11-02T06:00"))
    (request,) = tick.run_requests
    assert request.run_key == "2026-11-02|alpha"
    assert request.partition_key == "2026-11-02|alpha"
    assert request.tags["store"] == "alpha"
    assert request.tags["dagster/partition/store"] == "alpha"
    assert request.tags["dagster/partition/day"] == "2026-11-02"


def test_later_ticks_of_the_day_repeat_the_run_key(definitions: dg.Definitions) -> None:
    """So that Dagster starts each once."""
    keys = [
        {request.run_key for request in evaluate(definitions, at(f"2026-11-02T{hour:02}:00")).run_requests}
        for hour in (6, 7, 21, 23)
    ]
    assert keys == [{"2026-11-02|alpha"}] * 2 + [{"2026-11-02|alpha", "2026-11-02|beta"}] * 2


def test_the_run_keys_partition_exists(definitions: dg.Definitions) -> None:
    partitions = definitions.resolve_job_def("line").partitions_def
    assert partitions is not None
    for moment in ("2026-11-02T23:00", "2026-11-03T23:00"):
        for request in evaluate(definitions, at(moment)).run_requests:
            assert request.partition_key in set(partitions.get_partition_keys())


def test_a_tick_with_nothing_due_says_so(definitions: dg.Definitions) -> None:
    for moment in ("2026-11-02T00:00", "2026-11-04T12:00"):
        tick = evaluate(definitions, at(moment))
        assert not tick.run_requests
        assert "due" in (tick.skip_message or "")


def test_schedules_start_stopped_and_lead_to_their_jobs(definitions: dg.Definitions) -> None:
    found = {schedule.name: schedule for schedule in definitions.schedules or []}
    assert {name: each.job_name for name, each in found.items()} == {
        "due_stores": "line",
        "health_schedule": "health",
        "reconcile_schedule": "reconcile",
        "quality_schedule": "quality",
        "housekeeping_schedule": "housekeeping",
    }
    assert {each.default_status for each in found.values()} == {dg.DefaultScheduleStatus.STOPPED}
    assert {name: each.cron_schedule for name, each in found.items()} == {
        "due_stores": "0 * * * *",
        "health_schedule": "45 * * * *",
        "reconcile_schedule": "15 4 * * *",
        "quality_schedule": "30 4 * * *",
        "housekeeping_schedule": "15 3 * * *",
    }
