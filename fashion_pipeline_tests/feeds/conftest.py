"""What the feed tests share: stores, reading to the end, and the real feeds where they exist."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fashion_pipeline.cleaning.cleaner import Cleaner
from fashion_pipeline.cleaning.contract import check_clean_file
from fashion_pipeline.cleaning.run import CleanReport, clean_feed
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.feeds.items import BrokenRecord, ReadReport, Value
from fashion_pipeline.feeds.reading import open_items

REAL_FEEDS = Path(__file__).resolve().parents[2].parent / "shared" / "real" / "feeds"


@dataclass
class Read:
    """A feed read to its end, with the columns of all batches joined."""

    items: list[dict[str, Value]]
    broken: list[BrokenRecord]
    places: list[str]
    records: list[int]
    raws: list[str]
    report: ReadReport

    def column(self, name: str) -> list[Value]:
        return [item.get(name) for item in self.items]

    def recovery(self, words: str) -> int:
        return sum(r.count for r in self.report.recoveries if words in r.what)


def store(format_name: str = "google_csv", **fields: Any) -> StoreConfig:
    """A store of that format."""
    return StoreConfig(**{"id": "shop", "format": format_name, "location": "feed", **fields})


def read(path: Path, config: StoreConfig, **options: Any) -> Read:
    """Read a file to its end; asserts that every record and item is accounted for."""
    reader = open_items(path, config, **options)
    result = Read([], [], [], [], [], reader.report)
    for step in reader:
        if isinstance(step, BrokenRecord):
            result.broken.append(step)
            continue
        assert all(len(column) == step.size for column in step.columns.values())
        assert step.size == len(step.record) == len(step.place)
        for index in range(step.size):
            result.items.append({name: column[index] for name, column in step.columns.items()})
            result.raws.append(step.raw(index))
        result.places.extend(step.place)
        result.records.extend(step.record)
    report = reader.report
    assert report.balanced(), report
    assert report.items == len(result.items)
    assert report.broken == len(result.broken)
    assert report.yielding == len(set(result.records))
    return result


@pytest.fixture
def feed(tmp_path: Path) -> Callable[..., Read]:
    """Write bytes to a file and read them."""

    def write_and_read(data: bytes | str, format_name: str = "google_csv", **fields: Any) -> Read:
        path = tmp_path / "feed"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        options = {
            name: fields.pop(name) for name in ("charset", "content_type", "batch_size") if name in fields
        }
        return read(path, store(format_name, **fields), **options)

    return write_and_read


def real_feed(name: str) -> Path:
    """A real feed, or a skipped test where the real feeds are not beside the project."""
    path = REAL_FEEDS / name
    if not path.is_file():
        pytest.skip(f"real feeds are not beside the project (shared/real/feeds/{name})")
    return path


@dataclass
class Cleaned:
    """A feed read and cleaned to its end: clean rows by id, rejected items in order, and the account."""

    rows: dict[str, dict[str, Any]]
    rejected: list[dict[str, Any]]
    report: CleanReport


def cleaned(folder: Path, path: Path, config: StoreConfig, **options: Any) -> Cleaned:
    """Clean a file; asserts that everything is accounted for and that the rows keep their contract."""
    clean, rejected = folder / f"{path.name}.clean", folder / f"{path.name}.rejected"
    report = clean_feed(
        open_items(path, config, **options),
        Cleaner(config.id, config.currency, config.base_url),
        clean_path=clean,
        rejected_path=rejected,
        deletions_path=folder / f"{path.name}.deletions",
    )
    assert report.accounting_error() is None
    assert check_clean_file(clean, report.clean) == []
    rows = {row["external_id"]: row for row in pq.read_table(clean).to_pylist()}
    assert len(rows) == report.clean
    return Cleaned(rows, pq.read_table(rejected).to_pylist(), report)
