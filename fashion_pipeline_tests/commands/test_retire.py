"""A retired store: shown first, tombstoned on a word, and back without a new embedding."""

from collections.abc import Callable
from typing import Any

from fashion_pipeline_tests.small_world import SECOND, SmallWorld, metadata


def standing(world: SmallWorld) -> tuple[int, int, int]:
    (row,) = world.table(
        "SELECT count(*) FILTER (WHERE delisted_on IS NULL) AS active, count(*) AS rows FROM products "
        "WHERE store_id = 'alpha'"
    )
    (ledger,) = world.table("SELECT count(*) AS points FROM index_entries WHERE store_id = 'alpha'")
    return row["active"], row["rows"], ledger["points"]


def test_an_active_store_is_not_retired(here: SmallWorld, fashion_pipeline: Callable[..., Any]) -> None:
    said = fashion_pipeline("retire", "alpha", "--apply")
    assert said.code == 1
    assert "status: retired" in said.error
    assert standing(here) == (12, 12, 12)


def test_the_preview_changes_nothing_and_the_word_does(
    here: SmallWorld, fashion_pipeline: Callable[..., Any]
) -> None:
    here.write_feeds_file(alpha={"status": "retired"})
    before = here.points()
    said = fashion_pipeline("retire", "alpha")
    assert said.code == 0
    assert "nothing was changed" in said.out
    assert "12" in said.out
    assert standing(here) == (12, 12, 12)
    assert here.points() == before

    said = fashion_pipeline("retire", "alpha", "--apply")
    assert "12 products became tombstones" in said.out
    assert standing(here) == (0, 12, 0)
    assert here.points() == before - 12
    assert len(here.products("beta")) == 12
    assert "nothing to retire" in fashion_pipeline("retire", "alpha", "--apply").out
    # A backfill over all stores does not list them again, nor does its rest alone.
    for assets in (None, ["products"]):
        assert not here.run("line", assets=assets).success
    assert standing(here) == (0, 12, 0)
    said = fashion_pipeline(
        "backfill", "--store", "alpha", "--from", str(SECOND), "--ui", "http://127.0.0.1:9"
    )
    assert said.code == 1
    assert "status: active" in said.error

    # It comes back with the bytes that were applied last: the same rows, and no picture is embedded again.
    ids = {row["id"] for row in here.products().values()}
    here.write_feeds_file()
    here.feed("alpha", SECOND, here.rows("alpha"))
    result = here.run("line", day=SECOND)
    assert result.success
    assert metadata(result, "products")["returned"] == 12
    assert metadata(result, "image_embeddings")["due"] == 0
    assert standing(here) == (12, 12, 12)
    assert {row["id"] for row in here.products().values()} == ids


def test_its_points_leave_every_live_collection(
    here: SmallWorld, fashion_pipeline: Callable[..., Any]
) -> None:
    first = here.collection()
    assert fashion_pipeline("index", "rebuild").code == 0
    assert here.collection() == f"{first}-r2"
    here.write_feeds_file(alpha={"status": "retired"})
    shown = fashion_pipeline("retire", "alpha").out
    said = fashion_pipeline("retire", "alpha", "--apply")
    assert said.code == 0
    for name, serves in ((first, "does not serve"), (f"{first}-r2", "serves")):
        assert f"12 points in {name}" in shown
        assert f"12 of {name} ({serves})" in said.out
        assert here.vectors().count(name) == 12, "those of beta"
    assert standing(here) == (0, 12, 0)


def test_it_comes_back_on_the_day_on_which_it_left(
    here: SmallWorld, fashion_pipeline: Callable[..., Any]
) -> None:
    here.write_feeds_file(alpha={"status": "retired"})
    assert fashion_pipeline("retire", "alpha", "--apply").code == 0
    here.write_feeds_file()
    result = here.run("line")
    assert result.success
    assert metadata(result, "products")["returned"] == 12
    assert standing(here) == (12, 12, 12)
