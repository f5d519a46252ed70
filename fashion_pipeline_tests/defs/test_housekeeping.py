"""Retention of runs, pool limits, and logs: on real instances."""

import json
import logging
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from fashion_pipeline.definitions import build_definitions
from fashion_pipeline.defs import housekeeping
from fashion_pipeline.defs.housekeeping import old_runs, set_pool_limits
from fashion_pipeline.logs import formatter
from fashion_pipeline_tests.small_world import FIRST, SECOND, SmallWorld


def test_old_reports_and_failures_go_and_the_grid_stays(world: SmallWorld) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        old = world.run("health", instance=instance).run_id
        kept = world.run("health", instance=instance).run_id
        failed = world.run("line", day=SECOND, instance=instance).run_id
        good = world.run("line", day=FIRST, assets=["raw_feeds"], instance=instance).run_id
        world.feed("beta", SECOND, world.rows("beta", 3))
        half = world.run("line", day=SECOND, store="beta", instance=instance)
        assert not half.success
        assert list(old_runs(instance, datetime.now(UTC) - timedelta(days=1))) == []
        later = datetime.now(UTC) + timedelta(days=1)
        # What failed late has materialized its feed: the cell of raw_feeds rests on it.
        assert set(old_runs(instance, later)) == {old, failed}
        result = world.definitions.resolve_job_def("housekeeping").execute_in_process(
            instance=instance, run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        )
        assert result.success
        # None is a month old.
        assert {old, kept, failed, good} <= {run.run_id for run in instance.get_runs()}


def test_what_stays_hides_nothing_that_is_to_go(world: SmallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that stay are the oldest, more than a page of them; each store's last fill of a candidate stays."""
    monkeypatch.setattr(housekeeping, "PAGE", 2)
    tags = {store: {housekeeping.PARTITION: store} for store in ("alpha", "beta")}
    with dg.DagsterInstance.ephemeral() as instance:
        world.feed("beta", SECOND, world.rows("beta", 3))
        for _ in range(3):
            assert not world.run("line", day=SECOND, store="beta", instance=instance).success
        gone = [world.run("line", day=SECOND, instance=instance).run_id for _ in range(3)]

        def ran(job: str, **tags: str) -> str:
            definition = world.definitions.resolve_job_def(job)
            run = instance.create_run_for_job(definition, tags=tags, status=dg.DagsterRunStatus.STARTED)
            instance.report_run_failed(run)
            return run.run_id

        for job in ("reconcile", "promote", "rollback"):
            gone.append(ran(job))
            ran(job)
        gone += [ran("fill_candidate", **tags[store]) for store in ("alpha", "beta", "alpha", "beta")][:2]
        found = list(old_runs(instance, datetime.now(UTC) + timedelta(days=1)))
        assert sorted(found) == sorted(gone)


def test_every_job_but_the_line_is_a_report(world: SmallWorld) -> None:
    jobs = {job.name for job in world.definitions.resolve_all_job_defs()}
    assert jobs - set(housekeeping.REPORTS) - {"line"} <= {"__ASSET_JOB"}
    assert set(housekeeping.REPORTS) <= jobs


def test_pools_get_their_limits() -> None:
    with dg.DagsterInstance.local_temp() as instance:
        assert instance.event_log_storage.get_pool_limits() == []
        for _ in range(2):
            set_pool_limits(instance)
            limits = {each.name: each.limit for each in instance.event_log_storage.get_pool_limits()}
            assert limits == {"gpu": 1, "index": 1, "fetch": 4}


def test_a_log_line_is_json_with_store_day_and_run(
    world: SmallWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    environ = world.environ | {"FASHION_PIPELINE_LOG_FORMAT": "json"}
    world.__dict__["definitions"] = build_definitions(environ)
    with dg.DagsterInstance.ephemeral() as instance:
        job = world.definitions.resolve_job_def("line")
        result = job.execute_in_process(
            instance=instance,
            partition_key=f"{FIRST}|alpha",
            asset_selection=[dg.AssetKey("raw_feeds")],
            run_config={"loggers": {"console": {"config": {"log_level": "DEBUG"}}}},
        )
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    ours = [line for line in lines if line.get("run_id") == result.run_id]
    assert len(ours) > 5
    assert {(line["store"], line["day"]) for line in ours} == {("alpha", str(FIRST))}
    assert any(line.get("step") == "raw_feeds" for line in ours)
    assert all({"time", "level", "message"} <= set(line) for line in ours)


def test_a_line_outside_of_runs_is_json_too() -> None:
    record = logging.LogRecord("x.y", logging.WARNING, "", 1, "so %s", ("much",), None)
    assert json.loads(formatter("json").format(record))["message"] == "so much"
    assert formatter("text").format(record) == "WARNING x.y: so much"
