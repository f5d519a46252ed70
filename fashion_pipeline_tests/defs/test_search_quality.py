"""`search_quality` and its check: a planted drop warns and a planted collapse fails, against the promotion."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from fashion_pipeline.catalog.index_history import measurements, record_measurement
from fashion_pipeline.index.types import Point
from fashion_pipeline_tests.small_world import SmallWorld, checks, metadata


def turn_away(world: SmallWorld, pictures: Sequence[int]) -> None:
    """The points of these pictures get the opposite vector: what they show is found last."""
    vectors, name = world.vectors(), world.collection()
    wanted = {(world.pictures / f"{number}.png").as_uri() for number in pictures}
    with vectors.session(name):
        found = vectors.retrieve(name, [id_ for id_, _ in vectors.scroll(name)], with_vectors=True)
        turned = [
            Point(point.id, -point.vector, point.payload)
            for point in found.values()
            if point.payload["image_url"] in wanted
        ]
        assert len(turned) == 2 * len(wanted), "one of each store"
        vectors.upsert(name, turned)


def check(result: dg.ExecuteInProcessResult) -> Any:
    return checks(result)["search_holds_its_promotion"]


def test_a_drop_warns_and_a_collapse_fails(world: SmallWorld) -> None:
    first = world.run("quality")
    assert first.success
    assert check(first).passed
    assert check(first).metadata["verdict"].value == "ok"
    found = metadata(first, "search_quality")
    assert found["queries"] == 12, "a picture is one query, although both stores show it"
    assert found["categories"] == 6
    assert found["recall_at_10"] >= 0.8
    assert found["approximate_against_exact"] == "exact scan"
    assert 0 < found["latency_p50_ms"] <= found["latency_p95_ms"]
    for picture in ("contact_sheet", "quality_over_time"):
        assert "data:image/" in found[picture]
    assert found["collection"] == world.collection()

    # The figures of its promotion are those that it had.
    (measured,) = measurements(world.database, "products")
    record_measurement(
        world.database,
        alias="products",
        collection=measured.collection,
        model_id=measured.model_id,
        figures=measured.figures,
        promoted=True,
    )
    turn_away(world, [0, 1, 2])
    dropped = world.run("quality")
    assert dropped.success, "a warning stops nothing"
    assert not check(dropped).passed
    assert check(dropped).severity is dg.AssetCheckSeverity.WARN
    assert check(dropped).metadata["verdict"].value == "drop"
    now = metadata(dropped, "search_quality")["recall_at_10"]
    assert now < found["recall_at_10"] - 0.02
    assert (
        f"title recall_at_10 is {now:.4f}, it was {found['recall_at_10']:.4f}" in check(dropped).description
    )
    assert metadata(dropped, "search_quality")["against_the_promotion"] == check(dropped).description

    turn_away(world, range(3, 12))
    gone = world.run("quality")
    assert not check(gone).passed
    assert check(gone).severity is dg.AssetCheckSeverity.ERROR
    assert check(gone).metadata["verdict"].value == "collapse"
    assert metadata(gone, "search_quality")["recall_at_10"] < found["recall_at_10"] / 2
    assert [each.promoted for each in measurements(world.database, "products")] == [False, True, False, False]
