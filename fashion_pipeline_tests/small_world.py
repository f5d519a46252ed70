"""Two small stores with drawn pictures, and the real line over them through Dagster, on embedded parts.

Filled once per session; each test gets a copy of its data folder and database, which takes a tenth of a second.
"""

import csv
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from sqlalchemy import text

from fashion_pipeline import parts
from fashion_pipeline.catalog.engine import Database, dispose_shared
from fashion_pipeline.definitions import build_definitions
from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline.demo.garments import Garment, draw
from fashion_pipeline.settings import Settings, load_settings
from fashion_pipeline_tests.conftest import _execute, _sibling

FIRST, SECOND = date(2026, 11, 2), date(2026, 11, 3)
STORES = ("alpha", "beta")
COLUMNS = ("id", "title", "price", "image", "stock", "kind", "group")
LOOKS = (
    Garment("dress", "red", "striped", "white", "long"),
    Garment("skirt", "blue", "solid", None, "short"),
    Garment("bag", "green", "dotted", "yellow", "short"),
    Garment("hat", "black", "solid", None, "regular"),
    Garment("sneakers", "white", "solid", None, "regular"),
    Garment("coat", "brown", "solid", None, "long"),
)

Row = dict[str, str]


class SmallWorld:
    """A data folder, a database and the definitions over them."""

    def __init__(self, data: Path, database_url: str, pictures: Path, **environment: str) -> None:
        self.data, self.database_url, self.pictures = data, database_url, pictures
        (data / "feeds").mkdir(parents=True, exist_ok=True)
        self.feeds_file = data / "feeds.yaml"
        self.environ = {
            "FASHION_PIPELINE_PROFILE": "embedded",
            "FASHION_PIPELINE_DATA": str(data),
            "FASHION_PIPELINE_FEEDS": str(self.feeds_file),
            "FASHION_PIPELINE_FILE_ROOTS": str(pictures),
            "FASHION_PIPELINE_DEVICE": "cpu",
            "DATABASE_URL": database_url,
            **environment,
        }
        self.database = Database(database_url)

    @property
    def settings(self) -> Settings:
        return load_settings(self.environ)

    @cached_property
    def definitions(self) -> dg.Definitions:
        """Built once: what the tests change lies in files and databases, which every run reads anew."""
        return build_definitions(self.environ)

    # The outside world.

    def write_feeds_file(self, **changes: Any) -> None:
        fields = {
            "external_id": "id",
            "title": "title",
            "price": "price",
            "image_url": "image",
            "availability": "stock",
            "product_type": "kind",
            "item_group_id": "group",
        }
        stores = [
            {
                "id": name,
                "format": "delimited",
                "location": f"{{data}}/feeds/{name}-{{date}}.csv",
                "currency": "EUR",
                "mapping": {"fields": fields, "delimiter": ","},
                "images": {"smallest_side": 100},
                **changes.get(name, {}),
            }
            for name in STORES
        ]
        whole = {"first_day": FIRST, "last_day": SECOND, "stores": stores}
        self.feeds_file.write_text(yaml.safe_dump(whole), encoding="utf-8")

    def row(self, store: str, number: int, **values: str) -> Row:
        look = LOOKS[number % len(LOOKS)]
        colours = look.color + (f" {look.pattern}" if look.pattern != "solid" else "")
        return {
            "id": f"{store}-{number}",
            "title": f"{look.length} {colours} {look.kind} {number}",
            "price": f"{10 + number}.00 EUR",
            "image": (self.pictures / f"{number}.png").as_uri(),
            "stock": "in stock",
            "kind": f"Clothing > {look.kind.title()}",
            "group": f"{store}-group-{number}",
        } | values

    def rows(self, store: str, count: int = 12) -> list[Row]:
        return [self.row(store, number) for number in range(count)]

    def feed(self, store: str, day: date, rows: Sequence[Row]) -> Path:
        path = self.data / "feeds" / f"{store}-{day}.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        return path

    # The line.

    def run(
        self,
        job: str,
        *,
        store: str = "alpha",
        day: date = FIRST,
        config: dict[str, Any] | None = None,
        assets: Sequence[str] | None = None,
        instance: dg.DagsterInstance | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job; of the line and of `fill_candidate`, one partition. `assets` narrows it, as in the UI.

        Each run has a Dagster instance of its own, unless one is given.
        """
        keys = {"line": LinePartition(store, day).key, "fill_candidate": store}
        ops = {"ops": {name: {"config": each} for name, each in (config or {}).items()}}
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with nullcontext(instance) if instance else dg.DagsterInstance.ephemeral() as used:
            return self.definitions.resolve_job_def(job).execute_in_process(
                instance=used,
                partition_key=keys.get(job),
                run_config=ops | quiet,
                raise_on_error=False,
                asset_selection=[dg.AssetKey(name) for name in assets] if assets else None,
            )

    # What there is.

    def table(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        with self.database.connection() as connection:
            return [dict(row) for row in connection.execute(text(statement), values).mappings()]

    def products(self, store: str = "alpha") -> dict[str, dict[str, Any]]:
        rows = self.table("SELECT * FROM products WHERE store_id = :store ORDER BY external_id", store=store)
        return {row["external_id"]: row for row in rows}

    def vectors(self) -> Any:
        return parts.open_vectors(self.settings)

    def collection(self) -> str:
        name = self.vectors().alias("products")
        assert name is not None
        return str(name)

    def points(self) -> int:
        return int(self.vectors().count(self.collection()))


def checks(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Name of each check that ran to its evaluation."""
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    """Names of the assets that were materialized, in order."""
    return [event.asset_key.to_user_string() for event in result.get_asset_materialization_events()]


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Plain values of an asset's metadata."""
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def failure(result: dg.ExecuteInProcessResult, asset: str) -> str:
    """What the UI shows for the step that failed."""
    (event,) = [e for e in result.all_events if e.is_step_failure and e.step_key == asset]
    data = event.step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description)


@contextmanager
def fresh_database(postgres_url: str, template: str) -> Iterator[str]:
    """URL of a copy of the database `template`, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _execute(postgres_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield _sibling(postgres_url, name)
    finally:
        dispose_shared()
        _execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def fill(world: SmallWorld) -> None:
    """Both stores on the first day, through the whole line."""
    world.pictures.mkdir(parents=True, exist_ok=True)
    for number in range(12):
        draw(LOOKS[number % len(LOOKS)], seed=number, size=128).save(world.pictures / f"{number}.png")
    world.write_feeds_file()
    assert world.run("collection").success
    for store in STORES:
        world.feed(store, FIRST, world.rows(store))
        result = world.run("line", store=store)
        assert result.success, [e.step_failure_data for e in result.all_events if e.is_step_failure]


@contextmanager
def copied(filled: SmallWorld, template: str, postgres_url: str, folder: Path) -> Iterator[SmallWorld]:
    """A copy of a filled world that a test may change."""
    data = folder / "data"
    shutil.copytree(filled.data, data)
    with fresh_database(postgres_url, template) as url:
        world = SmallWorld(data, url, filled.pictures)
        try:
            yield world
        finally:
            world.database.dispose()
