"""Supplements as the UI shows them: what was captured, what was joined."""

from fashion_pipeline_tests.small_world import SECOND, SmallWorld, metadata

CLEANED = ["raw_feeds", "clean_products"]


def test_supplements_are_captured_joined_and_counted(world: SmallWorld) -> None:
    more = world.data / "feeds" / f"alpha-more-{SECOND}.csv"
    more.write_text("id,fabric\nalpha-0,wool\nalpha-1,silk\nnobody,linen\n", encoding="utf-8")
    supplement = {
        "location": "{data}/feeds/alpha-more-{date}.csv",
        "format": "delimited",
        "mapping": {"fields": {"external_id": "id", "material": "fabric"}},
    }
    world.write_feeds_file(alpha={"supplements": [supplement]})
    world.feed("alpha", SECOND, world.rows("alpha"))
    result = world.run("line", day=SECOND, assets=[*CLEANED, "products"])
    assert result.success
    (captured,) = metadata(result, "raw_feeds")["supplements"].records
    assert captured.data["location"] == str(more)
    assert captured.data["bytes"] == more.stat().st_size
    (joined,) = metadata(result, "clean_products")["supplements"].records
    counts = {"rows": 3, "joined": 2, "unmatched": 1, "repeated": 0, "unusable": 0}
    assert dict(joined.data) == {"supplement": str(more), **counts}
    found = world.table("SELECT external_id, material FROM products WHERE material IS NOT NULL ORDER BY 1")
    assert [(row["external_id"], row["material"]) for row in found] == [
        ("alpha-0", "wool"),
        ("alpha-1", "silk"),
    ]
