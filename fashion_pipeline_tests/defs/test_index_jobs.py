"""The jobs `fill_candidate`, `promote` and `rollback`, run by Dagster with a second model's folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline_tests.line.shops import other_model_folder
from fashion_pipeline_tests.small_world import STORES, SmallWorld, failure


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """One that keeps its runs and events, in a temporary folder."""
    with dg.DagsterInstance.local_temp() as found:
        yield found


def told(result: dg.ExecuteInProcessResult, op: str) -> dict[str, Any]:
    """What the UI shows of the op's output."""
    assert result.success, [event.step_failure_data for event in result.all_events if event.is_step_failure]
    (event,) = [each for each in result.all_events if each.is_successful_output and each.step_key == op]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def state(world: SmallWorld, collection: str) -> dict[Any, Any]:
    """Hashes of every point."""
    return dict(world.vectors().scroll(collection, fields=("payload_hash", "image_sha256")))


@pytest.mark.slow
def test_another_model_there_and_back_by_jobs(
    world: SmallWorld, instance: dg.DagsterInstance, demo_model: str, tmp_path: Path
) -> None:
    first, before = world.collection(), state(world, world.collection())
    nothing = world.run("rollback", instance=instance)
    assert not nothing.success
    assert "is the first that served" in failure(nothing, "roll_back")
    for job, op in (("fill_candidate", "fill_candidate_store"), ("promote", "promote_candidate")):
        result = world.run(job, instance=instance)
        assert not result.success
        assert "FASHION_PIPELINE_MODEL" in failure(result, op) or "nothing to promote" in failure(result, op)

    other = other_model_folder(demo_model, tmp_path)
    candidate = f"products-{read_spec(other).image_model_id}"
    changed = SmallWorld(world.data, world.database_url, world.pictures, FASHION_PIPELINE_MODEL=other)
    try:
        early = changed.run("promote", instance=instance)
        assert "run fill_candidate for every store" in failure(early, "promote_candidate")

        # A run does what it is told to, and the next one goes on from there.
        some = changed.run(
            "fill_candidate", config={"fill_candidate_store": {"max_pictures": 5}}, instance=instance
        )
        part = told(some, "fill_candidate_store")
        assert (part["store"], part["candidate"], part["embedded"]) == ("alpha", candidate, 5)
        assert (part["inserted"], part["pictures_left_for_the_next_run"], part["waiting"]) == (5, 7, 7)
        assert len(state(changed, candidate)) == 5
        incomplete = changed.run("promote", instance=instance)
        assert "7 products of alpha" in failure(incomplete, "promote_candidate")
        assert world.collection() == first

        whole = {store: changed.run("fill_candidate", store=store, instance=instance) for store in STORES}
        # beta shows the same pictures, which are embedded once.
        assert [told(each, "fill_candidate_store")["embedded"] for each in whole.values()] == [7, 0]
        assert [told(each, "fill_candidate_store")["complete"] for each in whole.values()] == [1.0, 1.0]
        assert state(changed, candidate) == before
        assert world.collection() == first

        promoted = told(
            changed.run("promote", config={"promote_candidate": {"margin": 0.1}}, instance=instance),
            "promote_candidate",
        )
        assert (promoted["serves"], promoted["served_before"]) == (candidate, first)
        assert promoted["points"] == 24
        assert promoted["recall_at_10"] >= promoted["recall_at_10_before"] - 0.1
        assert changed.collection() == candidate
        # The line goes on for the new model, and the old collection follows.
        assert changed.run("line", instance=instance).success

        back = told(changed.run("rollback", instance=instance), "roll_back")
        assert (back["serves"], back["served_before"]) == (first, candidate)
        assert back["products_without_a_vector_yet"] == 0
        assert changed.collection() == first
        assert (state(changed, first), state(changed, candidate)) == (before, before)
    finally:
        changed.database.dispose()
    moves = world.table("SELECT action, collection FROM alias_moves ORDER BY created_at")
    assert [(each["action"], each["collection"]) for each in moves] == [
        ("first", first),
        ("promote", candidate),
        ("rollback", first),
    ]
    runs = instance.get_runs(dg.RunsFilter(job_name="fill_candidate", statuses=[dg.DagsterRunStatus.SUCCESS]))
    assert sorted(run.tags["dagster/partition"] for run in runs) == ["alpha", "alpha", "beta"]
