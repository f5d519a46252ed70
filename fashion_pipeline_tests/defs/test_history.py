"""A materialization beside the last one of its store: differences as numbers, a trend as a picture."""

import base64
import io
import re
from datetime import date
from typing import Any

import dagster as dg
from PIL import Image

from fashion_pipeline_tests.small_world import FIRST, SECOND, SmallWorld, metadata

APPLIED = ["raw_feeds", "clean_products", "products"]


def since_last(told: dict[str, Any]) -> dict[str, tuple[Any, Any, Any]]:
    rows = [record.data for record in told["since_last"].records]
    return {row["figure"]: (row["last"], row["now"], row["difference"]) for row in rows}


def picture(markdown: str) -> Image.Image:
    found = re.search(r"base64,([^)]+)", markdown)
    assert found
    return Image.open(io.BytesIO(base64.b64decode(found.group(1))))


def bring(world: SmallWorld, instance: dg.DagsterInstance, day: date, rows: int, store: str = "alpha") -> Any:
    world.feed(store, day, world.rows(store, rows))
    result = world.run("line", store=store, day=day, assets=APPLIED, instance=instance)
    assert result.success
    return result


def test_a_day_is_set_beside_the_day_before_of_the_same_store(world: SmallWorld) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        first = metadata(bring(world, instance, FIRST, 12), "products")
        assert "since_last" not in first
        assert "trend" not in first
        bring(world, instance, FIRST, 6, store="beta")
        result = bring(world, instance, SECOND, 11)
        told = metadata(result, "products")
        assert told["last"].startswith(str(FIRST))
        compared = since_last(told)
        # Not the six products of the other store, whose run was in between.
        assert compared["active"] == (12, 11, "-1")
        assert compared["delisted"] == (0, 1, "+1")
        assert compared["new"][2] == "0"
        assert picture(told["trend"]).width > 100
        assert len(told["trend"]) < 20_000
        cleaned = metadata(result, "clean_products")
        assert since_last(cleaned)["clean"] == (12, 11, "-1")
        assert cleaned["rejected_percent"] == 0.0


def test_a_day_that_is_run_again_is_set_beside_itself(world: SmallWorld) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        bring(world, instance, FIRST, 12)
        again = bring(world, instance, FIRST, 12)
        told = metadata(again, "products")
        assert told["last"].startswith(str(FIRST))
        assert since_last(told)["active"] == (12, 12, "0")
        # One day is no trend.
        assert "trend" not in told


def test_what_has_no_partition_is_set_beside_its_last_run(world: SmallWorld) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        world.run("health", instance=instance)
        told = metadata(world.run("health", instance=instance), "catalog_health")
        assert since_last(told)["products"] == (24, 24, "0")
        assert picture(told["trend"]).height > 50


def test_links_lead_to_the_feed_the_rejected_rows_and_the_collection(world: SmallWorld) -> None:
    rows = world.rows("alpha")
    rows[3] |= {"price": ""}
    world.feed("alpha", SECOND, rows)
    result = world.run("line", day=SECOND)
    assert result.success
    (raw,) = result.asset_materializations_for_node("raw_feeds")
    assert raw.metadata["feed"].value == str(world.data / "feeds" / f"alpha-{SECOND}.csv")
    assert isinstance(raw.metadata["file"], dg.PathMetadataValue)
    (cleaned,) = result.asset_materializations_for_node("clean_products")
    assert cleaned.metadata["rejected"].value == 1
    assert str(cleaned.metadata["rejected_file"].value).endswith(".parquet")
    assert cleaned.metadata["show_rejected"].value == (
        f"fashion-pipeline rejected --store alpha --day {SECOND}"
    )
    (points,) = result.asset_materializations_for_node("product_points")
    assert points.metadata["collection_asset"].value == dg.AssetKey("qdrant_collection")
    # The embedded engine has no dashboard; a server has.
    assert "dashboard" not in points.metadata
