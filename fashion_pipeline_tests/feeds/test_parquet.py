"""Parquet: exact numbers, ids that were floats, nulls, packed files."""

import datetime as dt
import gzip
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_pipeline.errors import FeedError
from fashion_pipeline_tests.feeds.conftest import read, store

OWN: dict[str, Any] = {
    "fields": {"external_id": "id", "title": "title", "price": "price", "additional_image_urls": "images",
               "gtin": "gtin", "availability": "stock", "brand": "brand"},
}  # fmt: skip


def _parquet(columns: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def _values(count: int = 3, **columns: Any) -> bytes:
    return _parquet({"id": [f"p{n}" for n in range(count)], "title": ["t"] * count, **columns})


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        (pa.array([28.99, 0.1, None]), ["28.99", "0.1", None]),
        (pa.array([28.99, 1e-7, 1e22], pa.float32()), ["28.99", "0.0000001", "10000000000000000000000"]),
        (pa.array([float("nan"), float("inf"), 5.0]), [None, None, "5.0"]),
        (
            pa.array([Decimal("19.90"), None, Decimal("1E+2")], pa.decimal128(10, 2)),
            ["19.90", None, "100.00"],
        ),
        (pa.array([1, None, 2**62]), ["1", None, str(2**62)]),
        (pa.array(["", "null", " 5 EUR "]), ["", "null", " 5 EUR "]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([dt.date(2026, 11, 2)] * 3), ["2026-11-02"] * 3),
        (pa.array([b"x", b"\xff", None]), ["x", "\ufffd", None]),
        (pa.array([{"v": 1}, None, {"v": None}]), ['{"v": 1}', None, '{"v": null}']),
    ],
)
def test_values_as_text(feed, array: pa.Array, texts: list[Any]) -> None:
    assert feed(_values(price=array), "parquet", mapping=OWN).column("price") == texts


def test_lists(feed) -> None:
    data = _values(images=[["https://x/1", None, "https://x/2"], [], None])
    result = feed(data, "parquet", mapping=OWN)
    assert result.column("additional_image_urls") == [["https://x/1", "https://x/2"], [], []]


def test_ids_that_were_floats(feed) -> None:
    data = _parquet(
        {
            "id": [1.0, 7817153052811.0, None, 2.0**54, 1.5],
            "title": list("abcde"),
            "gtin": [4.0, None, 5.0, 6.0, 7.0],
        }
    )
    result = feed(data, "parquet", mapping=OWN)
    assert result.column("external_id") == ["1", "7817153052811", None]
    assert result.column("gtin") == ["4", None, "5"]
    assert result.column("title") == ["a", "b", "c"]
    assert [(b.place, b.reason[:40]) for b in result.broken] == [
        ("row 4", "id is stored as a binary float and may h"),
        ("row 5", "id is stored as a binary float and may h"),
    ]  # fmt: skip
    assert result.places == ["row 1", "row 2", "row 3"]
    assert '"title": "c"' in result.raws[2]


def test_row_groups_and_batches(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(_parquet({"id": list(range(50)), "title": ["t"] * 50}, row_group_size=9))
    result = read(path, store("parquet", mapping=OWN), batch_size=4)
    assert result.column("external_id") == [str(n) for n in range(50)]
    assert result.records == list(range(1, 51))
    assert result.places == [f"row {n}" for n in range(1, 51)]


def test_packed(feed) -> None:
    result = feed(gzip.compress(_values()), "parquet", mapping=OWN)
    assert result.column("external_id") == ["p0", "p1", "p2"]
    assert result.report.compression == "gzip"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_values()[:-4], "no whole Parquet file.*truncated"),
        (_values()[:200], "truncated"),
        (b"PAR1" + b"\0" * 100 + b"PAR1", "cannot be read as parquet"),
        (_values(0), "0 products"),
        (_parquet({"sku": ["1"], "title": ["x"]}), "needs a column for external_id .id.; found: sku, title"),
        (b"id,title\n1,x\n", "looks like text"),
    ],
)
def test_refused(feed, data: bytes, words: str) -> None:
    with pytest.raises(FeedError, match=f"^store 'shop': .*{words}"):
        feed(data, "parquet", mapping=OWN)
