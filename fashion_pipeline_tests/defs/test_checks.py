"""Every check, seen passing and failing on the real line; and what a failing one keeps from being done."""

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.index.types import Point
from fashion_pipeline.line.live import Wanted
from fashion_pipeline.line.points import serving_collection
from fashion_pipeline.line.promotion import prepare_candidate
from fashion_pipeline.line.reconcile import reconcile_store, repair_store, turn_of
from fashion_pipeline.parts import open_data
from fashion_pipeline_tests.line.shops import other_model_folder
from fashion_pipeline_tests.small_world import (
    FIRST,
    SECOND,
    SmallWorld,
    checks,
    failure,
    materialized,
    metadata,
)

LINE = ["raw_feeds", "clean_products", "products", "product_images", "image_embeddings", "product_points"]
CLEAN_CHECKS = {
    "clean_file_keeps_its_contract",
    "every_record_is_accounted_for",
    "guards_accept_the_snapshot",
}
LINE_CHECKS = {
    *CLEAN_CHECKS,
    "pictures_can_be_fetched",
    "pictures_show_the_products",
    "index_agrees_with_catalogue",
    "every_collection_follows",
}
CLEANED = ["raw_feeds", "clean_products"]


def state(world: SmallWorld) -> tuple[Any, ...]:
    """Every product and every point that the ledger knows, with all their columns."""
    return (
        world.table("SELECT * FROM products ORDER BY store_id, external_id"),
        world.table("SELECT * FROM index_entries ORDER BY 1, 2"),
        world.table("SELECT * FROM stores ORDER BY 1"),
    )


def count(result: dg.ExecuteInProcessResult, event: str) -> int:
    return sum(each.event_type_value == event for each in result.all_events)


def test_on_a_good_day_everything_passes_and_says_where(world: SmallWorld) -> None:
    before, written = state(world), world.vectors().points_written
    result = world.run("line")
    assert result.success
    assert materialized(result) == LINE
    found = checks(result)
    assert set(found) == LINE_CHECKS
    assert [name for name, each in found.items() if not each.passed] == []
    for each in found.values():
        assert each.metadata["store"].value == "alpha"
        assert each.metadata["day"].value == str(FIRST)
        assert each.partition == f"{FIRST}|alpha"
    # What came out of the line lies in PostgreSQL, files and Qdrant; no I/O manager pickled anything.
    assert count(result, "HANDLED_OUTPUT") == 0
    assert (state(world), world.vectors().points_written) == (before, written)


def test_a_check_runs_alone_when_a_person_asks_for_it(world: SmallWorld) -> None:
    key = dg.AssetCheckKey(dg.AssetKey("clean_products"), "every_record_is_accounted_for")
    job = world.definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection={key}
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, partition_key=LinePartition("alpha", FIRST).key)
    assert {name: each.passed for name, each in checks(result).items()} == {key.name: True}


def test_the_first_day_is_in_postgresql_in_files_and_in_qdrant(world: SmallWorld) -> None:
    assert len(world.products("alpha")) == len(world.products("beta")) == 12
    assert world.points() == 24
    assert len(world.table("SELECT 1 FROM embeddings")) == 12
    assert len(list((world.data / "images").rglob("*"))) >= 12


def alter_title(path: Path) -> None:
    table = pq.read_table(path)
    titles = table["title"].to_pylist()
    titles[3] = "something that no store sent"
    at = table.schema.get_field_index("title")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(titles, pa.string())), path)


def drop_row(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (alter_title, "content_hash"),
        (drop_row, "13 rows, expected 14"),
    ],
)
def test_a_clean_file_that_was_altered_is_not_applied(world: SmallWorld, alter: Any, said: str) -> None:
    world.feed("alpha", SECOND, world.rows("alpha", 14))
    assert world.run("line", day=SECOND, assets=CLEANED).success
    (row,) = world.table("SELECT clean_key FROM feed_snapshots WHERE day = :day", day=SECOND)
    alter(world.data / row["clean_key"])
    before = state(world)
    result = world.run("line", day=SECOND)
    assert not result.success
    assert set(checks(result)) == CLEAN_CHECKS
    check = checks(result)["clean_file_keeps_its_contract"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert check.metadata["violations"].value >= 1
    assert said in str(check.metadata["sample"].value)
    assert Path(check.metadata["file"].value) == world.data / row["clean_key"]
    assert materialized(result) == CLEANED
    assert state(world) == before
    # What its description says to do mends it.
    (world.data / row["clean_key"]).unlink()
    assert world.run("line", day=SECOND, assets=[*CLEANED, "products"]).success
    assert len(world.products()) == 14


def test_a_clean_file_that_was_cut_is_not_applied(world: SmallWorld) -> None:
    world.feed("alpha", SECOND, world.rows("alpha", 14))
    assert world.run("line", day=SECOND, assets=CLEANED).success
    (row,) = world.table("SELECT clean_key FROM feed_snapshots WHERE day = :day", day=SECOND)
    path = world.data / row["clean_key"]
    path.write_bytes(path.read_bytes()[:200])
    before = state(world)
    result = world.run("line", day=SECOND)
    assert not result.success
    assert "products" not in materialized(result)
    assert state(world) == before


@pytest.mark.parametrize("path", ["{items}", "{records}"])
def test_an_account_that_does_not_add_up_blocks(world: SmallWorld, path: str) -> None:
    world.feed("alpha", SECOND, world.rows("alpha", 13))
    assert world.run("line", day=SECOND, assets=CLEANED).success
    with world.database.connection() as connection:
        connection.exec_driver_sql(
            "UPDATE feed_snapshots SET account = jsonb_set(account::jsonb, %s::text[], '7') WHERE day = %s",
            (path, SECOND),
        )
    before = state(world)
    result = world.run("line", day=SECOND)
    found = checks(result)
    assert not found["every_record_is_accounted_for"].passed
    assert found["every_record_is_accounted_for"].metadata[path.strip("{}")].value == 7
    assert "products" not in materialized(result)
    assert state(world) == before


@pytest.mark.parametrize("table", ["clean_key", "rejected_key", "rejected_products"])
def test_rows_that_went_missing_after_cleaning_block(world: SmallWorld, table: str) -> None:
    world.feed("alpha", SECOND, [*world.rows("alpha", 13), world.row("alpha", 14, price="")])
    assert world.run("line", day=SECOND, assets=CLEANED).success
    if table == "rejected_products":
        with world.database.connection() as connection:
            connection.exec_driver_sql("DELETE FROM rejected_products WHERE day = %s", (SECOND,))
    else:
        (row,) = world.table(f"SELECT {table} FROM feed_snapshots WHERE day = :day", day=SECOND)
        path = world.data / row[table]
        rows = pq.read_table(path)
        pq.write_table(rows.slice(1), path)
    before = state(world)
    result = world.run("line", day=SECOND)
    check = checks(result)["every_record_is_accounted_for"]
    assert not check.passed
    assert "in the account" in (check.description or "")
    assert "products" not in materialized(result)
    assert state(world) == before


def test_a_refused_snapshot_is_shown_by_the_check_and_refused_by_the_code(world: SmallWorld) -> None:
    """The check stops the job; materializing `products` alone, where no check runs, is refused all the same."""
    world.feed("alpha", SECOND, world.rows("alpha", 5))
    before = state(world)
    result = world.run("line", day=SECOND)
    assert not result.success
    check = checks(result)["guards_accept_the_snapshot"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert check.metadata["verdict"].value == "refused"
    assert {finding["guard"] for finding in check.metadata["findings"].value} == {"shrink"}
    assert "7" in (check.description or "")
    assert materialized(result) == CLEANED
    assert state(world) == before

    alone = world.run("line", day=SECOND, assets=["products"])
    assert not alone.success
    assert checks(alone) == {}
    message = failure(alone, "products")
    assert "\n" not in message
    assert "shrink" in message
    assert "alpha" in message
    assert "accept" in message
    assert count(alone, "STEP_UP_FOR_RETRY") == 0
    assert state(world) == before


def test_a_person_overrules_the_guards(world: SmallWorld) -> None:
    world.feed("alpha", SECOND, world.rows("alpha", 5))
    refused = world.run("line", day=SECOND, assets=CLEANED)
    sha256 = metadata(refused, "clean_products")["sha256"]
    word = {
        "accept_sha256": sha256[:12],
        "accept_guards": ["shrink"],
        "accept_reason": "the store closed its shoe department",
    }
    wrong = world.run(
        "line", day=SECOND, assets=CLEANED, config={"clean_products": word | {"accept_sha256": "0" * 12}}
    )
    assert not wrong.success
    assert "\n" not in failure(wrong, "clean_products")
    result = world.run("line", day=SECOND, config={"clean_products": word})
    assert result.success
    check = checks(result)["guards_accept_the_snapshot"]
    assert check.passed
    assert check.metadata["verdict"].value == "accepted"
    assert check.metadata["accepted_because"].value == word["accept_reason"]
    assert metadata(result, "products")["delisted"] == 7
    assert metadata(result, "product_points")["deleted"] == 7
    # The word stands: the next run of the day needs none.
    assert world.run("line", day=SECOND, assets=[*CLEANED, "products"]).success


def test_pictures_that_fail_warn_and_the_line_goes_on(world: SmallWorld) -> None:
    new = [
        world.row("alpha", 12, image=(world.pictures / "none.png").as_uri()),
        world.row("alpha", 13, image=(world.pictures / "11.png").as_uri()),
    ]
    world.feed("alpha", SECOND, [*world.rows("alpha"), *new])
    result = world.run("line", day=SECOND)
    assert result.success
    check = checks(result)["pictures_can_be_fetched"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.metadata["failing"].value == 1
    assert "none.png" in str(check.metadata["sample"])
    assert metadata(result, "product_images")["failed"] == 1
    # A picture that is known is not embedded again.
    assert metadata(result, "image_embeddings")["embedded"] == 0
    assert metadata(result, "product_points")["inserted"] == 1
    # A product without a picture is listed in PostgreSQL, and nothing is wrong with the index.
    assert world.products()["alpha-12"]["delisted_on"] is None
    assert checks(result)["index_agrees_with_catalogue"].passed


def some_point(world: SmallWorld) -> uuid.UUID:
    found = world.products()["alpha-4"]["id"]
    assert isinstance(found, uuid.UUID)
    return found


def lose_a_point(world: SmallWorld) -> None:
    world.vectors().delete(world.collection(), [world.products()["alpha-5"]["id"]])


def leave_a_point(world: SmallWorld) -> None:
    payload = {"store_id": "alpha", "title": "gone", "item_group_id": "gone", "payload_hash": "0" * 32}
    vector = np.eye(1, 768, dtype=np.float32)[0]
    world.vectors().upsert(world.collection(), [Point(uuid.uuid4(), vector, payload)])


def forge_a_payload(world: SmallWorld) -> None:
    point = world.vectors().retrieve(world.collection(), [some_point(world)])[some_point(world)]
    forged = point.payload | {"price": 1.0, "payload_hash": "0" * 32}
    world.vectors().set_payload(world.collection(), {point.id: forged})


def test_a_placeholder_and_small_pictures_are_warned_of_and_stop_nothing(world: SmallWorld) -> None:
    folder = world.data / "placeholders"
    folder.mkdir()
    rows = world.rows("alpha")
    for number, row in enumerate(rows):
        copy = folder / f"{number}.png"
        copy.write_bytes((world.pictures / "0.png").read_bytes())
        row["image"] = copy.as_uri()
    world.feed("alpha", SECOND, rows)
    result = world.run("line", day=SECOND)
    assert result.success
    check = checks(result)["pictures_show_the_products"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    (shared,) = check.metadata["shared_pictures"].records
    assert (shared.data["shared_by"], shared.data["items"]) == (12, 12)
    assert (check.metadata["small"].value, check.metadata["smallest_side"].value) == (0, 100)
    # Without a setting of the store's own the rule is Google's.
    world.write_feeds_file(alpha={"images": {"shared_share": 1.0}})
    world.feed("alpha", SECOND, world.rows("alpha"))
    check = checks(world.run("line", store="alpha", assets=["product_images"]))["pictures_show_the_products"]
    assert (check.metadata["small"].value, check.metadata["smallest_side"].value) == (12, 250)
    assert not check.passed


def test_an_index_changed_behind_the_ledger_is_found_and_mended(world: SmallWorld) -> None:
    """A point lost, one left behind and one altered, as by a restore of an older collection."""
    vectors, name = world.vectors(), world.collection()
    with vectors.session(name):
        lose_a_point(world)
        leave_a_point(world)
        forge_a_payload(world)
    result = world.run("line", assets=["product_points"])
    check = checks(result)["index_agrees_with_catalogue"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    numbers = {each: value.value for each, value in check.metadata.items() if isinstance(value.value, int)}
    assert {each: number for each, number in numbers.items() if number} == {
        "points": 12,
        "missing": 1,
        "orphaned": 1,
        "stale_payload": 1,
    }
    assert len(check.metadata["sample"].value) == 3
    assert f"missing {world.products()['alpha-5']['id']}" in check.metadata["sample"].value
    # The other store's index is right.
    assert checks(world.run("line", store="beta", assets=["product_points"]))[
        "index_agrees_with_catalogue"
    ].passed
    repair = repair_store(
        world.database,
        open_data(world.settings),
        vectors,
        "alpha",
        serving=serving_collection(vectors, "products"),
    )
    assert repair.after.agrees
    assert checks(world.run("line", assets=["product_points"]))["index_agrees_with_catalogue"].passed


def test_points_of_a_large_store_take_turns(world: SmallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fashion_pipeline.line.reconcile.CHECK_POINTS", 4)
    serving = serving_collection(world.vectors(), "products")
    lose_a_point(world)
    turns = [turn_of(world.database, "alpha", FIRST + timedelta(days), serving) for days in range(4)]
    assert sorted((turn.number, turn.of) for turn in turns) == [(number, 4) for number in (1, 2, 3, 4)]
    found = [
        reconcile_store(world.database, world.vectors(), "alpha", serving=serving, turn=turn)
        for turn in turns
    ]
    assert sum(each.wanted for each in found) == 12
    assert sum(each.points for each in found) == 11
    assert [each.agrees for each in found].count(False) == 1
    check = checks(world.run("line", assets=["product_points"]))["index_agrees_with_catalogue"]
    assert check.passed is found[0].agrees
    assert check.metadata["part"].value == f"{turns[0].number} of 4"
    assert check.metadata["points"].value == found[0].points
    monkeypatch.undo()
    check = checks(world.run("line", assets=["product_points"]))["index_agrees_with_catalogue"]
    assert not check.passed
    assert check.metadata["part"].value == "1 of 1"


def test_what_a_live_collection_lacks_fails_and_says_what_to_do(
    world: SmallWorld, demo_model: str, tmp_path: Path
) -> None:
    other = other_model_folder(demo_model, tmp_path)
    candidate = f"products-{read_spec(other).image_model_id}"
    world.environ["FASHION_PIPELINE_MODEL"] = other
    prepare_candidate(world.database, world.vectors(), Wanted("products", other, "test"))
    # Vectors that the candidate could be given.
    world.table(
        "INSERT INTO embeddings (model_id, image_sha256, shard_key) SELECT :model, image_sha256, shard_key "
        "FROM embeddings RETURNING image_sha256",
        model=read_spec(other).image_model_id,
    )
    lose_a_point(world)
    (world.data / "qdrant" / "collections" / candidate / "shard" / "edge_config.json").write_text("{")
    world.table(
        "UPDATE products SET content_hash = md5(content_hash) WHERE external_id = 'alpha-0' RETURNING id"
    )
    result = world.run("line", assets=["product_points"])
    assert result.success, "the serving collection does not wait for the candidate"
    written = metadata(result, "product_points")
    assert (written["payloads_updated"], written["collections_that_failed"]) == (1, 1)
    assert written["others"].records[0].data["collection"] == candidate
    check = checks(result)["every_collection_follows"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    rows = {record.data["collection"]: record.data for record in check.metadata["live"].value.records}
    assert (rows[world.collection()]["points"], rows[world.collection()]["acknowledged"]) == (11, 12)
    assert "--repair" in rows[world.collection()]["what_to_do"]
    assert f"index delete {candidate}" in rows[candidate]["what_to_do"]
    shown = metadata(world.run("collection"), "qdrant_collection")["collections"].records
    assert f"index delete {candidate}" in shown[1].data["what_to_do"]


def test_the_collection_check_passes_on_what_the_asset_made(world: SmallWorld) -> None:
    result = world.run("collection")
    assert result.success
    check = checks(result)["collection_can_serve"]
    assert check.passed
    assert check.metadata["dimension"].value == 768
    assert check.metadata["points"].value == 24
    assert metadata(result, "qdrant_collection")["created"] is False


def test_the_collection_check_fails_where_the_engine_does_not_answer(world: SmallWorld) -> None:
    """Another release's engine or a full disk leaves a folder that answers questions but cannot be used."""
    folder = world.data / "qdrant"
    names = [path for path in folder.iterdir() if path.name != "aliases"]
    assert names
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix == ".json":
            path.write_bytes(b"{")
    result = world.run("collection")
    assert not result.success
    assert "\n" not in failure(result, "qdrant_collection")
    assert materialized(result) == []


def test_a_store_that_needs_a_person_is_named(world: SmallWorld) -> None:
    whole = [*CLEANED, "products"]
    world.feed("alpha", SECOND, world.rows("alpha"))
    assert world.run("line", store="alpha", day=SECOND, assets=whole).success
    world.feed("beta", SECOND, world.rows("beta", 3))
    world.run("line", store="beta", day=SECOND, assets=CLEANED)
    result = world.run("health")
    assert result.success
    check = checks(result)["no_store_needs_a_person"]
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.metadata["stores"].value == 1
    (record,) = check.metadata["sample"].records
    assert record.data["store"] == "beta"
    assert "shrink" in record.data["what_to_do"]
    # And each store by itself: the status of one does not hide behind that of the next.
    stores = {name: each.passed for name, each in checks(result).items() if name.startswith("store_")}
    assert stores == {"store_alpha": True, "store_beta": False}
    assert checks(result)["store_beta"].description == record.data["what_to_do"]
    (late,) = checks(result)["no_store_is_late"].metadata["sample"].records
    assert late.data["store"] == "beta"

    world.feed("beta", SECOND, world.rows("beta"))
    assert world.run("line", store="beta", day=SECOND, assets=whole).success
    result = world.run("health")
    check = checks(result)["no_store_needs_a_person"]
    assert check.passed, check.metadata
    assert check.metadata["sample"].value == "none"
    assert metadata(result, "catalog_health")["products"] == 24


def test_a_feed_that_is_missing_fails_with_one_line_and_is_not_tried_again(world: SmallWorld) -> None:
    before = state(world)
    result = world.run("line", day=SECOND)
    assert not result.success
    message = failure(result, "raw_feeds")
    assert "\n" not in message
    assert "alpha" in message
    assert count(result, "STEP_UP_FOR_RETRY") == 0
    assert materialized(result) == []
    assert state(world) == before
    # The other store of that day goes on.
    world.feed("beta", SECOND, world.rows("beta"))
    assert world.run("line", store="beta", day=SECOND, assets=[*CLEANED, "products"]).success


def test_a_price_change_is_a_payload_update(world: SmallWorld) -> None:
    rows = world.rows("alpha")
    rows[4] |= {"price": "99.00 EUR"}
    world.feed("alpha", SECOND, rows)
    result = world.run("line", day=SECOND)
    assert result.success
    assert metadata(result, "products")["price_changed"] == 1
    assert metadata(result, "product_images")["due"] == 0
    assert metadata(result, "image_embeddings")["embedded"] == 0
    written = metadata(result, "product_points")
    assert (written["payloads_updated"], written["inserted"], written["vectors_updated"]) == (1, 0, 0)
    point = world.vectors().retrieve(world.collection(), [some_point(world)])[some_point(world)]
    assert point.payload["price"] == 99.0
    assert checks(result)["index_agrees_with_catalogue"].passed


@pytest.mark.slow
def test_search_quality_is_measured(world: SmallWorld) -> None:
    result = world.run("quality")
    assert result.success
    found = metadata(result, "search_quality")
    # One for each distinct picture.
    assert found["queries"] == 12
    assert 0 <= found["recall_at_1"] <= found["recall_at_10"] <= 1
    assert "data:image/" in found["contact_sheet"]
    assert len(found["contact_sheet"]) < 90_000
