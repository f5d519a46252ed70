"""Snapshots over days: upsert, hold, tombstone, supersede, refuse, accept; on a real PostgreSQL."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from fashion_pipeline.errors import PermanentError, VerdictError
from fashion_pipeline.line.clean import Acceptance
from fashion_pipeline_tests.line.conftest import DAY, World, item, items


def after(days: int) -> date:
    return DAY + timedelta(days=days)


def test_first_day_makes_a_row_per_item_with_all_it_says(world: World) -> None:
    report = world.run(DAY, [item(1, price="12.50 EUR", title="Red &amp; blue <b>dress</b>")])
    assert (report.outcome, report.new, report.active, report.unchanged) == ("applied", 1, 1, 0)
    row = world.products()["sku-1"]
    assert (row["title"], row["price"], row["currency"]) == ("Red & blue dress", Decimal("12.5"), "EUR")
    assert (row["availability"], row["image_url"]) == ("in_stock", "https://cdn.example/1.jpg")
    assert (row["first_seen_on"], row["snapshot_date"], row["delisted_on"]) == (DAY, DAY, None)


def test_running_again_changes_nothing(world: World) -> None:
    world.run(DAY, items(20))
    before = world.products()
    again = world.run(DAY)
    assert again.outcome == "unchanged"
    assert world.products() == before


def test_equal_bytes_on_the_next_day_write_no_row_and_move_the_date(world: World) -> None:
    world.run(DAY, items(20))
    before = world.products()
    report = world.run(after(1), items(20))
    assert (report.outcome, report.new, report.changed) == ("unchanged", 0, 0)
    assert world.products() == before
    late = world.run(after(-1), items(20))
    assert late.outcome == "superseded"


def test_only_what_differs_is_written(world: World) -> None:
    world.run(DAY, items(20))
    before = world.products()
    changed = [*items(19), item(19, price="11.00 EUR"), item(20)]
    report = world.run(after(1), changed)
    assert (report.new, report.changed, report.price_changed, report.unchanged) == (1, 1, 1, 19)
    now = world.products()
    assert {name for name, row in now.items() if before.get(name) != row} == {"sku-19", "sku-20"}
    assert now["sku-19"]["id"] == before["sku-19"]["id"]
    assert (now["sku-19"]["price"], now["sku-19"]["snapshot_date"]) == (Decimal(11), after(1))


def test_a_cache_buster_is_no_change_of_the_product(world: World) -> None:
    world.run(DAY, [item(1, image="https://cdn.example/1.jpg?v=1")])
    report = world.run(after(1), [item(1, image="https://cdn.example/1.jpg?v=2")])
    assert (report.changed, report.refreshed_urls) == (0, 1)
    row = world.products()["sku-1"]
    assert (row["image_url"], row["snapshot_date"]) == ("https://cdn.example/1.jpg?v=2", DAY)


def test_what_left_is_a_tombstone_and_returns_as_the_same_row(world: World) -> None:
    world.run(DAY, items(20))
    first = world.products()["sku-0"]
    report = world.run(after(1), items(20)[1:])
    assert (report.delisted, report.active) == (1, 19)
    assert world.products()["sku-0"]["delisted_on"] == after(1)
    back = world.run(after(2), items(20))
    assert (back.returned, back.new, back.active) == (1, 0, 20)
    row = world.products()["sku-0"]
    assert (row["id"], row["delisted_on"], row["first_seen_on"]) == (first["id"], None, DAY)


def test_a_rejected_item_is_held_then_delisted_when_the_hold_is_over(world: World) -> None:
    world.run(DAY, items(20))
    before = world.products()["sku-3"]
    broken = [*items(3), item(3, price="ask us"), *items(20)[4:]]
    report = world.run(after(1), broken)
    assert (report.held, report.delisted, report.active) == (1, 0, 20)
    held = world.products()["sku-3"]
    assert held == before | {"held_since": after(1)}
    still = world.run(after(2), [*broken[:-1], item(19, title="Coat")])
    assert (still.held, world.products()["sku-3"]["held_since"]) == (1, after(1))
    over = world.run(after(8), [*broken[:-1], item(19, title="Hat")])
    assert over.hold_expired == 1
    assert world.products()["sku-3"]["delisted_on"] == after(8)


def test_a_hold_ends_with_equal_bytes_too(world: World) -> None:
    world.run(DAY, items(20))
    broken = [*items(19), item(19, price="")]
    world.run(after(1), broken)
    report = world.run(after(8), broken)
    assert (report.outcome, report.hold_expired) == ("applied", 1)


def test_a_held_item_is_released_when_it_is_clean_again(world: World) -> None:
    world.run(DAY, items(20))
    world.run(after(1), [*items(19), item(19, price="")])
    report = world.run(after(2), items(20))
    assert (report.released, report.changed) == (1, 0)
    assert world.products()["sku-19"]["held_since"] is None


def test_ids_that_cannot_be_read_keep_what_is_missing_listed(world: World) -> None:
    world.run(DAY, items(20))
    lost = [*items(19), item(19, id=""), item(20, id="", title="Other")]
    report = world.run(after(1), lost)
    assert (report.delisted, report.delisting_blocked, report.active) == (0, True, 20)


def test_conflicting_items_are_quarantined_and_the_old_row_is_held(world: World) -> None:
    world.run(DAY, items(20))
    report = world.run(after(1), [*items(20), item(5, title="Something else")])
    assert (report.held, report.changed, report.delisted) == (1, 0, 0)
    assert world.products()["sku-5"]["title"] == "Dress 5"


def test_an_older_day_changes_only_when_an_item_was_first_seen(world: World) -> None:
    world.run(DAY, items(20))
    report = world.run(after(-1), [item(number, price="99 EUR") for number in range(10)])
    assert (report.outcome, report.first_seen_earlier) == ("superseded", 10)
    assert report.catalogue_as_of == DAY
    rows = world.products()
    assert {row["price"] for row in rows.values()} == {Decimal(10)}
    assert [row["first_seen_on"] for row in rows.values()].count(after(-1)) == 10
    assert len(rows) == 20


def test_a_shrunken_feed_is_refused_and_changes_nothing_until_a_person_accepts_it(world: World) -> None:
    world.run(DAY, items(20))
    before = world.state()
    world.feed(after(1), items(10))
    world.capture(after(1))
    cleaned = world.clean(after(1))
    assert cleaned.verdict == "refused"
    assert [finding["guard"] for finding in cleaned.findings] == ["shrink"]
    with pytest.raises(VerdictError, match=r"shop, 2026-11-03: refused by its guards.*accept_sha256"):
        world.apply(after(1))
    assert world.state() == before
    with pytest.raises(VerdictError, match="other bytes"):
        world.clean(after(1), Acceptance("0" * 12, ("shrink",), "clearance"))
    with pytest.raises(VerdictError, match="shrink"):
        world.clean(after(1), Acceptance(cleaned.snapshot.sha256[:12], ("rejected",), "clearance"))
    accepted = world.clean(after(1), Acceptance(cleaned.snapshot.sha256[:12], ("shrink",), "clearance"))
    assert accepted.verdict == "accepted"
    assert world.clean(after(1)).verdict == "accepted"
    assert world.apply(after(1)).delisted == 10
    with world.database.connection() as connection:
        from fashion_pipeline.catalog.snapshots import require_snapshot

        stored = require_snapshot(connection, "shop", after(1))
    assert (stored.accepted_reason, stored.accepted_guards) == ("clearance", ["shrink"])


def test_a_feed_of_broken_rows_is_refused(world: World) -> None:
    world.run(DAY, items(20))
    world.feed(after(1), [*items(14), *(item(number, price="") for number in range(14, 20))])
    world.capture(after(1))
    assert [finding["guard"] for finding in world.clean(after(1)).findings] == ["rejected"]
    with pytest.raises(VerdictError):
        world.apply(after(1))


def test_nothing_is_applied_before_it_is_cleaned(world: World) -> None:
    with pytest.raises(PermanentError, match="materialize raw_feeds"):
        world.apply(DAY)
    world.feed(DAY, items(2))
    world.capture(DAY)
    with pytest.raises(VerdictError, match="materialize clean_products"):
        world.apply(DAY)


def test_a_delta_updates_and_deletes_nothing_that_it_does_not_name(world: World) -> None:
    world.run(DAY, items(20))
    world.store = world.store.model_copy(update={"mode": "delta"})
    report = world.run(after(1), [item(3, price="12 EUR"), item(30)])
    assert (report.new, report.changed, report.delisted, report.active) == (1, 1, 0, 21)


def test_a_delta_waits_for_the_days_before_it(world: World) -> None:
    world.run(DAY, items(20))
    world.store = world.store.model_copy(update={"mode": "delta"})
    world.feed(after(1), [item(1, price="12 EUR")])
    world.capture(after(1))
    with pytest.raises(VerdictError, match="2026-11-03"):
        world.run(after(2), [item(2, price="12 EUR")])
    world.run(after(1))
    assert world.run(after(2)).changed == 1
