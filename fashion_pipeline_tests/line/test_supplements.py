"""Supplements through capture, clean and apply: part of the snapshot, joined by id, never writing on their own."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fashion_pipeline.errors import FeedError, PermanentError, VerdictError
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.line.clean import Acceptance
from fashion_pipeline_tests.line.conftest import DAY, World, items

NEXT = DAY + timedelta(days=1)
MAPPING = {"fields": {"external_id": "id", "material": "fabric", "price": "price"}, "delimiter": ","}


def more(world: World, rows: str, day: Any = DAY, name: str = "more") -> Path:
    """Write a supplement, which the store has from then on."""
    path = world.folder / f"{name}-{day}.csv"
    path.write_text("id,fabric,price\n" + rows)
    return path


def supplemented(world: World, *names: str) -> World:
    parts = [
        {"location": str(world.folder / f"{name}-{{date}}.csv"), "format": "delimited", "mapping": MAPPING}
        for name in names
    ]
    told = world.store.model_dump(mode="python") | {"supplements": parts}
    world.store = StoreConfig.model_validate(told)
    return world


def materials(world: World) -> dict[str, str | None]:
    return {key: row["material"] for key, row in world.products().items()}


def ledger(world: World) -> list[dict[str, Any]]:
    with world.database.connection() as connection:
        found = connection.execute(text("SELECT * FROM feed_snapshots ORDER BY captured_at")).mappings()
        return [dict(row) for row in found]


def test_rows_have_what_a_supplement_says_and_its_rows_are_counted(world: World) -> None:
    supplemented(world, "more")
    more(world, "sku-0,wool,\nsku-1,,12 EUR\nsku-1,,12 EUR\nsku-9,silk,9 EUR\n,linen,\n")
    report = world.run(DAY, items(3))
    assert report.new == 3
    assert materials(world) == {"sku-0": "wool", "sku-1": None, "sku-2": None}
    assert [float(row["price"]) for row in world.products().values()] == [10, 12, 10]
    account = world.clean(DAY).account
    name = str(world.folder / f"more-{DAY}.csv")
    assert account["supplements"] == {
        name: {"rows": 5, "joined": 2, "unmatched": 1, "repeated": 1, "unusable": 1}
    }
    told = {each["what"]: each for each in account["recoveries"]}
    assert told["supplement rows without a product in the feed"]["places"] == [f"{name}, line 5"]
    assert account["records"] == account["items"] == 3


def test_a_changed_supplement_of_an_unchanged_feed_is_cleaned_and_applied(world: World) -> None:
    supplemented(world, "more")
    more(world, "sku-0,wool,\n")
    world.run(DAY, items(3))
    world.feed(NEXT, items(3))
    more(world, "sku-0,silk,\n", NEXT)
    assert world.capture(NEXT).action == "fetched"
    assert world.clean(NEXT).action == "cleaned"
    assert world.apply(NEXT).changed == 1
    assert materials(world)["sku-0"] == "silk"
    first, second = ledger(world)
    assert first["sha256"] != second["sha256"]
    assert first["file_sha256"] == second["file_sha256"]
    assert first["file_key"] == second["file_key"]


def test_equal_files_are_stored_once_and_make_no_work(world: World) -> None:
    supplemented(world, "more")
    more(world, "sku-0,wool,\n")
    world.run(DAY, items(3))
    world.feed(NEXT, items(3))
    more(world, "sku-0,wool,\n", NEXT)
    assert world.capture(NEXT).action == "same_bytes"
    assert world.clean(NEXT).action == "reused"
    assert world.apply(NEXT).outcome == "unchanged"
    assert len(list(world.data.list("raw"))) == 2
    for row in ledger(world):
        assert world.data.read(row["supplements"][0]["file_key"]) == more(world, "sku-0,wool,\n").read_bytes()


def test_what_a_supplement_no_longer_says_is_taken_back(world: World) -> None:
    supplemented(world, "more")
    more(world, "sku-0,wool,\nsku-1,silk,\n")
    world.run(DAY, items(3))
    more(world, "sku-1,silk,\n", NEXT)
    world.run(NEXT, items(3))
    assert materials(world) == {"sku-0": None, "sku-1": "silk", "sku-2": None}


def test_a_missing_supplement_captures_nothing(world: World) -> None:
    supplemented(world, "more")
    world.feed(DAY, items(3))
    with pytest.raises(PermanentError, match=rf"more-{DAY}.csv.*nothing is captured without it"):
        world.capture(DAY)
    assert ledger(world) == []
    more(world, "sku-0,wool,\n")
    assert world.run(DAY).new == 3


@pytest.mark.parametrize("content", [b"", b"<html><title>503</title></html>", b"fabric,price\nwool,1 EUR\n"])
def test_an_unreadable_supplement_refuses_the_snapshot_until_it_is_mended(
    world: World, content: bytes
) -> None:
    supplemented(world, "more")
    more(world, "sku-0,wool,\n")
    world.run(DAY, items(3))
    before = world.state()
    world.feed(NEXT, items(4))
    path = more(world, "", NEXT)
    path.write_bytes(content)
    world.capture(NEXT)
    with pytest.raises(FeedError, match=rf"in the supplement .*more-{NEXT}.csv"):
        world.clean(NEXT)
    assert ledger(world)[-1]["verdict"] == "refused"
    with pytest.raises(VerdictError, match="in the supplement"):
        world.apply(NEXT)
    assert world.state() == before
    more(world, "sku-0,wool,\n", NEXT)
    assert world.run(NEXT).new == 1
    assert materials(world)["sku-0"] == "wool"


def test_a_supplement_that_joins_nothing_waits_for_a_person(world: World) -> None:
    supplemented(world, "more")
    more(world, "other-0,wool,\nother-1,silk,\n")
    world.feed(DAY, items(3))
    world.capture(DAY)
    report = world.clean(DAY)
    assert (report.verdict, [each["guard"] for each in report.findings]) == ("refused", ["supplement"])
    with pytest.raises(VerdictError, match="none of the 2 rows"):
        world.apply(DAY)
    accepted = Acceptance(report.snapshot.sha256[:12], ("supplement",), "no extras in the sale")
    assert world.clean(DAY, accepted).verdict == "accepted"
    assert world.apply(DAY).new == 3


def test_a_supplement_of_mostly_broken_rows_waits_for_a_person(world: World) -> None:
    supplemented(world, "more")
    more(world, "sku-0,wool,\nsku-1,a,b,c,d\nsku-2,a,b,c,d\n")
    world.feed(DAY, items(3))
    world.capture(DAY)
    assert [each["guard"] for each in world.clean(DAY).findings] == ["supplement"]


def test_an_acceptance_is_for_these_very_supplements(world: World) -> None:
    supplemented(world, "more")
    more(world, "other,wool,\n")
    world.feed(DAY, items(3))
    world.capture(DAY)
    first = world.clean(DAY)
    more(world, "another,wool,\n")
    world.capture(DAY)
    with pytest.raises(VerdictError, match="other bytes"):
        world.clean(DAY, Acceptance(first.snapshot.sha256[:12], ("supplement",), "fine"))


def test_the_later_supplement_counts(world: World) -> None:
    supplemented(world, "more", "most")
    more(world, "sku-0,wool,\nsku-1,wool,\n")
    more(world, "sku-1,silk,\n", name="most")
    world.run(DAY, items(2))
    assert materials(world) == {"sku-0": "wool", "sku-1": "silk"}


def test_a_supplement_that_feeds_yaml_gains_is_captured_with_the_day(world: World) -> None:
    world.run(DAY, items(3))
    supplemented(world, "more")
    more(world, "sku-0,wool,\n")
    with pytest.raises(PermanentError, match="captured without 1 of the supplements"):
        world.clean(DAY)
    assert world.capture(DAY).action == "fetched"
    world.clean(DAY)
    assert world.apply(DAY).changed == 1
    # And without it again: the configuration is another, so the bytes are cleaned anew.
    world.store = world.store.model_copy(update={"supplements": ()})
    assert world.capture(DAY).action == "reused"
    assert world.clean(DAY).action == "cleaned"
    assert world.apply(DAY).changed == 1
    assert materials(world)["sku-0"] is None


def test_deltas_take_from_a_supplement_what_they_name(world: World) -> None:
    supplemented(world, "more")
    more(world, "sku-0,wool,\n")
    world.run(DAY, items(3))
    world.store = world.store.model_copy(update={"mode": "delta"})
    more(world, "sku-0,silk,\nsku-1,linen,\n", NEXT)
    assert world.run(NEXT, [items(2)[1]]).changed == 1
    # A supplement never writes on its own: the delta did not name sku-0.
    assert materials(world) == {"sku-0": "wool", "sku-1": "linen", "sku-2": None}
