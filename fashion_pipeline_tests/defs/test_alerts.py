"""Alerts: one message per incident and one when it is over, posted to a real web server."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from fashion_pipeline import webhook
from fashion_pipeline.defs import alerts
from fashion_pipeline.defs.partitions import DAY, STORE
from fashion_pipeline.errors import PermanentError, TransientError
from fashion_pipeline.settings import load_settings
from fashion_pipeline_tests.small_world import FIRST, SECOND, SmallWorld
from fashion_pipeline_tests.web import Web, serving

APPLIED = ["raw_feeds", "clean_products", "products"]
PLANTED = "planted-webhook-secret"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Sensor:
    """The sensor with a cursor that is kept from tick to tick."""

    def __init__(self, web: Web, instance: dg.DagsterInstance) -> None:
        self.environ = {
            "FASHION_PIPELINE_PROFILE": "embedded",
            "FASHION_PIPELINE_ALERT_WEBHOOK": f"{web.address}/hook/{PLANTED}",
            "FASHION_PIPELINE_UI_URL": "https://dagster.example",
        }
        self.definition = alerts.build(load_settings(self.environ), self.environ)
        self.web, self.instance = web, instance
        self.cursor: str | None = None

    def tick(self) -> list[dict[str, Any]]:
        """What one tick posts."""
        before = len(self.web.posted)
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        self.definition(context)
        self.cursor = context.cursor
        return self.web.posted[before:]


def test_one_message_when_it_breaks_and_one_when_it_holds(
    world: SmallWorld, web: Web, instance: dg.DagsterInstance
) -> None:
    sensor = Sensor(web, instance)
    assert sensor.tick() == []
    for _ in range(2):
        assert not world.run("line", day=SECOND, instance=instance).success
    (message,) = sensor.tick()
    assert message["kind"] == "broken"
    assert message["stores"] == ["alpha"]
    assert message["day"] == str(SECOND)
    assert message["step"] == "raw_feeds"
    assert message["error_class"] == "PermanentError"
    assert "alpha" in message["error"]
    assert message["next_step"]
    assert message["link"] == f"https://dagster.example/runs/{message['run_id']}"
    for part in ("BROKEN", "alpha", message["error"], message["next_step"], message["link"]):
        assert part in message["text"]
    # It fails again and again: nobody is told twice, also after the daemon was started anew.
    assert not world.run("line", day=SECOND, instance=instance).success
    assert sensor.tick() == []
    world.feed("alpha", SECOND, world.rows("alpha"))
    # That another asset of the store succeeds mends nothing.
    assert world.run("line", day=FIRST, assets=["products"], instance=instance).success
    assert sensor.tick() == []
    assert world.run("line", day=SECOND, assets=APPLIED, instance=instance).success
    (message,) = sensor.tick()
    assert (message["kind"], message["stores"]) == ("mended", ["alpha"])
    assert sensor.tick() == []
    assert json.loads(str(sensor.cursor))["open"] == {}


def test_a_store_that_works_is_no_news_and_another_one_is_an_incident_of_its_own(
    world: SmallWorld, web: Web, instance: dg.DagsterInstance
) -> None:
    sensor = Sensor(web, instance)
    assert world.run("line", day=FIRST, store="beta", assets=APPLIED, instance=instance).success
    assert sensor.tick() == []
    assert not world.run("line", day=SECOND, store="alpha", instance=instance).success
    assert len(sensor.tick()) == 1
    world.feed("beta", SECOND, world.rows("beta", 3))
    assert not world.run("line", day=SECOND, store="beta", instance=instance).success
    (message,) = sensor.tick()
    assert (message["stores"], message["error_class"]) == (["beta"], "DagsterAssetCheckFailedError")
    assert "guards_accept_the_snapshot" in message["error"]
    assert "accept" in message["next_step"]


def test_stores_that_break_together_are_one_incident(
    world: SmallWorld, web: Web, instance: dg.DagsterInstance
) -> None:
    sensor = Sensor(web, instance)
    for store in ("alpha", "beta"):
        assert not world.run("line", day=SECOND, store=store, instance=instance).success
    (message,) = sensor.tick()
    assert sorted(message["stores"]) == ["alpha", "beta"]
    assert "2 stores" in message["text"]


def test_a_message_that_could_not_be_posted_is_posted_at_the_next_tick(
    world: SmallWorld, web: Web, instance: dg.DagsterInstance
) -> None:
    sensor = Sensor(web, instance)
    sensor.tick()
    assert not world.run("line", day=SECOND, instance=instance).success
    web.status = 503
    with pytest.raises(TransientError, match="503") as caught:
        sensor.tick()
    assert PLANTED not in str(caught.value)
    web.status = 200
    assert len(sensor.tick()) == 1
    assert sensor.tick() == []


def breaks(world: SmallWorld, instance: dg.DagsterInstance, *stores: str) -> None:
    """Two stores break each in its own way: `beta` by a feed that is refused, `alpha` by one that is away."""
    for store in stores:
        if store == "beta":
            world.feed("beta", SECOND, world.rows("beta", 3))
        assert not world.run("line", day=SECOND, store=store, instance=instance).success


def test_a_message_that_is_refused_holds_up_no_other_and_is_not_repeated(
    world: SmallWorld, web: Web, instance: dg.DagsterInstance
) -> None:
    sensor = Sensor(web, instance)
    sensor.tick()
    breaks(world, instance, "alpha", "beta")
    web.statuses["alpha"] = 400
    (message,) = sensor.tick()
    assert message["stores"] == ["beta"]
    asked = web.posts
    assert asked == 2
    assert sensor.tick() == []
    assert web.posts == asked
    # It stays an incident, and its end is told.
    web.statuses.clear()
    world.feed("alpha", SECOND, world.rows("alpha"))
    assert world.run("line", day=SECOND, assets=APPLIED, instance=instance).success
    (message,) = sensor.tick()
    assert (message["kind"], message["stores"]) == ("mended", ["alpha"])


def test_what_was_posted_is_not_repeated_for_one_that_waits(
    world: SmallWorld, web: Web, instance: dg.DagsterInstance
) -> None:
    sensor = Sensor(web, instance)
    sensor.tick()
    breaks(world, instance, "alpha", "beta")
    web.statuses["beta"] = 503
    (message,) = sensor.tick()
    assert message["stores"] == ["alpha"]
    with pytest.raises(TransientError, match="503"):
        sensor.tick()
    web.statuses.clear()
    (message,) = sensor.tick()
    assert message["stores"] == ["beta"]
    assert sensor.tick() == []


@pytest.mark.parametrize("trouble", ["hangs", "trickles"])
def test_a_webhook_that_does_not_come_to_an_end_is_left(web: Web, trouble: str) -> None:
    getattr(web, trouble).add("/slow")
    with pytest.raises(TransientError, match="TimeoutError"):
        webhook.post(f"{web.address}/slow", {"text": "x"}, seconds=0.5)
    assert web.posts == 1


def test_a_redirect_is_refused_and_not_followed(web: Web) -> None:
    web.status = 302
    with pytest.raises(PermanentError, match="302"):
        webhook.post(f"{web.address}/{PLANTED}", {"text": "x"})
    assert web.posts == 1


def test_nothing_listens(web: Web) -> None:
    with pytest.raises(TransientError, match="cannot be reached") as caught:
        webhook.post(f"http://127.0.0.1:9/{PLANTED}", {"text": "x"})
    assert PLANTED not in str(caught.value)


def test_more_runs_that_end_at_once_than_one_tick_reads_are_all_read(
    world: SmallWorld, web: Web, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "BATCH", 3)
    sensor = Sensor(web, instance)
    sensor.tick()
    for number in range(10):
        tags = {f"dagster/partition/{STORE}": f"shop-{number}", f"dagster/partition/{DAY}": str(SECOND)}
        job = world.definitions.resolve_job_def("line")
        run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
        instance.report_run_failed(run)
    told = [sensor.tick() for _ in range(6)]
    stores = [store for messages in told for message in messages for store in message["stores"]]
    assert sorted(stores) == [f"shop-{number}" for number in range(10)]
    assert told[-1] == []


def test_a_second_feed_of_a_day_that_is_refused_is_told_and_ended_by_its_acceptance(
    world: SmallWorld, web: Web, instance: dg.DagsterInstance
) -> None:
    """The good one of the day stands meanwhile, which must not hide it."""
    sensor = Sensor(web, instance)
    sensor.tick()
    again = {"raw_feeds": {"refetch": True}}
    world.feed("alpha", FIRST, world.rows("alpha", 3))
    assert not world.run("line", config=again, assets=APPLIED, instance=instance).success
    (message,) = sensor.tick()
    assert (message["kind"], message["error_class"]) == ("broken", "DagsterAssetCheckFailedError")
    assert len(world.products()) == 12
    # Run again as it is: the store is asked again, and nothing is told that is not so.
    assert not world.run("line", assets=APPLIED, instance=instance).success
    assert sensor.tick() == []
    (row,) = world.table("SELECT sha256 FROM feed_snapshots WHERE verdict = 'refused'")
    accept = {"accept_sha256": row["sha256"][:12], "accept_guards": ["shrink"], "accept_reason": "it is so"}
    accepted = world.run(
        "line", config={"clean_products": accept}, assets=["clean_products"], instance=instance
    )
    assert accepted.success
    (message,) = sensor.tick()
    assert (message["kind"], message["stores"]) == ("mended", ["alpha"])


def test_a_secret_in_an_error_is_neither_posted_nor_kept(
    world: SmallWorld, web: Web, instance: dg.DagsterInstance
) -> None:
    sensor = Sensor(web, instance)
    # What the error is going to name, as if somebody had taken a password for it.
    secret = f"alpha-{SECOND}.csv"
    sensor.environ["QDRANT_API_KEY"] = secret
    sensor.definition = alerts.build(load_settings(sensor.environ), sensor.environ)
    sensor.tick()
    assert not world.run("line", day=SECOND, instance=instance).success
    (message,) = sensor.tick()
    assert "[secret]" in message["error"]
    assert "[secret]" in str(sensor.cursor)
    assert json.loads(str(sensor.cursor))["open"]
    assert secret not in json.dumps(message) + str(sensor.cursor)


def test_a_job_by_store_is_an_incident_of_each_store(
    world: SmallWorld, web: Web, instance: dg.DagsterInstance
) -> None:
    sensor = Sensor(web, instance)
    sensor.tick()
    job = world.definitions.resolve_job_def("fill_candidate")

    def ended(store: str, *, well: bool) -> list[tuple[str, list[str]]]:
        tags = {"dagster/partition": store}
        run = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
        if well:
            event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job.name)
            instance.report_dagster_event(event, run.run_id)
        else:
            instance.report_run_failed(run)
        return [(each["kind"], each["stores"]) for each in sensor.tick()]

    assert ended("alpha", well=False) == [("broken", ["alpha"])]
    assert ended("beta", well=True) == []
    assert ended("alpha", well=True) == [("mended", ["alpha"])]


@pytest.mark.parametrize(("address", "status"), [("", "STOPPED"), ("https://hooks.example/x", "RUNNING")])
def test_it_runs_where_a_webhook_is_set(address: str, status: str) -> None:
    settings = load_settings({"FASHION_PIPELINE_ALERT_WEBHOOK": address})
    assert alerts.build(settings, {}).default_status.value == status
