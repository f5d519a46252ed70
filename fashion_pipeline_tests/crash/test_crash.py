"""The crasher on a few kills, and that it would find what it looks for."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg
import pytest

from fashion_pipeline import parts
from fashion_pipeline.line.points import serving_collection
from fashion_pipeline_tests.crash.crasher import Crasher, Difference
from fashion_pipeline_tests.crash.faults import FAULTS, Fault, Place
from fashion_pipeline_tests.crash.report import summary, write_report
from fashion_pipeline_tests.crash.side import Outcome, Side
from fashion_pipeline_tests.crash.state import State, differences
from fashion_pipeline_tests.crash.watch import Moment
from fashion_pipeline_tests.crash.world import Step, make_world

ADDRESS = "http://127.0.0.1:9"


def test_3_kills_and_runs_again_end_as_undisturbed() -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    crasher = Crasher(seed, 3, faults=("run", "postgres", "everything"), days=1)
    report = crasher.run()
    assert len(report.strikes) == 3
    assert report.compared >= 1
    assert report.facts > 60
    assert report.vectors > 10
    print(summary(report))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_10_faults_of_every_kind_and_runs_again_end_as_undisturbed(tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    report = Crasher(seed, 10).run()
    assert len(report.strikes) == 10
    target = tmp_path / "crash.md"
    write_report(report, target)
    assert f"SEED={seed}" in target.read_text()


def change_a_row(side: Side) -> None:
    with psycopg.connect(side.postgres_url) as connection:
        connection.execute("UPDATE products SET title = 'another' WHERE external_id = 'alpha-3'")


def lose_a_point(side: Side) -> None:
    vectors = parts.open_vectors(side.settings)
    collection = serving_collection(vectors, "products").collection
    vectors.delete(collection, [next(id_ for id_, _ in vectors.scroll(collection))])


def lose_a_picture(side: Side) -> None:
    next(path for path in side.data.glob("images/*/*")).unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (change_a_row, "product alpha/alpha-3"),
        (lose_a_point, "point alpha/.*: missing"),
        (lose_a_picture, "no file 'images/"),
    ],
)
def test_damage_that_no_run_mends_is_found(
    damage: Callable[[Side], None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(place: Place, step: Step, moment: Moment, dice: random.Random) -> Outcome:
        outcome = place.side.run(step)
        damage(place.side)
        return Outcome(outcome.told, "the end")

    monkeypatch.setitem(FAULTS, "damage", Fault("damage", "damage", strike))
    with pytest.raises(Difference, match=rf"(?s)seed 1, world 1\.1, step 2026-11-02 alpha.*{told}"):
        Crasher(1, 1, faults=["damage"], stores=1, days=1).run()


def test_worlds_of_one_seed_are_equal_and_of_two_are_not() -> None:
    worlds = [make_world(seed, ADDRESS, stores=2, days=3) for seed in ("1.1", "1.1", "1.2")]
    assert worlds[0] == worlds[1]
    assert worlds[0].feeds != worlds[2].feeds
    assert len(set(worlds[0].feeds.values())) == len(worlds[0].feeds) == 6


def test_whatever_differs_is_told() -> None:
    near, far = np.zeros(768, np.float32), np.full(768, 2e-4, np.float32)
    state = State({"product a/1": "10", "product a/2": "20"}, {"point a/1": near, "point a/2": near})
    other = State({"product a/1": "11", "product a/3": "30"}, {"point a/1": far, "point a/2": near + 1e-6})
    assert differences(state, state) == []
    assert differences(state, other) == [
        "product a/1: 11 instead of 10",
        "product a/2: missing",
        "product a/3: too much",
        "vector of point a/1: differs by 0.0002",
    ]
