"""`feeds_changed` through Dagster: over a day in which a feed changes, changes back, and a run fails."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from fashion_pipeline.defs import jobs, sensors
from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline_tests.defs.test_schedules import evaluate as evaluate_schedule
from fashion_pipeline_tests.small_world import SECOND, SmallWorld
from fashion_pipeline_tests.web import Web, serving

# Dagster complains of the tags that it gives to multi-partitions itself.
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")

MORNING = datetime(SECOND.year, SECOND.month, SECOND.day, 10, tzinfo=UTC)


class Day:
    """A store of the small world behind a web server, and the sensor at a time of its day."""

    def __init__(self, world: SmallWorld, web: Web, instance: dg.DagsterInstance) -> None:
        self.world, self.web, self.instance = world, web, instance
        self.now, self.step = MORNING, timedelta(minutes=15)
        self.started: set[str] = set()
        (self.sensor,) = sensors.build(jobs.line_job({}), clock=lambda: self.now)

    def feed(self, content: str) -> None:
        """Content by its name, under an ETag that is the same whenever it comes back."""
        rows = [self.world.row("alpha", number, title=f"{content} {number}") for number in range(3)]
        path = self.world.feed("alpha", SECOND, rows)
        self.web.pages[f"/alpha-{SECOND}.csv"] = (path.read_bytes(), f'"{content}"')

    def tick(self) -> list[dg.RunRequest]:
        """The runs that Dagster starts at a tick: each key once."""
        self.now += self.step
        with dg.build_sensor_context(
            instance=self.instance,
            repository_def=self.world.definitions.get_repository_def(),
            resources=self.world.definitions.resources,
        ) as context:
            asked = self.sensor.evaluate_tick(context).run_requests or []
        fresh = [request for request in asked if request.run_key not in self.started]
        self.started |= {str(request.run_key) for request in fresh}
        return fresh

    def run(self, request: dg.RunRequest, *assets: str) -> bool:
        """Do what a request asks for."""
        assert request.partition_key == LinePartition("alpha", SECOND).key
        config = request.run_config["ops"]
        return self.world.run(
            "line",
            day=SECOND,
            assets=assets or None,
            config={name: each["config"] for name, each in config.items()},
            instance=self.instance,
        ).success

    def note_run(self, status: dg.DagsterRunStatus) -> None:
        """Let Dagster know a run of the day that stands so."""
        tags = {
            "dagster/partition": str(LinePartition("alpha", SECOND).key),
            "dagster/partition/store": "alpha",
            "dagster/partition/day": str(SECOND),
        }
        self.instance.add_run(
            dg.DagsterRun(job_name="line", run_id=str(uuid.uuid4()), status=status, tags=tags)
        )

    def captured(self) -> str:
        """The content that stands for the day."""
        (row,) = self.world.table(
            "SELECT etag FROM feed_snapshots WHERE store_id = 'alpha' AND day = :day "
            "ORDER BY captured_at DESC LIMIT 1",
            day=SECOND,
        )
        return str(row["etag"]).strip('"')


@pytest.fixture
def day(world: SmallWorld) -> Iterator[Day]:
    with serving() as web, dg.DagsterInstance.local_temp() as instance:
        location = {"location": f"{web.address}/alpha-{{date}}.csv"}
        world.environ["FASHION_PIPELINE_ALLOWED_HOSTS"] = "127.0.0.1"
        world.write_feeds_file(alpha=location, beta={"status": "paused"})
        day = Day(world, web, instance)
        day.feed("A")
        assert world.run("line", day=SECOND, assets=["raw_feeds"], instance=instance).success
        yield day


def test_a_feed_that_changes_and_changes_back_runs_each_time(day: Day) -> None:
    # All within one hour: it is not the hour that makes the runs.
    day.step = timedelta(minutes=1)
    assert day.tick() == []
    for content in ("B", "C", "B", "A"):
        day.feed(content)
        (request,) = day.tick()
        assert request.tags["dagster/priority"] == "2"
        assert day.tick() == []
        assert day.run(request, "raw_feeds")
        assert day.captured() == content
        assert day.tick() == []


def test_a_run_that_failed_before_it_captured_is_asked_for_again_at_the_next_hour(day: Day) -> None:
    day.feed("B")
    (request,) = day.tick()
    day.note_run(dg.DagsterRunStatus.FAILURE)
    assert [len(day.tick()) for _ in range(7)] == [0, 0, 1, 0, 0, 0, 1]
    assert day.run(request, "raw_feeds")
    assert [len(day.tick()) for _ in range(5)] == [0] * 5


def test_a_change_is_not_asked_for_while_a_run_of_the_store_is_under_way(day: Day) -> None:
    day.feed("B")
    day.note_run(dg.DagsterRunStatus.NOT_STARTED)
    assert [len(day.tick()) for _ in range(5)] == [0] * 5
    day.note_run(dg.DagsterRunStatus.STARTED)
    assert day.tick() == []
    day.note_run(dg.DagsterRunStatus.FAILURE)
    assert len(day.tick()) == 1


def test_a_change_that_was_captured_and_then_failed_is_due_at_the_next_hour(day: Day) -> None:
    """The sensor sees no change any more: the schedule takes the store whose last run failed."""

    def due() -> set[str]:
        moment = datetime.combine(SECOND, MORNING.time(), UTC) + timedelta(hours=3)
        tick: Any = evaluate_schedule(day.world.definitions, moment, day.instance)
        return {request.tags["store"] for request in tick.run_requests or ()}

    day.note_run(dg.DagsterRunStatus.SUCCESS)
    assert due() == set()
    day.feed("B")
    (request,) = day.tick()
    assert day.run(request, "raw_feeds")
    day.note_run(dg.DagsterRunStatus.FAILURE)
    assert day.tick() == []
    assert due() == {"alpha"}
    day.note_run(dg.DagsterRunStatus.SUCCESS)
    assert due() == set()


def test_the_sensor_of_the_definitions_starts_stopped_and_skips_with_what_was_said(day: Day) -> None:
    sensor = day.world.definitions.resolve_sensor_def("feeds_changed")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
    with dg.build_sensor_context(
        instance=day.instance,
        repository_def=day.world.definitions.get_repository_def(),
        resources=day.world.definitions.resources,
    ) as context:
        tick = sensor.evaluate_tick(context)
    assert tick.run_requests == []
    assert tick.skip_message == f"{SECOND}: 1 unchanged"
