"""`product_points`: the index follows PostgreSQL by what changed, and reconcile mends what it did not see."""

import shutil
import uuid
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.points import expected_points
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.index.payload import PAYLOAD_VERSION
from fashion_pipeline.index.reconcile import DifferenceKind, ReconcileReport
from fashion_pipeline.index.types import Point
from fashion_pipeline.line.points import PointsReport, prepare_collection
from fashion_pipeline.line.reconcile import RepairReport, reconcile_store, repair_store
from fashion_pipeline_tests.line.conftest import DAY, item
from fashion_pipeline_tests.line.shops import (
    ALIAS,
    Shop,
    copy_sparse,
    jpeg,
    kill_when_stuck,
    same_vector,
    sha256,
    vector_of,
)

COUNT = 20


def after(days: int) -> date:
    return DAY + timedelta(days=days)


@pytest.fixture
def shop(database: Database, tmp_path: Path, demo_model: str, empty_index: Path) -> Shop:
    copy_sparse(empty_index, tmp_path / "parts" / "qdrant")
    return Shop(database, tmp_path / "parts", model=demo_model, images={"recheck_after_days": 1})


def stock(shop: Shop, count: int = COUNT) -> list[dict[str, str]]:
    return [item(number, image=shop.picture(number)) for number in range(count)]


def written(report: PointsReport) -> tuple[int, int, int, int]:
    return report.inserted, report.vectors_updated, report.payloads_updated, report.deleted


def check_agreement(shop: Shop) -> None:
    """Index, ledger and tables say the same, vectors included."""
    serving = shop.collection()
    wanted = {
        id_: (payload_hash, digest)
        for id_, payload_hash, digest, _ in expected_points(
            shop.database, serving.collection, serving.model_id, [shop.name], payload_version=PAYLOAD_VERSION
        )
    }
    ledger = {row["product_id"]: (row["payload_hash"], row["image_sha256"]) for row in shop.entries()}
    with shop.index.session(serving.collection):
        points = shop.indexed()
        assert reconcile_store(shop.database, shop.index, shop.name, serving=serving).agrees
    index = {
        point.id: (point.payload["payload_hash"], point.payload["image_sha256"]) for point in points.values()
    }
    assert ledger == wanted
    assert index == wanted
    assert all(same_vector(point, point.payload["image_sha256"]) for point in points.values())


def test_a_point_per_product_with_its_vector_and_what_a_ranking_service_filters_by(shop: Shop) -> None:
    rows = stock(shop)
    rows[3] |= {"title": "Robe d'été", "price": "12.50 EUR", "stock": "out of stock"}
    report = shop.bring(DAY, rows)
    assert written(report) == (COUNT, 0, 0, 0)
    assert (report.counts.active, report.counts.indexed) == (COUNT, COUNT)
    check_agreement(shop)
    points = shop.indexed()
    assert {name: point.id for name, point in points.items()} == shop.ids()
    payload = points["sku-3"].payload
    assert (payload["title"], payload["price"], payload["currency"]) == ("Robe d'été", 12.5, "EUR")
    assert (payload["store_id"], payload["availability"]) == ("shop", "out_of_stock")
    assert (payload["image_url"], payload["image_sha256"]) == (rows[3]["image"], sha256(jpeg(3)))


def test_an_unchanged_run_writes_nothing(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    entries, before = shop.entries(), shop.index.points_written
    assert before == COUNT
    assert written(shop.points()) == (0, 0, 0, 0)
    assert written(shop.bring(after(1), rows)) == (0, 0, 0, 0)
    assert shop.index.points_written == before
    assert shop.entries() == entries


def test_a_price_is_a_payload_update_and_the_vector_is_not_sent(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    # A vector that nothing but sending it again would change.
    serving, changed = shop.collection(), shop.ids()["sku-4"]
    marked = vector_of("ab" * 32)
    shop.index.upsert(serving.collection, [Point(changed, marked, shop.indexed()["sku-4"].payload)])
    before = shop.index.points_written
    report = shop.bring(after(1), [*rows[:4], item(4, image=rows[4]["image"], price="7.00 EUR"), *rows[5:]])
    assert written(report) == (0, 0, 1, 0)
    assert shop.index.points_written - before == 1
    point = shop.indexed()["sku-4"]
    assert point.payload["price"] == 7.0
    assert point.vector is not None
    assert np.allclose(point.vector, marked, atol=1e-4)


def test_a_new_picture_is_a_new_vector_and_the_old_one_stays_until_it_is_there(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    rows[5] = item(5, image=shop.picture("other", jpeg(500)), price="8.00 EUR")
    shop.run(after(1), rows)
    # Not fetched yet, then fetched and not embedded yet: what else changed is told, the picture stands.
    assert written(shop.points()) == (0, 0, 1, 0)
    shop.images(after(1))
    assert written(shop.points()) == (0, 0, 0, 0)
    waiting = shop.indexed()["sku-5"]
    assert same_vector(waiting, sha256(jpeg(5)))
    assert (waiting.payload["image_sha256"], waiting.payload["price"]) == (sha256(jpeg(5)), 8.0)
    assert shop.points().counts.without_vector == 1
    assert reconcile_store(shop.database, shop.index, "shop", serving=shop.collection()).agrees
    assert shop.invent_vectors() == 1
    assert written(shop.points()) == (0, 1, 0, 0)
    assert same_vector(shop.indexed()["sku-5"], sha256(jpeg(500)))
    check_agreement(shop)


def test_other_bytes_behind_the_same_address_are_a_new_vector(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    shop.picture("6", jpeg(600))
    assert written(shop.bring(after(1), rows)) == (0, 1, 0, 0)
    assert same_vector(shop.indexed()["sku-6"], sha256(jpeg(600)))
    check_agreement(shop)


def test_a_tombstone_leaves_the_index_and_returns_without_a_new_embedding(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    id_ = shop.ids()["sku-0"]
    assert written(shop.bring(after(1), rows[1:])) == (0, 0, 0, 1)
    assert "sku-0" not in shop.indexed()
    assert id_ not in {entry["product_id"] for entry in shop.entries()}
    check_agreement(shop)
    shards = shop.shards()
    shop.run(after(2), rows)
    shop.images(after(2))
    assert shop.invent_vectors() == 0
    assert written(shop.points()) == (1, 0, 0, 0)
    assert (shop.indexed()["sku-0"].id, shop.shards()) == (id_, shards)
    check_agreement(shop)


def test_a_product_that_loses_its_picture_leaves_the_index(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    report = shop.bring(after(1), [item(0, image=""), *rows[1:]])
    assert written(report) == (0, 0, 0, 1)
    assert "sku-0" not in shop.indexed()
    assert (report.counts.active, report.counts.without_picture) == (COUNT, 1)
    check_agreement(shop)


def test_a_held_product_keeps_its_point_as_it_was(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    before = shop.indexed()["sku-2"]
    report = shop.bring(after(1), [*rows[:2], rows[2] | {"price": "ask us"}, *rows[3:]])
    assert written(report) == (0, 0, 0, 0)
    assert shop.indexed()["sku-2"].payload == before.payload


def test_a_picture_that_fails_later_keeps_the_point(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    (shop.pictures / "3.jpg").unlink()
    assert written(shop.bring(after(1), rows)) == (0, 0, 0, 0)
    assert shop.image_rows()["3.jpg"]["status"] == "failed_permanent"
    assert same_vector(shop.indexed()["sku-3"], sha256(jpeg(3)))


def test_stores_share_the_index_and_each_writes_its_own(shop: Shop) -> None:
    rows = stock(shop, 10)
    shop.bring(DAY, rows)
    other = Shop(shop.database, shop.parts, "other", model=shop.model)
    report = other.bring(DAY, rows)
    assert written(report) == (10, 0, 0, 0)
    assert set(shop.indexed()) == set(other.indexed())
    assert not {point.id for point in shop.indexed().values()} & {
        point.id for point in other.indexed().values()
    }
    assert written(other.bring(after(1), rows[1:])) == (0, 0, 0, 1)
    assert (len(shop.indexed()), len(other.indexed())) == (10, 9)
    check_agreement(other)
    check_agreement(shop)


# -- crashes


def test_killed_between_the_acknowledgement_and_the_ledger(shop: Shop) -> None:
    rows = stock(shop)
    shop.run(DAY, rows)
    shop.images(DAY)
    shop.invent_vectors()
    shop.collection()
    kill_when_stuck(shop, "points", "index_entries")
    assert len(shop.indexed()) == COUNT, "the index had acknowledged the batch"
    assert shop.entries() == []
    assert written(shop.points()) == (COUNT, 0, 0, 0)
    check_agreement(shop)
    assert shop.index.count(shop.collection().collection) == COUNT
    assert written(shop.points()) == (0, 0, 0, 0)


def test_a_batch_that_is_repeated_does_no_harm(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    before = shop.indexed()
    shop.execute("DELETE FROM index_entries WHERE image_sha256 < '8'")
    lost = COUNT - len(shop.entries())
    assert 0 < lost < COUNT
    assert written(shop.points()) == (lost, 0, 0, 0)
    check_agreement(shop)
    assert {name: point.payload for name, point in shop.indexed().items()} == {
        name: point.payload for name, point in before.items()
    }


def test_a_delete_that_the_ledger_missed_is_repeated(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    shop.run(after(1), rows[2:])
    ids = shop.ids()
    shop.index.delete(shop.collection().collection, [ids["sku-0"]])
    assert written(shop.points()) == (0, 0, 0, 2)
    check_agreement(shop)


# -- reconcile


def mend(shop: Shop, **expected: int) -> RepairReport:
    """Reconcile finds exactly these, repair mends them, and a run afterwards has nothing to do."""
    serving = shop.collection()
    found = reconcile_store(shop.database, shop.index, shop.name, serving=serving)
    check_counts(found, expected)
    report = repair_store(shop.database, shop.data, shop.index, shop.name, serving=serving)
    check_counts(report.before, expected)
    assert report.after.agrees
    check_agreement(shop)
    before = shop.index.points_written
    assert written(shop.points()) == (0, 0, 0, 0)
    assert shop.index.points_written == before
    return report


def check_counts(found: ReconcileReport, expected: dict[str, int]) -> None:
    assert {kind: count for kind, count in found.counts.items() if count} == expected
    assert found.agrees is (not expected)


def test_reconcile_finds_nothing_where_nothing_is_wrong(shop: Shop) -> None:
    shop.bring(DAY, stock(shop))
    before = shop.index.points_written
    report = mend(shop)
    assert (report.removed, shop.index.points_written) == (0, before)


def test_a_point_deleted_behind_the_ledger_comes_back(shop: Shop) -> None:
    shop.bring(DAY, stock(shop))
    ids = shop.ids()
    shop.index.delete(shop.collection().collection, [ids["sku-1"], ids["sku-2"]])
    assert written(shop.points()) == (0, 0, 0, 0), "the ledger does not know"
    mend(shop, missing=2)


def test_a_lost_collection_is_filled_from_the_shards(shop: Shop) -> None:
    shop.bring(DAY, stock(shop))
    shards = shop.shards()
    shutil.rmtree(shop.parts / "qdrant")
    prepare_collection(shop.database, shop.index, alias=ALIAS, model_ref=shop.model, pipeline_version="test")
    assert shop.indexed() == {}
    report = mend(shop, missing=COUNT)
    assert report.points.inserted + report.points.payloads_updated == COUNT
    assert shop.shards() == shards


def test_a_collection_that_its_alias_outlived_is_made_anew(shop: Shop) -> None:
    shop.bring(DAY, stock(shop))
    collection = shop.collection().collection
    shutil.rmtree(shop.parts / "qdrant" / "collections" / collection)
    report = prepare_collection(
        shop.database, shop.index, alias=ALIAS, model_ref=shop.model, pipeline_version="test"
    )
    assert (report.created, report.serving.collection) == (True, collection)
    mend(shop, missing=COUNT)


def test_an_orphan_goes(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    gone = shop.indexed()["sku-0"]
    shop.bring(after(1), rows[1:])
    collection = shop.collection().collection
    # A restored collection: the point of a product that left, and one of a row that never was.
    shop.index.upsert(collection, [gone, Point(uuid.uuid4(), gone.vector, gone.payload)])
    assert mend(shop, orphaned=2).removed == 2


def test_a_stale_payload_is_written_again_without_its_vector(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    old = shop.indexed()["sku-3"].payload
    shop.bring(after(1), [*rows[:3], rows[3] | {"price": "7.00 EUR"}, *rows[4:]])
    shop.index.set_payload(shop.collection().collection, {shop.ids()["sku-3"]: old})
    report = mend(shop, stale_payload=1)
    assert written(report.points) == (0, 0, 1, 0)
    assert shop.indexed()["sku-3"].payload["price"] == 7.0


def test_a_stale_vector_is_written_again(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    old = shop.indexed()["sku-3"]
    shop.picture("3", jpeg(300))
    shop.bring(after(1), rows)
    shop.index.upsert(shop.collection().collection, [old])
    mend(shop, stale_vector=1)
    assert same_vector(shop.indexed()["sku-3"], sha256(jpeg(300)))


def test_a_stale_vector_is_mended_while_the_new_picture_is_awaited(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    shop.picture("3", jpeg(300))
    shop.run(after(1), rows)
    shop.images(after(1))
    point = shop.indexed()["sku-3"]
    wrong = point.payload | {"image_sha256": "f" * 64}
    shop.index.upsert(shop.collection().collection, [Point(point.id, vector_of("f" * 64), wrong)])
    mend(shop, stale_vector=1)
    assert same_vector(shop.indexed()["sku-3"], sha256(jpeg(3))), (
        "the old picture's, until the new one is there"
    )


def test_a_foreign_point_under_the_stores_name_goes(shop: Shop) -> None:
    shop.bring(DAY, stock(shop))
    foreign = Point(uuid.uuid4(), vector_of("cd" * 32), {"store_id": "shop", "external_id": "who?"})
    shop.index.upsert(shop.collection().collection, [foreign])
    assert mend(shop, foreign=1).removed == 1


def test_every_kind_at_once(shop: Shop) -> None:
    rows = stock(shop)
    shop.bring(DAY, rows)
    old = shop.indexed()
    shop.picture("3", jpeg(300))
    shop.bring(after(1), [*rows[1:2], rows[2] | {"price": "7.00 EUR"}, *rows[3:], item(99)])
    collection, ids = shop.collection().collection, shop.ids()
    shop.index.upsert(collection, [old["sku-0"], old["sku-3"]])
    shop.index.set_payload(collection, {ids["sku-2"]: old["sku-2"].payload})
    shop.index.delete(collection, [ids["sku-4"]])
    shop.index.upsert(collection, [Point(uuid.uuid4(), old["sku-5"].vector, {"store_id": "shop"})])
    kinds = {str(kind): 1 for kind in DifferenceKind}
    report = mend(shop, **kinds)
    assert report.removed == 2


def test_repairing_one_store_leaves_the_others_alone(shop: Shop) -> None:
    rows = stock(shop, 5)
    shop.bring(DAY, rows)
    other = Shop(shop.database, shop.parts, "other", model=shop.model)
    other.bring(DAY, rows)
    collection = shop.collection().collection
    shop.index.delete(collection, [shop.ids()["sku-1"], other.ids()["sku-2"]])
    mend(shop, missing=1)
    mend(other, missing=1)
    assert shop.index.count(collection) == 10


def test_the_collection_is_made_once_and_says_which_model_it_holds(shop: Shop) -> None:
    shutil.rmtree(shop.parts / "qdrant")
    first = prepare_collection(
        shop.database, shop.index, alias=ALIAS, model_ref=shop.model, pipeline_version="test"
    )
    again = prepare_collection(
        shop.database, shop.index, alias=ALIAS, model_ref=shop.model, pipeline_version="test"
    )
    assert (first.created, again.created) == (True, False)
    assert first.serving == again.serving
    assert first.serving.model_id == first.candidate_model_id == read_spec(shop.model).image_model_id
    assert (again.info.dimension, again.info.on_disk_payload, again.info.points) == (768, True, 0)
    assert again.health.ok
