"""The contract check sees every alteration of the file on disk."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_pipeline.cleaning.contract import check_clean_file
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA
from fashion_pipeline_tests.cleaning.support import item, run_items


@pytest.fixture
def path(tmp_path: Path) -> Path:
    items = [
        item(external_id=f"a-{i}", sale_price="40", sale_price_effective_date="2026-11-01/2026-12-01")
        for i in range(3)
    ]
    return run_items(tmp_path, *items).clean_path


def alter(path: Path, row: int, **changes: Any) -> None:
    rows = pq.read_table(path).to_pylist()
    rows[row].update(changes)
    loose = pa.schema([field.with_nullable(True) for field in CLEAN_SCHEMA])
    pq.write_table(pa.Table.from_pylist(rows, schema=loose), path)


def test_a_clean_file_keeps_it(path: Path) -> None:
    assert check_clean_file(path, 3) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"price": Decimal(0)}, "price is not above zero: 1 rows, e.g. 'a-1' (line 2)"),
        ({"price": Decimal(-5)}, "price is not above zero"),
        ({"sale_price": Decimal(45)}, "sale_price is not between zero and price"),
        ({"sale_price": Decimal(0)}, "sale_price is not between zero and price"),
        ({"currency": "ECU"}, "currency is no ISO 4217 code"),
        ({"title": None}, "null in required column 'title'"),
        ({"price": None}, "null in required column 'price'"),
        ({"external_id": None}, "null in required column 'external_id'"),
        ({"content_hash": None}, "null in required column 'content_hash'"),
        ({"content_hash": "x"}, "content_hash is no hash"),
        ({"external_id": "a-0"}, "external_id is not unique: 1 rows repeat an earlier id"),
        ({"sale_ends_at": datetime(2026, 1, 1, tzinfo=UTC)}, "sale window ends before it starts"),
        ({"title": "Altered"}, "content_hash does not fit the content"),
        ({"image_key": None}, "content_hash does not fit the content"),
        ({"additional_image_urls": ["https://a.com/x.jpg"]}, "content_hash does not fit the content"),
    ],
)
def test_an_altered_row_is_seen(path: Path, changes: dict[str, Any], message: str) -> None:
    alter(path, 1, **changes)
    assert any(violation.startswith(message) for violation in check_clean_file(path, 3))


def test_a_missing_row_is_seen(path: Path) -> None:
    assert check_clean_file(path, 4) == ["3 rows, expected 4"]


def test_another_schema_is_seen(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["price"]).append_column("extra", pa.array([1, 2, 3])), path)
    assert check_clean_file(path, 3) == [
        "column 'price' is missing",
        "column 'extra' is not part of the schema",
    ]
    prices = pa.array([1.5, 2.5, 3.5])
    pq.write_table(table.set_column(table.column_names.index("price"), "price", prices), path)
    assert check_clean_file(path, 3) == ["column 'price' is double, expected decimal128(18, 4)"]


def test_a_damaged_file_is_seen(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert check_clean_file(path, 3)[0].startswith("the file cannot be read as Parquet")
    middle = bytearray(data)
    middle[100:400] = bytes(300)
    path.write_bytes(bytes(middle))
    assert check_clean_file(path, 3) != []
    assert check_clean_file(tmp_path / "none.parquet", 3)[0].startswith("the file cannot be read as Parquet")
