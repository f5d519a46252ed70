"""Batches built by hand, and a reader that gives them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fashion_pipeline.cleaning.cleaner import Cleaner
from fashion_pipeline.cleaning.run import CleanReport, clean_feed
from fashion_pipeline.feeds.items import BrokenRecord, ItemBatch, ReadReport

GOOD: dict[str, Any] = {
    "external_id": "a-1",
    "title": "Striped Dress",
    "description": "A dress.",
    "price": "45.00 EUR",
    "image_url": "https://cdn.shop.example/a-1.jpg?v=1748264665",
    "product_url": "https://shop.example/p/a-1",
    "color": "Rot",
    "size": "38",
    "availability": "in stock",
}


def item(**changes: Any) -> dict[str, Any]:
    """A good item with changes; None takes a field away."""
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not None}


def batch(items: Sequence[dict[str, Any]], first_record: int = 1) -> ItemBatch:
    names = dict.fromkeys(name for one in items for name in one)
    return ItemBatch(
        size=len(items),
        columns={name: [one.get(name) for one in items] for name in names},
        record=[first_record + i for i in range(len(items))],
        place=[f"line {first_record + i}" for i in range(len(items))],
        raw=lambda i: json.dumps({k: str(v) for k, v in items[i].items()}, ensure_ascii=False),
    )


class ListReader:
    """Gives parts in their order and accounts for them as a reader does."""

    def __init__(
        self, parts: Sequence[ItemBatch | BrokenRecord], context: dict[str, int] | None = None
    ) -> None:
        self.parts = parts
        self.report = ReadReport(context=context or {}, records=sum((context or {}).values()))

    def __iter__(self) -> Iterator[ItemBatch | BrokenRecord]:
        for part in self.parts:
            if isinstance(part, ItemBatch):
                self.report.records += part.size
                self.report.yielding += part.size
                self.report.items += part.size
            else:
                self.report.records += 1
                self.report.broken += 1
            yield part


class Outcome:
    """What `clean_feed` left behind."""

    def __init__(self, report: CleanReport, folder: Path) -> None:
        self.report = report
        self.clean_path = folder / "clean.parquet"
        self.clean = pq.read_table(self.clean_path).to_pylist()
        self.rejected = pq.read_table(folder / "rejected.parquet").to_pylist()
        deletions = folder / "deletions.parquet"
        self.deletions = pq.read_table(deletions).to_pylist() if deletions.exists() else []


def run_parts(
    folder: Path, parts: Sequence[ItemBatch | BrokenRecord], cleaner: Cleaner | None = None, **context: int
) -> Outcome:
    report = clean_feed(
        ListReader(parts, context),
        cleaner or Cleaner("shop", "EUR", "https://shop.example/"),
        clean_path=folder / "clean.parquet",
        rejected_path=folder / "rejected.parquet",
        deletions_path=folder / "deletions.parquet",
    )
    assert report.accounting_error() is None
    return Outcome(report, folder)


def run_items(folder: Path, *items: dict[str, Any], cleaner: Cleaner | None = None) -> Outcome:
    return run_parts(folder, [batch(items)] if items else [], cleaner)


def clean_one(cleaner: Cleaner | None = None, **changes: Any) -> dict[str, Any]:
    """The clean row of one good item with changes."""
    cleaned = (cleaner or Cleaner("shop", "EUR", "https://shop.example/")).clean(batch([item(**changes)]))
    assert cleaned.rejected.num_rows == 0, cleaned.rejected.to_pylist()
    (row,) = cleaned.rows.to_pylist()
    return dict(row)


def reject_one(cleaner: Cleaner | None = None, **changes: Any) -> dict[str, Any]:
    """The rejection of one good item with changes."""
    cleaned = (cleaner or Cleaner("shop", "EUR", "https://shop.example/")).clean(batch([item(**changes)]))
    assert cleaned.rows.num_rows == 0, cleaned.rows.to_pylist()
    (row,) = cleaned.rejected.to_pylist()
    return dict(row)
