"""Runs at once, through Dagster and in processes of their own: each ends as if they had come one after the other."""

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from fashion_pipeline import parts
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.migrate import migrate
from fashion_pipeline.index.search import search
from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.crash.ground import Ground
from fashion_pipeline_tests.crash.side import Outcome, Run, Side
from fashion_pipeline_tests.crash.state import State, differences, shown
from fashion_pipeline_tests.crash.watch import Moment
from fashion_pipeline_tests.crash.world import Step, World
from fashion_pipeline_tests.line.shops import other_model_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Runs that wait for each other, on a machine with two cores.
SECONDS = 600.0


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Ground() as found:
        yield found


@contextmanager
def twins(ground: Ground, name: str, orders: Sequence[Sequence[int]], **sizes: int) -> Iterator["Twins"]:
    """A world, and what running its partitions in each of these orders, one after the other, ends in."""
    world, shared = ground.world(name, **sizes)
    found = []
    for number, order in enumerate(orders):
        ground.web.serve(shared)
        with ground.side(f"twin-{number}", world, shared) as side:
            for place in order:
                outcome = side.run(world.steps[place])
                assert outcome.success, outcome.failures
            found.append(side.observe())
    ground.web.serve(shared)
    with ground.side("together", world, shared) as side:
        yield Twins(world, side, found)


@dataclass
class Twins:
    """The side that runs at once, and what may come of it."""

    world: World
    side: Side
    expected: list[State]

    def at_once(self, steps: Sequence[Step]) -> list[Outcome]:
        """What became of runs that started together."""
        self.side.keep_postgres()
        return [run.end(SECONDS) for run in [self.side.start(step, alone=False) for step in steps]]

    def check(self) -> int:
        """Which of the twins the side is like."""
        state = self.side.observe()
        found = [differences(as_needed(expected, state), state) for expected in self.expected]
        assert [] in found, "\n\n".join(f"{len(each)} differences\n{shown(each)}" for each in found)
        return found.index([])


def as_needed(expected: State, found: State) -> State:
    """`expected` without vectors that were not made because the next day came first, in which nothing shows them."""
    indexed = "\n".join(fact for name, fact in found.facts.items() if name.startswith("entry "))
    needed = {
        name: vector
        for name, vector in expected.vectors.items()
        if name in found.vectors or not name.startswith("picture ") or name.split()[1] in indexed
    }
    return replace(expected, vectors=needed)


def all_succeeded(outcomes: Sequence[Outcome]) -> bool:
    assert not [outcome for outcome in outcomes if not outcome.success], outcomes
    return True


def test_two_runs_of_one_partition(ground: Ground) -> None:
    with twins(ground, "same", [[0]], stores=1, days=1) as both:
        assert all_succeeded(both.at_once(both.world.steps * 2))
        both.check()


def test_two_days_of_one_store_end_in_one_of_the_two_orders(ground: Ground) -> None:
    with twins(ground, "days", [[0, 1], [1, 0]], stores=1, days=2) as both:
        assert all_succeeded(both.at_once(both.world.steps))
        both.check()


def test_days_out_of_order_and_at_once(ground: Ground) -> None:
    """The third day first; then the first two at once, of which none changes a row of the third."""
    with twins(ground, "disorder", [[2, 0, 1], [2, 1, 0]], stores=1, days=3) as both:
        first, second, third = both.world.steps
        assert all_succeeded(both.at_once([third]))
        assert all_succeeded(both.at_once([second, first]))
        both.check()


@dataclass
class Searches:
    """Searches, one after the other, while something else goes on."""

    side: Side
    answered: int = 0
    slowest: float = 0.0
    hits: int = 0
    errors: list[str] = field(default_factory=list)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        ended = threading.Event()
        thread = threading.Thread(target=self._search, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(60)

    def _search(self, ended: threading.Event) -> None:
        store = parts.open_vectors(self.side.settings)
        dice = np.random.default_rng(1)
        while not ended.wait(0.05):
            vector = dice.standard_normal(768).astype(np.float32)
            began = time.monotonic()
            try:
                found = search(store, "products", vector / np.linalg.norm(vector), limit=5)
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")
            else:
                self.answered += 1
                self.hits += len(found)
                self.slowest = max(self.slowest, time.monotonic() - began)


def test_20_stores_while_searches_read(ground: Ground) -> None:
    with twins(ground, "many", [range(20)], stores=20, days=1) as both:
        searches = Searches(both.side)
        with searches.going_on():
            outcomes = both.at_once(both.world.steps)
        assert all_succeeded(outcomes)
        both.check()
    print(f"{searches.answered} searches, {searches.hits} hits, the slowest {searches.slowest:.2f} s")
    assert not searches.errors, searches.errors[:5]
    assert searches.answered > 50
    assert searches.hits > 0


def next_migration(folder: Path) -> Path:
    """A copy of the migrations with one more, which changes tables that a run reads and writes; its alembic.ini."""
    ini = folder / "alembic.ini"
    shutil.copy(ROOT / "alembic.ini", ini)
    shutil.copytree(ROOT / "alembic", folder / "alembic")
    newest = ScriptDirectory.from_config(Config(str(ini))).get_current_head()
    (folder / "alembic" / "versions" / "9999_later.py").write_text(
        "import sqlalchemy as sa\n\nfrom alembic import op\n\n"
        f'revision = "9999"\ndown_revision = "{newest}"\nbranch_labels = None\ndepends_on = None\n\n\n'
        "def upgrade() -> None:\n"
        '    op.add_column("products", sa.Column("later", sa.Text()))\n'
        '    op.create_index("ix_products_later", "products", ["later"])\n'
        '    op.add_column("images", sa.Column("later", sa.Text()))\n'
        '    op.add_column("feed_snapshots", sa.Column("later", sa.Text()))\n',
        encoding="utf-8",
    )
    return ini


@pytest.mark.parametrize("stage", ["clean_products", "products", "product_images", "product_points"])
def test_a_migration_while_a_run_is_on(ground: Ground, tmp_path: Path, stage: str) -> None:
    ini = next_migration(tmp_path)
    with twins(ground, f"migrated-{stage}", [[0]], stores=1, days=1) as both:
        side = both.side
        side.keep_postgres()
        run = side.start(both.world.steps[0], moment=Moment(stage, 6, hold=True))
        assert run.wait_for_moment()
        errors: list[BaseException] = []

        def upgrade() -> None:
            database = Database(side.postgres_url)
            try:
                migrate(database, ini)
            except BaseException as error:
                errors.append(error)
            finally:
                database.dispose()

        thread = threading.Thread(target=upgrade)
        thread.start()
        time.sleep(1.0)
        run.go_on()
        outcome = run.end(SECONDS)
        thread.join(60)
        assert outcome.success, outcome.failures
        assert not errors
        (expected,) = both.expected
        migrated = {
            name: told.replace(", 'later': None", "") if name.startswith("product ") else told
            for name, told in side.observe().facts.items()
        }
        assert differences(expected, State(migrated, side.observe().vectors)) == []


def test_promoting_while_the_line_runs(ground: Ground, demo_model: str, tmp_path: Path) -> None:
    """Whichever comes first; a promotion that the new day's pictures stop says so, and comes after they are filled."""
    other = other_model_folder(demo_model, tmp_path)
    world, shared = ground.world("promoted-0", stores=2, days=2)
    first_day, later = world.steps[:2], world.steps[2]

    def line(side: Side) -> Outcome:
        return side.run(later)

    def fill(side: Side) -> None:
        for store in world.stores:
            assert side.start(job="fill_candidate", store=store).end(SECONDS).success

    def start_promotion(side: Side) -> Run:
        return side.start(
            job="promote", config={"promote_candidate": {"config": {"margin": 0.5}}}, alone=False
        )

    @contextmanager
    def filled(name: str) -> Iterator[Side]:
        ground.web.serve(shared)
        with ground.side(name, world, shared) as side:
            for step in first_day:
                assert side.run(step).success
            side.environ["FASHION_PIPELINE_MODEL"] = other
            fill(side)
            yield side

    with filled("promoted-after") as side:
        assert line(side).success
        fill(side)
        assert start_promotion(side).end(SECONDS).success
        assert line(side).success
        after = side.observe()
    with filled("promoted-before") as side:
        assert start_promotion(side).end(SECONDS).success
        assert line(side).success
        before = side.observe()
    assert differences(after, before), "the new day has to bring pictures"
    with filled("promoted-meanwhile") as side:
        side.keep_postgres()
        run, promotion = side.start(later, alone=False), start_promotion(side)
        ended, promoted = run.end(SECONDS), promotion.end(SECONDS)
        assert ended.success, ended.failures
        if not promoted.success:
            assert "run fill_candidate for these stores" in promoted.failures["promote_candidate"]
            fill(side)
            assert start_promotion(side).end(SECONDS).success
        assert line(side).success
        state = side.observe()
        found = [differences(expected, state) for expected in (before, after)]
        assert [] in found, "\n\n".join(shown(each) for each in found)
