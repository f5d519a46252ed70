"""After the last write of a run the points are counted against the ledger, on every engine."""

import logging
import uuid
from pathlib import Path

import pytest

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import Point
from fashion_pipeline.line.points import Counted, PointsReport, prepare_collection, write_points
from fashion_pipeline.line.reconcile import repair_store
from fashion_pipeline_tests.index.conftest import store
from fashion_pipeline_tests.line.conftest import DAY, item
from fashion_pipeline_tests.line.shops import Shop, vector_of

__all__ = ["store"]


@pytest.fixture
def shop(database: Database, tmp_path: Path, demo_model: str, store: VectorStore) -> Shop:
    """A store of twelve products with vectors, and a collection of this test's own without points."""
    shop = Shop(database, tmp_path / "parts", model=demo_model)
    shop._serving = prepare_collection(
        database,
        store,
        alias=f"test-{uuid.uuid4().hex[:12]}",
        model_ref=demo_model,
        pipeline_version="test",
    ).serving
    shop.run(DAY, [item(number, image=shop.picture(number)) for number in range(12)])
    shop.images(DAY)
    shop.invent_vectors()
    return shop


def bring(shop: Shop, store: VectorStore) -> PointsReport:
    return write_points(shop.database, shop.data, store, shop.name, serving=shop.collection())


def test_what_was_written_is_counted_and_an_unchanged_run_counts_nothing(
    shop: Shop, store: VectorStore, caplog: pytest.LogCaptureFixture
) -> None:
    # Another store's points are not this one's.
    store.upsert(shop.collection().collection, [Point(uuid.uuid4(), vector_of("ab" * 32), {"store_id": "x"})])
    report = bring(shop, store)
    assert report.counted == Counted("shop", shop.collection().collection, 12, 12)
    assert report.counted.agrees
    assert bring(shop, store).counted is None
    shop.execute("UPDATE products SET delisted_on = now() WHERE external_id = 'sku-1'")
    report = bring(shop, store)
    assert report.deleted == 1
    assert report.counted == Counted("shop", shop.collection().collection, 11, 11)
    assert caplog.records == []


@pytest.mark.parametrize(("planted", "points"), [("lost", 10), ("stray", 13)])
def test_a_collection_that_has_not_what_it_acknowledged_is_told_of(
    shop: Shop, store: VectorStore, planted: str, points: int, caplog: pytest.LogCaptureFixture
) -> None:
    collection = shop.collection().collection
    bring(shop, store)
    ids = shop.ids()
    if planted == "lost":
        store.delete(collection, [ids["sku-3"], ids["sku-4"]])
    else:
        store.upsert(collection, [Point(uuid.uuid4(), vector_of("ab" * 32), {"store_id": "shop"})])
    shop.execute("UPDATE products SET content_hash = md5(content_hash) WHERE external_id = 'sku-0'")
    with caplog.at_level(logging.WARNING, logger="fashion_pipeline.line.points"):
        report = bring(shop, store)
    assert report.payloads_updated == 1
    assert report.counted == Counted("shop", collection, points, 12)
    (record,) = caplog.records
    assert f"has {points} points of store shop and acknowledged 12" in record.getMessage()
    assert f"index reconcile --collection {collection} --store shop --repair" in record.getMessage()
    mended = repair_store(shop.database, shop.data, store, "shop", serving=shop.collection())
    assert mended.after.agrees
    shop.execute("UPDATE products SET content_hash = md5(content_hash) WHERE external_id = 'sku-0'")
    found = bring(shop, store).counted
    assert found is not None
    assert found.agrees
