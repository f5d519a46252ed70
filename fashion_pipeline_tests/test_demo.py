"""The demo's world through the command that people type: both days, all stores, then once more.

One full run and one repetition are shared by all tests here; they look at what stands in PostgreSQL, in the
index and in the files, not at what the command printed.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from fashion_pipeline.catalog.embedded_postgres import EmbeddedPostgres
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.demo.feed_files import HELD
from fashion_pipeline.demo.stores import (
    ARRIVALS,
    DAYS,
    DEPARTURES,
    REPLACED_PICTURE,
    SHARED_PICTURE,
    STORES,
    VERSIONED_PICTURE,
    Product,
    products,
    store_named,
)
from fashion_pipeline.demo.world import picture
from fashion_pipeline.embeddings.shards import read_vectors
from fashion_pipeline.ids import sha256_bytes
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.types import Point
from fashion_pipeline.line.points import serving_collection
from fashion_pipeline.storage import DataLocation

pytestmark = pytest.mark.timeout(600)

Rows = list[dict[str, Any]]
#: What must be the same after another run, times of change included.
TABLES = {
    "products": "SELECT * FROM products ORDER BY id",
    "images": "SELECT image_key, sha256, status, url, attempts FROM images ORDER BY image_key",
    "embeddings": "SELECT * FROM embeddings ORDER BY image_sha256",
    "index_entries": "SELECT * FROM index_entries ORDER BY product_id",
    "rejected_products": "SELECT * FROM rejected_products ORDER BY id",
}


@dataclass
class State:
    """Everything that the line left behind."""

    tables: dict[str, Rows]
    points: dict[Any, Point]
    files: dict[str, tuple[int, float]]


@dataclass
class Demo:
    """Two runs of the demo: what each printed and what stood afterwards."""

    folder: Path
    database: Database
    printed: list[str]
    states: list[State]

    def rows(self, sql: str, **parameters: Any) -> Rows:
        with self.database.connection() as connection:
            return [dict(row) for row in connection.execute(text(sql), parameters).mappings()]

    def command(self, *arguments: str) -> str:
        """What the console command prints; it must succeed."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FASHION_PIPELINE_", "DAGSTER", "QDRANT_")) and name != "DATABASE_URL"
        }
        environment |= {
            "FASHION_PIPELINE_PROFILE": "embedded",
            "FASHION_PIPELINE_DATA": str(self.folder),
            "COLUMNS": "200",
        }
        done = subprocess.run(
            [str(Path(sys.executable).with_name("fashion-pipeline")), *arguments],
            cwd=self.folder.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    def pictures(self, names: Iterable[str] | None = None) -> dict[str, set[str]]:
        """Digests of the picture files by store, as they are on the second day."""
        wanted = None if names is None else set(names)
        found: dict[str, set[str]] = {store.id: set() for store in STORES}
        for path in (self.folder / "demo" / "images").glob("*/*"):
            if wanted is None or path.name in wanted:
                found[path.parent.name].add(sha256_bytes(path.read_bytes()))
        return found

    def look(self) -> State:
        store = EdgeStore(self.folder / "qdrant")
        collection = serving_collection(store, "products").collection
        with store.session(collection):
            ids = [id_ for id_, _ in store.scroll(collection)]
            points = store.retrieve(collection, ids, with_vectors=True)
        data = DataLocation(str(self.folder))
        files = {
            entry.key: (entry.size, entry.modified)
            for folder in ("raw", "clean", "rejected", "images", "embeddings", "demo/images", "demo/feeds")
            for entry in data.list(folder)
        }
        return State({name: self.rows(sql) for name, sql in TABLES.items()}, points, files)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo") / "data"
    server = EmbeddedPostgres(folder / "postgres")
    try:
        with server.running():
            made = Demo(folder, Database(server.url("fashion")), [], [])
            for _ in range(2):
                made.printed.append(made.command("demo"))
                made.states.append(made.look())
            yield made
            made.database.dispose()
    finally:
        server.delete()


def group_rows(state: State, product: Product) -> list[dict[str, Any]]:
    """The rows of `products` that show a product's picture."""
    name = product.picture
    return [
        row
        for row in state.tables["products"]
        if row["store_id"] == product.store.id
        and str(row["image_url"]).partition("?")[0].endswith(f"/{product.store.id}/{name}")
        and row["delisted_on"] is None
    ]


def replaced(place: tuple[str, int]) -> tuple[str, str]:
    """Digests of a replaced picture on the first day and on the second."""
    before, after = (sha256_bytes(picture(product_of(place, day))) for day in DAYS)
    return before, after


def product_of(place: tuple[str, int], day: date) -> Product:
    return next(each for each in products(store_named(place[0]), day) if each.number == place[1])


def test_every_store_and_day_is_accounted_for(demo: Demo) -> None:
    found = {
        (row["store_id"], row["day"]): row
        for row in demo.rows("SELECT store_id, day, verdict, outcome, account FROM feed_snapshots")
    }
    assert set(found) == {(store.id, day) for store in STORES for day in DAYS}
    assert {(row["verdict"], row["outcome"]) for row in found.values()} == {("ok", "applied")}
    names = ("items", "clean", "rejected", "duplicates")
    counted = {
        (store, str(day)): tuple(row["account"][name] for name in names)
        for (store, day), row in found.items()
    }
    for store in STORES:
        for day in DAYS:
            sold = sum(len(each.sizes) for each in products(store, day))
            if store.id == "kiyomi":
                sold = len(products(store, day))
            items, clean, rejected, duplicates = counted[store.id, str(day)]
            assert items == clean + rejected + duplicates
            # The held product is sold and has no price: its rows are among the rejected ones.
            if (store.id, day) == (HELD[0], DAYS[1]):
                sold -= len(product_of(HELD, day).sizes)
            extra = {"sunday-market": 1}.get(store.id, 0)  # the row whose picture's address is none is clean
            assert clean == sold + extra, (store.id, day)
            assert rejected > 0
    reasons = Counter(
        reason for row in demo.rows("SELECT reasons FROM rejected_products") for reason in row["reasons"]
    )
    assert len(reasons) >= 5, reasons


def test_the_catalogue_is_that_of_the_second_day(demo: Demo) -> None:
    state = demo.states[0]
    for store in STORES:
        rows = [row for row in state.tables["products"] if row["store_id"] == store.id]
        active = [row for row in rows if row["delisted_on"] is None]
        gone = {each.number for each in products(store, DAYS[0])} - {
            each.number for each in products(store, DAYS[1])
        }
        assert gone == set(DEPARTURES[store.id])
        delisted = [row for row in rows if row["delisted_on"] is not None]
        expected = [each for each in products(store, DAYS[0]) if each.number in gone]
        assert len(delisted) == sum(1 if store.id == "kiyomi" else len(each.sizes) for each in expected)
        assert {row["delisted_on"] for row in delisted} == {DAYS[1]}
        assert {row["first_seen_on"] for row in rows} == set(DAYS)
        groups = {
            row["item_group_id"] or row["external_id"] for row in active if row["first_seen_on"] == DAYS[1]
        }
        assert len(groups) == ARRIVALS[store.id]
    held = [row for row in state.tables["products"] if row["held_since"] is not None]
    product = product_of(HELD, DAYS[0])
    assert {row["external_id"] for row in held} == {
        f"{product.group}-{size.replace(' ', '')}" for size in product.sizes
    }
    assert {row["held_since"] for row in held} == {DAYS[1]}


def test_index_ledger_and_catalogue_agree(demo: Demo) -> None:
    state = demo.states[0]
    active = {
        row["id"]: row
        for row in state.tables["products"]
        if row["delisted_on"] is None and row["image_key"] is not None
    }
    assert len(active) > 500
    assert set(state.points) == set(active), "delisted products left, all others are there"
    assert {row["product_id"] for row in state.tables["index_entries"]} == set(active)
    digests = {row["image_key"]: row["sha256"] for row in state.tables["images"]}
    assert {row["status"] for row in state.tables["images"]} == {"fetched"}
    for id_, point in state.points.items():
        assert point.payload["image_sha256"] == digests[active[id_]["image_key"]]
        assert point.payload["price"] == float(active[id_]["price"])
    by_picture: dict[str, Any] = {}
    for point in state.points.values():
        first = by_picture.setdefault(point.payload["image_sha256"], point.vector)
        assert np.allclose(first, point.vector, atol=1e-6)


def test_each_distinct_picture_was_embedded_once(demo: Demo) -> None:
    state = demo.states[0]
    # The folder holds every picture of both days but for the two that were replaced.
    everything = {digest for digests in demo.pictures().values() for digest in digests}
    everything |= {replaced(place)[0] for place in (REPLACED_PICTURE, VERSIONED_PICTURE)}
    assert len(everything) > 300
    assert {row["image_sha256"] for row in state.tables["embeddings"]} == everything
    shown = [
        group_rows(state, product_of(each, DAYS[1])) for each in (SHARED_PICTURE[:2], SHARED_PICTURE[2:])
    ]
    assert all(shown)
    shared = {state.points[row["id"]].payload["image_sha256"] for rows in shown for row in rows}
    assert len(shared) == 1, "two stores show it, and it is one vector"


@pytest.mark.parametrize("place", [REPLACED_PICTURE, VERSIONED_PICTURE], ids=["same URL", "?v="])
def test_a_replaced_picture_is_a_new_vector_for_its_product_alone(demo: Demo, place: tuple[str, int]) -> None:
    state = demo.states[0]
    old, new = replaced(place)
    assert old != new
    before, now = (product_of(place, day) for day in DAYS)
    ids = {row["id"] for row in group_rows(state, now)}
    assert len(ids) == len(now.sizes)
    shown = {id_: point.payload["image_sha256"] for id_, point in state.points.items()}
    assert {id_ for id_, digest in shown.items() if digest == new} == ids
    assert old not in shown.values()
    # Both pictures were embedded, and the points hold the vector of the new one.
    serving = {row["image_sha256"]: row["shard_key"] for row in state.tables["embeddings"]}
    vectors = dict(read_vectors(DataLocation(str(demo.folder)), [(serving[old], old), (serving[new], new)]))
    assert float(vectors[old] @ vectors[new]) < 0.9999
    for id_ in ids:
        assert np.allclose(state.points[id_].vector, vectors[new], atol=1e-4)
    # Nothing else of the product changed with it.
    if (before.price, before.sold_out) == (now.price, now.sold_out):
        assert {row["snapshot_date"] for row in group_rows(state, now)} == {DAYS[0]}


def test_only_new_pictures_were_embedded_on_the_second_day(demo: Demo) -> None:
    state = demo.states[0]
    first = {
        digest
        for store in STORES
        for digest in demo.pictures(each.picture for each in products(store, DAYS[0]))[store.id]
    }
    new_ids = {row["id"] for row in state.tables["products"] if row["first_seen_on"] == DAYS[1]}
    renewed = {replaced(place)[1] for place in (REPLACED_PICTURE, VERSIONED_PICTURE)}
    for id_, point in state.points.items():
        digest = point.payload["image_sha256"]
        assert digest in first | renewed or id_ in new_ids


def test_a_second_run_changes_nothing(demo: Demo) -> None:
    first, second = demo.states
    for name in TABLES:
        assert second.tables[name] == first.tables[name], name
    assert second.files == first.files, "no file was written or touched"
    assert set(second.points) == set(first.points)
    for id_, point in first.points.items():
        assert second.points[id_].payload == point.payload
        assert np.array_equal(second.points[id_].vector, point.vector)
    assert "nothing changed" in demo.printed[1]
    assert "nothing changed" not in demo.printed[0]
    times = demo.rows("SELECT max(created_at) AS made, max(updated_at) AS changed FROM index_entries")
    assert times[0]["changed"] is not None


def test_dagster_knows_every_run(demo: Demo) -> None:
    dagster = Database(EmbeddedPostgres(demo.folder / "postgres").url("dagster"))
    try:
        with dagster.connection() as connection:
            runs = connection.execute(
                text("SELECT pipeline_name, status, count(*) FROM runs GROUP BY 1, 2 ORDER BY 1")
            ).all()
    finally:
        dagster.dispose()
    assert {(name, status): count for name, status, count in runs} == {
        ("collection", "SUCCESS"): 2,
        ("health", "SUCCESS"): 2,
        ("line", "SUCCESS"): 2 * len(STORES) * len(DAYS),
        ("quality", "SUCCESS"): 2,
    }


def test_the_search_finds_what_the_words_say(demo: Demo, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    hits = json.loads(demo.command("search", "red striped dress", "--json", "--out", str(sheet)))
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert len(hits) == 10
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    assert len({hit["item_group_id"] for hit in hits}) == 10, "sizes are one result"
    titles = [hit["title"].lower() for hit in hits[:5]]
    said = [sum(word in title for title in titles) for word in ("red", "striped", "dress")]
    assert min(said) >= 3, titles
    assert sum(said) >= 11, titles


def test_reconcile_and_doctor_say_that_all_is_well(demo: Demo) -> None:
    assert "differs" not in demo.command("index", "reconcile")
    demo.command("doctor")
