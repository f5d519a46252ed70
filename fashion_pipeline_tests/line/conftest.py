"""A small world: one store whose dated CSV feed a test writes, and the stages run on it."""

import csv
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fashion_pipeline.catalog.apply import ApplyReport
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.models import RejectedProduct
from fashion_pipeline.catalog.rejected import rejected_items
from fashion_pipeline.catalog.snapshots import require_snapshot
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.line.apply import apply_products
from fashion_pipeline.line.capture import CaptureReport, capture_feed
from fashion_pipeline.line.clean import Acceptance, CleanStageReport, clean_snapshot
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline.storage import DataLocation

FIELDS = {
    "external_id": "id",
    "title": "title",
    "price": "price",
    "image_url": "image",
    "availability": "stock",
}
DAY = date(2026, 11, 2)


class World:
    """A store with a dated feed, and the line's first three stages."""

    def __init__(self, database: Database, data: DataLocation, folder: Path, **settings: Any) -> None:
        self.database, self.data, self.folder = database, data, folder
        folder.mkdir(exist_ok=True)
        self.policy = AddressPolicy(file_roots=(folder,))
        self.store = StoreConfig.model_validate(
            {
                "id": "shop",
                "format": "delimited",
                "location": str(folder / "feed-{date}.csv"),
                "currency": "EUR",
                "mapping": {"fields": FIELDS, "delimiter": ","},
                **settings,
            }
        )

    def path(self, day: date) -> Path:
        return self.folder / f"feed-{day}.csv"

    def feed(self, day: date, rows: Sequence[Mapping[str, str]]) -> None:
        with self.path(day).open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(FIELDS.values()), restval="")
            writer.writeheader()
            writer.writerows(rows)

    def capture(self, day: date, *, refetch: bool = False, now: datetime | None = None) -> CaptureReport:
        return capture_feed(
            self.database,
            self.data,
            self.store,
            day,
            policy=self.policy,
            user_agent="tests",
            refetch=refetch,
            now=now,
        )

    def clean(self, day: date, acceptance: Acceptance | None = None) -> CleanStageReport:
        return clean_snapshot(self.database, self.data, self.store, day, acceptance=acceptance)

    def apply(self, day: date) -> ApplyReport:
        return apply_products(self.database, self.data, self.store, day)

    def run(self, day: date, rows: Sequence[Mapping[str, str]] | None = None) -> ApplyReport:
        if rows is not None:
            self.feed(day, rows)
        self.capture(day)
        self.clean(day)
        return self.apply(day)

    def rejected(self, day: date, *, reason: str | None = None) -> Sequence[RejectedProduct]:
        with self.database.connection() as connection:
            snapshot = require_snapshot(connection, self.store.id, day)
        return rejected_items(self.database, snapshot, reason=reason)[0]

    def products(self) -> dict[str, dict[str, Any]]:
        with self.database.connection() as connection:
            rows = connection.execute(text("SELECT * FROM products ORDER BY external_id")).mappings()
            return {row["external_id"]: dict(row) for row in rows}

    def state(self) -> list[tuple[Any, ...]]:
        """Everything of every product but ids and times."""
        return [
            tuple(value for name, value in row.items() if name not in {"id", "created_at", "updated_at"})
            for row in self.products().values()
        ]


def item(number: int | str, **values: str) -> dict[str, str]:
    """A row of the feed that is right, but for `values`."""
    row = {
        "id": f"sku-{number}",
        "title": f"Dress {number}",
        "price": "10.00 EUR",
        "image": f"https://cdn.example/{number}.jpg",
        "stock": "in stock",
    }
    return row | values


def items(count: int, **values: str) -> list[dict[str, str]]:
    return [item(number, **values) for number in range(count)]


@pytest.fixture
def world(database: Database, data: DataLocation, tmp_path: Path) -> World:
    return World(database, data, tmp_path / "feeds")


@pytest.fixture(scope="session")
def empty_index(tmp_path_factory: pytest.TempPathFactory, demo_model: str) -> Path:
    """An embedded index with an empty serving collection: copying it is faster than making its indexes."""
    from fashion_pipeline.embeddings.spec import read_spec
    from fashion_pipeline.index.collection import collection_name
    from fashion_pipeline.index.edge import EdgeStore
    from fashion_pipeline.index.types import CollectionSpec

    folder = tmp_path_factory.mktemp("index") / "qdrant"
    model = read_spec(demo_model).image_model_id
    spec = CollectionSpec(collection_name("products", model), model, demo_model, "test")
    store = EdgeStore(folder)
    store.ensure_collection(spec)
    store.set_alias("products", spec.name)
    return folder
