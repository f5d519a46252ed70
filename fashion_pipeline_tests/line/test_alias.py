"""The serving alias under crashes, and live collections that are broken, lost or deleted meanwhile."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.index_history import baseline, intend_move, moves
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.feeds.config import FeedsConfig
from fashion_pipeline.line.alias import alias_lock
from fashion_pipeline.line.health import health_table
from fashion_pipeline.line.live import (
    LiveReport,
    Wanted,
    as_target,
    collection_rows,
    delete_collection,
    describe_rows,
    follow,
    live_collections,
    write_live_points,
)
from fashion_pipeline.line.points import Serving, serving_collection, write_points
from fashion_pipeline.line.promotion import prepare_candidate, promote, rollback
from fashion_pipeline.line.quality import Figures, Task
from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.line.conftest import DAY, item
from fashion_pipeline_tests.line.shops import ALIAS, Shop, copy_sparse, other_model_folder

COUNT = 6
FIGURES = Figures(Task(1, 1.0, 1.0, 0.1, 1.0), Task(1, 1.0, 1.0, 0.1, 1.0), None, 1.0, 1.0)


@pytest.fixture
def shop(database: Database, tmp_path: Path, demo_model: str, empty_index: Path) -> Shop:
    """A store of six products in the serving collection."""
    copy_sparse(empty_index, tmp_path / "parts" / "qdrant")
    shop = Shop(database, tmp_path / "parts", model=demo_model)
    shop.bring(DAY, [item(number, image=shop.picture(number)) for number in range(COUNT)])
    return shop


@pytest.fixture
def wanted(demo_model: str, tmp_path: Path) -> Wanted:
    """The settings name another model than the one that serves."""
    return Wanted(ALIAS, other_model_folder(demo_model, tmp_path), "test")


def filled(shop: Shop, wanted: Wanted) -> Serving:
    """The candidate, with every product in it."""
    target = as_target(prepare_candidate(shop.database, shop.index, wanted))
    shop.invent_vectors(target)
    write_points(shop.database, shop.data, shop.index, shop.name, serving=target)
    assert shop.index.count(target.collection) == COUNT
    return target


def promoted(shop: Shop, wanted: Wanted) -> str:
    return promote(
        shop.database, shop.data, shop.index, wanted=wanted, stores=[shop.name], measure=lambda _: FIGURES
    ).collection


def rolled_back(shop: Shop) -> str:
    return rollback(shop.database, shop.data, shop.index, alias=ALIAS, stores=[shop.name]).collection


def live_points(shop: Shop) -> LiveReport:
    return write_live_points(shop.database, shop.data, shop.index, shop.name, alias=ALIAS)


def history(shop: Shop) -> list[tuple[str, str, bool]]:
    """(action, collection, confirmed), oldest first."""
    return [(each.action, each.collection, each.confirmed) for each in moves(shop.database, ALIAS)][::-1]


@contextmanager
def confirming(shop: Shop, what: str) -> Iterator[None]:
    """PostgreSQL does `what` where a move is to be confirmed: after the alias was moved."""
    shop.execute(
        f"CREATE FUNCTION confirming() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {what}; RETURN NEW; END'"
    )
    shop.execute(
        "CREATE TRIGGER confirming BEFORE UPDATE ON alias_moves FOR EACH ROW EXECUTE FUNCTION confirming()"
    )
    try:
        yield
    finally:
        shop.execute("DROP FUNCTION confirming CASCADE")


FAILS = "RAISE EXCEPTION USING MESSAGE = TG_OP"


def test_a_promotion_that_ended_after_the_move_can_be_rolled_back(shop: Shop, wanted: Wanted) -> None:
    first, candidate = shop.collection(), filled(shop, wanted)
    with confirming(shop, FAILS), pytest.raises(DBAPIError):
        promoted(shop, wanted)
    assert shop.index.alias(ALIAS) == candidate.collection
    assert history(shop) == [("promote", candidate.collection, False)]
    assert rolled_back(shop) == first.collection
    assert history(shop) == [
        ("promote", candidate.collection, True),
        ("rollback", first.collection, True),
    ]
    kept = baseline(shop.database, ALIAS, candidate.model_id)
    assert kept is not None
    assert (kept.promoted, kept.figures["title"]["recall_at_10"]) == (True, FIGURES.title.recall_at_10)


def test_a_rebuild_killed_after_the_move_is_not_gone_on_with_in_the_serving_collection(shop: Shop) -> None:
    first = shop.collection().collection
    command = [sys.executable, "-m", "fashion_pipeline_tests.line.worker", "rebuild"]
    arguments = [shop.database.url.render_as_string(hide_password=False), str(shop.parts), shop.name]
    with confirming(shop, "PERFORM pg_sleep(300)"):
        with subprocess.Popen([*command, *arguments, shop.model], cwd=ROOT) as child:
            try:
                deadline = time.monotonic() + 120
                while not (
                    asleep := shop.rows("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
                ):
                    assert child.poll() is None, "the process ended by itself"
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            finally:
                child.kill()
        for each in asleep:
            shop.rows("SELECT pg_terminate_backend(:pid, 10000)", pid=each["pid"])
    second = f"{first}-r2"
    assert shop.index.alias(ALIAS) == second
    assert history(shop) == [("rebuild", second, False)]
    before = shop.index.points_written
    report = shop.rebuild()
    assert (report.collection, report.previous, report.resumed) == (f"{first}-r3", second, False)
    assert shop.index.points_written - before == COUNT, "only the third was written"
    assert history(shop) == [("rebuild", second, True), ("rebuild", f"{first}-r3", True)]
    assert rolled_back(shop) == second


def test_the_serving_collection_is_never_filled_even_where_no_history_tells_that_it_serves(
    shop: Shop,
) -> None:
    first = shop.rebuild().previous
    shop.execute("DELETE FROM alias_moves")
    report = shop.rebuild()
    assert (report.collection, report.previous, report.resumed) == (f"{first}-r3", f"{first}-r2", False)


def test_a_move_that_was_never_made_leaves_no_trace(shop: Shop, wanted: Wanted) -> None:
    first, candidate = shop.collection().collection, filled(shop, wanted).collection
    intend_move(shop.database, alias=ALIAS, collection=candidate, previous=first, action="promote")
    with pytest.raises(PermanentError, match="nothing to roll back"):
        rolled_back(shop)
    assert shop.index.alias(ALIAS) == first
    assert history(shop) == []
    assert promoted(shop, wanted) == candidate
    assert rolled_back(shop) == first


def test_the_first_collection_is_noted_by_the_next_run_where_its_own_was_ended(
    database: Database, tmp_path: Path, demo_model: str
) -> None:
    shop = Shop(database, tmp_path / "parts", model=demo_model)
    with confirming(shop, FAILS), pytest.raises(DBAPIError):
        shop.collection()
    serving = shop.collection().collection
    assert history(shop) == [("first", serving, True)]


def spoil(shop: Shop, collection: str, what: str) -> None:
    """Damage a collection's files, which no process has open, as a full disk or a wrong hand would."""
    shop.index.close()
    folder = shop.parts / "qdrant" / "collections" / collection
    if what == "engine's files":
        (folder / "shard" / "edge_config.json").write_text("{")
    else:
        (folder / "metadata.json").write_text("{")


@pytest.mark.parametrize("what", ["engine's files", "metadata"])
def test_a_broken_candidate_stops_no_store_and_cannot_be_promoted(
    shop: Shop, wanted: Wanted, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    serving, candidate = shop.collection().collection, filled(shop, wanted).collection
    spoil(shop, candidate, what)
    shop.execute("UPDATE products SET content_hash = md5(content_hash) WHERE external_id = 'sku-0'")
    report = live_points(shop)
    assert (report.serving.collection, report.serving.payloads_updated) == (serving, 1)
    assert list(report.failed) == [candidate]
    assert f"{candidate!r}, which does not serve, was not brought up to date" in caplog.text
    right, wrong = follow(shop.database, shop.index, shop.name, alias=ALIAS)
    assert (right.collection, right.follows, right.remedy) == (serving, True, "")
    assert (wrong.collection, wrong.follows) == (candidate, False)
    assert "cannot be read" in wrong.remedy
    assert f"index delete {candidate}" in wrong.remedy
    with pytest.raises(PermanentError):
        promoted(shop, wanted)
    assert shop.index.alias(ALIAS) == serving
    rows = describe_rows(collection_rows(shop.database, shop.index, wanted, [shop.name]))
    assert [row["collection"] for row in rows] == [serving, candidate]
    assert f"index delete {candidate}" in str(rows[1]["what_to_do"])
    delete_collection(shop.database, shop.index, wanted, candidate)
    assert shop.index.collections() == [serving]
    assert live_points(shop).failed == {}
    assert filled(shop, wanted).collection == candidate


def test_a_collection_that_is_behind_is_told_of(shop: Shop, wanted: Wanted) -> None:
    candidate = filled(shop, wanted).collection
    assert all(each.follows for each in follow(shop.database, shop.index, shop.name, alias=ALIAS))
    shop.execute(
        "UPDATE products SET content_hash = md5(content_hash) WHERE external_id IN ('sku-0', 'sku-1')"
    )
    shop.execute("UPDATE products SET delisted_on = now() WHERE external_id = 'sku-2'")
    shop.points()
    serving, other = follow(shop.database, shop.index, shop.name, alias=ALIAS)
    assert (serving.behind, serving.follows) == (0, True)
    assert (other.collection, other.behind, other.follows) == (candidate, 3, False)
    assert "behind by 3 points" in other.remedy
    feeds = FeedsConfig(first_day=DAY, last_day=DAY, stores=(shop.store,))
    (row,) = health_table(shop.database, feeds, live_collections(shop.index, ALIAS)).to_dict("records")
    assert (row["index_lag"], row["others_lag"]) == (0, 3)
    assert f"{candidate} by 3" in row["what_to_do"]
    live_points(shop)
    assert all(each.follows for each in follow(shop.database, shop.index, shop.name, alias=ALIAS))


def test_what_a_collection_lost_after_it_was_acknowledged_is_told_of(shop: Shop, wanted: Wanted) -> None:
    candidate = filled(shop, wanted).collection
    for name in (shop.collection().collection, candidate):
        shop.index.delete(name, [shop.ids()["sku-3"]])
    for each in follow(shop.database, shop.index, shop.name, alias=ALIAS):
        assert not each.follows
        assert each.counted is not None
        assert (each.counted.points, each.counted.acknowledged) == (COUNT - 1, COUNT)
        assert f"index reconcile --collection {each.collection} --store shop --repair" in each.remedy


def test_a_deletion_that_was_ended_half_way_is_gone_on_with(shop: Shop, wanted: Wanted) -> None:
    candidate = filled(shop, wanted).collection
    shop.index.drop_collection(candidate)
    assert len(shop.rows("SELECT FROM index_entries WHERE collection = :name", name=candidate)) == COUNT
    assert delete_collection(shop.database, shop.index, wanted, candidate) == 0
    assert shop.rows("SELECT FROM index_entries WHERE collection = :name", name=candidate) == []
    with pytest.raises(PermanentError, match="is no collection of the alias"):
        delete_collection(shop.database, shop.index, wanted, candidate)


def test_nothing_is_deleted_while_the_alias_is_being_moved(shop: Shop, wanted: Wanted) -> None:
    candidate = filled(shop, wanted).collection
    refused: list[PermanentError] = []

    def delete() -> None:
        try:
            delete_collection(shop.database, shop.index, wanted, candidate)
        except PermanentError as error:
            refused.append(error)

    with alias_lock(shop.database, ALIAS):
        thread = threading.Thread(target=delete)
        thread.start()
        while not shop.rows("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            assert thread.is_alive()
            time.sleep(0.01)
        # As a promotion does: it serves from here on.
        shop.index.set_alias(ALIAS, candidate)
    thread.join(60)
    assert ["serves" in str(each) for each in refused] == [True]
    assert serving_collection(shop.index, ALIAS).collection == candidate
    assert candidate in live_collections(shop.index, ALIAS).serving.collection
