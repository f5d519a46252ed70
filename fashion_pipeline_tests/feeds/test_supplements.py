"""Supplements: joined by id; they change what they say, create nothing and blank nothing."""

import gc
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.items import ItemBatch, ReadReport
from fashion_pipeline.feeds.records import Tally
from fashion_pipeline.feeds.supplements import SupplementFile, SupplementRows
from fashion_pipeline_tests.feeds.conftest import Read, read, store

FEED = "id,title,price,color\n1,One,10 EUR,red\n2,Two,20 EUR,blue\n3,Three,30 EUR,\n"


def _read(folder: Path, *supplements: str, feed: str = FEED, **lines: Any) -> Read:
    path = folder / "feed.csv"
    path.write_text(feed)
    files = []
    for number, text in enumerate(supplements, 1):
        files.append(folder / f"more-{number}.csv")
        files[-1].write_text(text)
    parts = [{"location": file.name, "format": "google_csv", **lines} for file in files]
    stored = [SupplementFile(file, file.name) for file in files]
    return read(path, store("google_csv", supplements=parts), supplements=stored, batch_size=2)


def test_what_it_says_counts_and_what_it_leaves_blank_stays(tmp_path: Path) -> None:
    result = _read(tmp_path, "id,color,material,sale_price\n 2 ,green,wool,\n3,,silk,25 EUR\n")
    assert result.column("color") == ["red", "green", ""]
    assert result.column("material") == [None, "wool", "silk"]
    assert result.column("sale_price") == [None, None, "25 EUR"]
    assert result.column("title") == ["One", "Two", "Three"]
    assert result.report.recoveries == []


def test_it_creates_no_product(tmp_path: Path) -> None:
    result = _read(tmp_path, "id,color\n1,green\n" + "".join(f"new-{n},x\n" for n in range(9)))
    assert result.column("external_id") == ["1", "2", "3"]
    [recovery] = result.report.recoveries
    assert (recovery.what, recovery.count) == ("supplement rows without a product in the feed", 9)
    assert recovery.places[0] == "more-1.csv, line 3"


def test_rows_that_contradict_each_other_are_not_used(tmp_path: Path) -> None:
    result = _read(tmp_path, "id,color\n1,green\n1,yellow\n2,pink\n2,pink\n")
    assert result.column("color") == ["red", "pink", ""]
    assert result.recovery("differ") == 1


def test_supplements_beyond_their_memory_are_refused(tmp_path: Path) -> None:
    path, more = tmp_path / "feed.csv", tmp_path / "more.csv"
    path.write_text(FEED)
    more.write_text("id,description\n" + "".join(f"{n},{'x' * 1000}\n" for n in range(2_000)))
    told = {"location": "more.csv", "format": "google_csv"}
    given = [SupplementFile(more, "more.csv")]
    assert read(path, store("google_csv", supplements=[told]), supplements=given).column("description")[0]
    with pytest.raises(FeedError, match=r"more.csv, line \d+: .* more than 1 MiB .*`supplements_mib`"):
        read(path, store("google_csv", supplements=[told], supplements_mib=1), supplements=given)


def test_the_memory_of_supplements_is_counted_as_it_is() -> None:
    columns: dict[str, list[Any]] = {
        name: [f"{name} {number}" for number in range(20_000)] for name in ("external_id", "color", "size")
    }
    batch = ItemBatch(
        20_000, columns, list(range(20_000)), [f"line {n}" for n in range(20_000)], lambda _: "{}"
    )
    gc.collect()
    tracemalloc.start()
    rows = SupplementRows(Tally(ReadReport()), 1 << 30)
    rows.add("more", [batch])
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    counted = (1 << 30) - rows._left
    # The values themselves are the batch's, which lives on here.
    held += sum(sys.getsizeof(value) for values in columns.values() for value in values)
    assert 0.8 < counted / held < 1.5


def test_of_two_supplements_the_later_one_counts(tmp_path: Path) -> None:
    result = _read(tmp_path, "id,color,size\n1,green,S\n", "id,color\n1,yellow\n")
    assert result.items[0]["color"] == "yellow"
    assert result.items[0]["size"] == "S"


def test_rows_that_are_broken_or_nameless_are_said(tmp_path: Path) -> None:
    result = _read(tmp_path, "id,color\n1,green\n2,too,many\n,blue\n")
    assert result.column("color") == ["green", "blue", ""]
    assert result.recovery("cannot be read") == 1
    assert result.recovery("without an id") == 1


def test_its_own_mapping(tmp_path: Path) -> None:
    mapping = {"fields": {"external_id": "sku", "material": "stoff"}}
    result = _read(tmp_path, "sku,stoff\n1,wool\n", mapping=mapping)
    assert result.column("material") == ["wool", None, None]


@pytest.mark.parametrize(
    "text", ["", "colour,size\n1,2\n", "id,color\n", "<html><title>Login</title></html>"]
)
def test_one_that_cannot_be_read_refuses_the_feed(tmp_path: Path, text: str) -> None:
    with pytest.raises(FeedError, match=r"^store 'shop': .*\(in the supplement more-1.csv\)$"):
        _read(tmp_path, text)
