"""A day in production through a real `dagster dev`: ticks, backfills, cancelled, failed and killed runs."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from fashion_pipeline.commands.backfill import LAUNCH as LAUNCH_BACKFILL
from fashion_pipeline_tests.daemon import (
    ENDED,
    FIRST_DAY,
    SELECTOR,
    TERMINATE,
    TODAY,
    Daemon,
    Run,
    dagster_dev,
    database_pair,
)
from fashion_pipeline_tests.line.shops import other_model_folder
from fashion_pipeline_tests.small_world import LOOKS, SmallWorld
from fashion_pipeline_tests.web import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PLANTED = "planted-hook"


@pytest.fixture(scope="module")
def daemon(
    postgres_url: str, template_database: str, demo_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """One `dagster dev` for all tests here; each uses what the ones before it left.

    Its settings name another model than the one that serves: a candidate to fill.
    """
    from fashion_pipeline.demo.garments import draw

    folder = tmp_path_factory.mktemp("daemon")
    with database_pair(postgres_url, template_database) as (ours, dagster_pg), serving() as web:
        world = SmallWorld(folder / "data", ours, folder / "pictures")
        world.pictures.mkdir()
        for number in range(12):
            draw(LOOKS[number % len(LOOKS)], seed=number, size=128).save(world.pictures / f"{number}.png")
        settings = {
            "FASHION_PIPELINE_ALERT_WEBHOOK": f"{web.address}/{PLANTED}",
            "FASHION_PIPELINE_MODEL": other_model_folder(demo_model, folder),
        }
        with dagster_dev(world, web, dagster_pg, folder, **settings) as daemon:
            world.write_feeds_file()
            assert world.run("collection").success
            daemon.write_feeds()
            yield daemon
        world.database.dispose()


def have_feed(daemon: Daemon, store: str, day: date, count: int = 12) -> None:
    """A feed of that day, unless an earlier test wrote one."""
    if not (daemon.world.data / "feeds" / f"{store}-{day}.csv").exists():
        daemon.world.feed(store, day, daemon.world.rows(store, count))


def price(daemon: Daemon, store: str, number: int = 0) -> float | None:
    row = daemon.world.products(store).get(f"{store}-{number}")
    return float(row["price"]) if row else None


def test_a_month_of_days_in_whatever_order_for_one_store(daemon: Daemon) -> None:
    rows = daemon.world.rows("dated")
    for n in range(30):
        # Each day has its price; one product came on the tenth day, another left on the twentieth.
        day = [row | {"price": f"{100 + n}.00 EUR"} for row in rows]
        daemon.world.feed("dated", FIRST_DAY + timedelta(days=n), day[: 11 if n < 10 else 12][n >= 20 :])
    said = daemon.command(
        "backfill", "--store", "dated", "--from", str(FIRST_DAY), "--to", str(TODAY),
        "--asset", "raw_feeds", "--asset", "clean_products", "--asset", "products",
    )  # fmt: skip
    assert "30 partitions" in said
    assert "/runs/b/" in said
    done = daemon.wait(
        "30 runs",
        lambda: (
            [r for r in daemon.runs(statuses=["SUCCESS"]) if r.store == "dated"][29:]
            and daemon.runs(statuses=["SUCCESS"])
        ),
        seconds=600,
    )
    mine = [run for run in done if run.store == "dated"]
    assert {run.day for run in mine} == {str(FIRST_DAY + timedelta(days=n)) for n in range(30)}
    assert {run.tags["dagster/priority"] for run in mine} == {"-1"}
    products = daemon.world.products("dated")
    assert len(products) == 12
    active = {key for key, row in products.items() if row["delisted_on"] is None}
    assert active == {f"dated-{n}" for n in range(1, 12)}
    # The last day stands whatever ran last, and every item knows its earliest day.
    assert {float(products[key]["price"]) for key in active} == {129.0}
    assert products["dated-1"]["first_seen_on"] == FIRST_DAY
    assert products["dated-11"]["first_seen_on"] == FIRST_DAY + timedelta(days=10)
    (state,) = daemon.world.table("SELECT applied_through FROM stores WHERE store_id = 'dated'")
    assert state["applied_through"] == TODAY
    (count,) = daemon.world.table("SELECT count(*) AS n FROM feed_snapshots WHERE store_id = 'dated'")
    assert count["n"] == 30


def test_the_schedule_starts_the_stores_that_are_due_and_no_paused_one(daemon: Daemon) -> None:
    have_feed(daemon, "dated", TODAY)
    have_feed(daemon, "second", TODAY)
    daemon.page("live", daemon.world.rows("live"), '"one"')
    daemon.write_feeds(paused={"location": "{data}/feeds/paused-{date}.csv", "status": "paused"})
    daemon.reload()
    daemon.start_schedule("due_stores")
    daemon.wait("products of the live store", lambda: len(daemon.world.products("live")) == 12)
    daemon.wait("products of the second store", lambda: len(daemon.world.products("second")) == 12)
    done = daemon.wait(
        "the runs",
        lambda: (
            (found := [r for r in daemon.runs(statuses=["SUCCESS"]) if r.tags.get("store")])
            and {r.store for r in found} >= {"dated", "second", "live"}
            and found
        ),
    )
    assert {run.tags["dagster/priority"] for run in done} == {"1"}
    assert {run.day for run in done} == {str(TODAY)}
    assert "paused" not in {run.store for run in daemon.runs()}
    # Ticks of later minutes start nothing: a store that was brought up to date is done for the day.
    ticks = [r for r in daemon.runs() if r.store == "live"]
    time.sleep(65)
    assert [r for r in daemon.runs() if r.store == "live"] == ticks
    (tick,) = ticks
    assert tick.tags["dagster/schedule_name"] == "due_stores"


def test_a_feed_that_changed_is_brought_in_within_the_day(daemon: Daemon) -> None:
    assert price(daemon, "live") == 10.0
    rows = daemon.world.rows("live")
    rows[0] |= {"price": "77.00 EUR"}
    daemon.page("live", rows, '"two"')
    daemon.web.asked.clear()
    daemon.start_sensor("feeds_changed")
    daemon.wait("the new price", lambda: price(daemon, "live") == 77.0)
    (run,) = [run for run in daemon.runs() if run.tags.get("cause") == "feed changed"]
    assert run.store == "live"
    assert run.tags["dagster/priority"] == "2"
    assert daemon.ended(run.id).status == "SUCCESS"
    # One conditional request told that it changed; then it was fetched.
    assert daemon.web.asked[0][1]["If-None-Match"] == '"one"'
    assert len(daemon.web.asked) == 2


def test_one_asset_of_one_partition_is_run_again(daemon: Daemon) -> None:
    before = {run.id for run in daemon.runs()}
    daemon.command("backfill", "--store", "second", "--from", str(TODAY), "--asset", "products")
    (run,) = daemon.wait("a run", lambda: [r for r in daemon.runs() if r.id not in before])
    assert daemon.ended(run.id).status == "SUCCESS"
    steps = daemon.ask(
        "query S($run: ID!) { runOrError(runId: $run) { ... on Run { assets { key { path } } } } }",
        run=run.id,
    )["runOrError"]["assets"]
    assert [each["key"]["path"] for each in steps] == [["products"]]


def test_a_few_days_of_all_stores(daemon: Daemon) -> None:
    """Of every active store, through the whole line, also where a run has nothing to do."""
    daemon.write_feeds(live={"status": "paused"})
    daemon.reload()
    first = TODAY - timedelta(days=1)
    have_feed(daemon, "dated", first)
    have_feed(daemon, "second", first, 11)
    before = {run.id for run in daemon.runs()}
    said = daemon.command("backfill", "--from", str(first), "--to", str(TODAY))
    assert "4 partitions" in said

    def runs() -> bool:
        new = [run for run in daemon.runs() if run.id not in before]
        return len(new) == 4 and {run.status for run in new} <= {"SUCCESS", "FAILURE"}

    daemon.wait("four runs", runs, seconds=400)
    assert {run.status for run in daemon.runs() if run.id not in before} == {"SUCCESS"}
    daemon.write_feeds(live={"status": "active"})
    daemon.reload()
    # Yesterday came after today and changed nothing but when the items were first seen.
    products = daemon.world.products("second")
    assert len(products) == 12
    assert products["second-0"]["first_seen_on"] == first
    assert products["second-11"]["first_seen_on"] == TODAY
    (active,) = daemon.world.table("SELECT count(*) AS n FROM products WHERE delisted_on IS NULL")
    assert daemon.world.points() == active["n"] >= 35


@pytest.mark.timeout(1800)
def test_a_month_of_days_of_all_stores(daemon: Daemon) -> None:
    """Of every active store; the days that one of them has already change nothing."""
    daemon.write_feeds(live={"status": "paused"})
    daemon.reload()
    days = [FIRST_DAY + timedelta(days=n) for n in range(30)]
    for day in days:
        have_feed(daemon, "dated", day)
        have_feed(daemon, "second", day)
    before = {run.id for run in daemon.runs()}
    dated = daemon.world.products("dated")
    said = daemon.command(
        "backfill", "--from", str(FIRST_DAY), "--to", str(TODAY),
        "--asset", "raw_feeds", "--asset", "clean_products", "--asset", "products",
    )  # fmt: skip
    assert "60 partitions" in said

    def ended() -> list[Run]:
        new = [run for run in daemon.runs() if run.id not in before and run.tags.get("dagster/backfill")]
        return new if len(new) == 60 and {run.status for run in new} <= ENDED else []

    done = daemon.wait("60 runs", ended, seconds=1500)
    assert {run.status for run in done} == {"SUCCESS"}
    assert {(run.store, run.day) for run in done} == {
        (store, str(day)) for store in ("dated", "second") for day in days
    }
    daemon.write_feeds(live={"status": "active"})
    daemon.reload()
    assert daemon.world.products("dated") == dated
    second = daemon.world.products("second")
    assert len(second) == 12
    assert second["second-0"]["first_seen_on"] == FIRST_DAY
    assert {row["delisted_on"] for row in second.values()} == {None}
    states = daemon.world.table("SELECT applied_through FROM stores WHERE store_id IN ('dated', 'second')")
    assert {row["applied_through"] for row in states} == {TODAY}
    captured = daemon.world.table("SELECT store_id, count(DISTINCT day) AS n FROM feed_snapshots GROUP BY 1")
    assert {row["store_id"]: row["n"] for row in captured} | {"dated": 30, "second": 30} == {
        row["store_id"]: row["n"] for row in captured
    }


def test_a_new_model_is_filled_store_by_store(daemon: Daemon) -> None:
    """As a click on the job's partitions does, beside the collection that serves."""
    serving_one = daemon.world.collection()
    before = {run.id for run in daemon.runs()}
    answer = daemon.ask(
        LAUNCH_BACKFILL,
        params={
            "selector": {"repositorySelector": SELECTOR, "partitionSetName": "fill_candidate_partition_set"},
            "partitionNames": ["dated", "second"],
        },
    )["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer

    def ended() -> list[Run]:
        new = [run for run in daemon.runs() if run.id not in before and run.job == "fill_candidate"]
        return new if len(new) == 2 and {run.status for run in new} <= ENDED else []

    runs = daemon.wait("two runs", ended, seconds=400)
    assert {run.status for run in runs} == {"SUCCESS"}
    assert {run.tags["dagster/priority"] for run in runs} == {"-5"}
    (candidate,) = set(daemon.world.vectors().collections()) - {serving_one}
    active = daemon.world.table(
        "SELECT id FROM products WHERE delisted_on IS NULL AND store_id IN ('dated', 'second')"
    )
    filled = dict(daemon.world.vectors().scroll(candidate, fields=("payload_hash",)))
    assert {str(key) for key in filled} == {str(row["id"]) for row in active}
    assert daemon.world.collection() == serving_one


def test_a_cancelled_run_leaves_nothing_half_done(daemon: Daemon) -> None:
    rows = daemon.world.rows("live")
    rows[0] |= {"price": "88.00 EUR"}
    before = price(daemon, "live")
    daemon.page("live", rows, '"three"')
    daemon.web.delay = 600.0
    run = daemon.launch("live", TODAY, {"ops": {"raw_feeds": {"config": {"refetch": True}}}})
    asked = len(daemon.web.asked)
    daemon.wait("the run to start", lambda: daemon.runs(runIds=[run])[0].status == "STARTED")
    daemon.wait("its worker", lambda: daemon.worker_of(run))
    assert daemon.ask(TERMINATE, run=run)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    assert daemon.ended(run).status == "CANCELED"
    daemon.web.gate.set()
    daemon.web.delay = 0.0
    assert len(daemon.web.asked) >= asked
    assert price(daemon, "live") == before
    again = daemon.launch("live", TODAY, {"ops": {"raw_feeds": {"config": {"refetch": True}}}})
    assert daemon.ended(again).status == "SUCCESS"
    assert price(daemon, "live") == 88.0


def test_a_store_that_is_away_is_tried_again_in_the_same_run(daemon: Daemon) -> None:
    rows = daemon.world.rows("live")
    rows[0] |= {"price": "99.00 EUR"}
    daemon.page("live", rows, '"four"')
    # All four tries of the first step fail; the step is tried again after a minute.
    daemon.web.failures = 4
    run = daemon.launch("live", TODAY, {"ops": {"raw_feeds": {"config": {"refetch": True}}}})
    assert daemon.ended(run, seconds=400).status == "SUCCESS"
    assert price(daemon, "live") == 99.0
    events = daemon.ask(
        "query E($run: ID!) { logsForRun(runId: $run, limit: 1000) { ... on EventConnection "
        "{ events { __typename } } } }",
        run=run,
    )["logsForRun"]["events"]
    assert "ExecutionStepUpForRetryEvent" in {event["__typename"] for event in events}


def test_a_killed_worker_is_noticed_and_the_run_is_started_again(daemon: Daemon) -> None:
    rows = daemon.world.rows("live")
    rows[0] |= {"price": "111.00 EUR"}
    daemon.page("live", rows, '"five"')
    daemon.web.gate.clear()
    daemon.web.delay = 600.0
    run = daemon.launch("live", TODAY, {"ops": {"raw_feeds": {"config": {"refetch": True}}}})
    asked = len(daemon.web.asked)
    daemon.wait("the run to start", lambda: daemon.runs(runIds=[run])[0].status == "STARTED")
    worker = daemon.wait("its worker", lambda: daemon.worker_of(run))
    os.kill(worker, signal.SIGKILL)
    daemon.web.gate.set()
    daemon.web.delay = 0.0
    assert daemon.ended(run, seconds=300).status == "FAILURE"
    retry = daemon.wait(
        "the run that takes its place",
        lambda: [r for r in daemon.runs() if r.tags.get("dagster/parent_run_id") == run],
        seconds=300,
    )
    assert daemon.ended(retry[0].id).status == "SUCCESS"
    assert price(daemon, "live") == 111.0
    assert len(daemon.web.asked) > asked
    # Nobody was woken: it was mended by itself.
    assert "worker lost" not in {message["error_class"] for message in daemon.web.posted}


def test_a_broken_feed_is_told_once_with_what_to_do(daemon: Daemon, tmp_path: Path) -> None:
    config = {"ops": {"raw_feeds": {"config": {"refetch": True}}}}
    daemon.page("live", daemon.world.rows("live"), '"five"')
    assert daemon.ended(daemon.launch("live", TODAY, config)).status == "SUCCESS"
    daemon.web.posted.clear()
    daemon.page("live", daemon.world.rows("live", 3), '"six"')
    assert daemon.ended(daemon.launch("live", TODAY, config)).status == "FAILURE"
    (message,) = daemon.wait("an alert", lambda: daemon.web.posted)
    assert (message["kind"], message["stores"]) == ("broken", ["live"])
    assert "accept" in message["next_step"]
    daemon.page("live", daemon.world.rows("live"), '"seven"')
    assert daemon.ended(daemon.launch("live", TODAY, config)).status == "SUCCESS"
    daemon.wait("the all-clear", lambda: len(daemon.web.posted) > 1)
    assert [each["kind"] for each in daemon.web.posted] == ["broken", "mended"]
    assert PLANTED not in daemon.log.read_text(errors="replace")


def test_a_store_that_is_added_is_picked_up_on_reload(daemon: Daemon) -> None:
    daemon.world.feed("added", TODAY, daemon.world.rows("added", 4))
    daemon.write_feeds(added={"location": "{data}/feeds/added-{date}.csv"})
    daemon.reload()
    # It ticks each minute here, and the store is due.
    daemon.start_schedule("due_stores")
    daemon.wait("its products", lambda: len(daemon.world.products("added")) == 4)
