"""The guards that compare with the catalogue, through the line: refused, not applied, accepted by a person."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from fashion_pipeline.errors import VerdictError
from fashion_pipeline.feeds.config import Thresholds
from fashion_pipeline.line.clean import Acceptance, CleanStageReport
from fashion_pipeline_tests.line.conftest import DAY, World, item, items

NEXT = DAY + timedelta(days=1)
LOGO = "https://cdn.example/logo.png"


def priced(count: int, factor: float, moved: int | None = None) -> list[dict[str, str]]:
    """Items of distinct prices, the first `moved` of them times `factor`."""
    moved = count if moved is None else moved
    prices = [10 + 1.37 * n for n in range(count)]
    return [
        item(n, price=f"{price * (factor if n < moved else 1):.2f} EUR") for n, price in enumerate(prices)
    ]


def next_day(world: World, rows: Sequence[dict[str, str]]) -> CleanStageReport:
    world.feed(NEXT, rows)
    world.capture(NEXT)
    return world.clean(NEXT)


def guards(cleaned: CleanStageReport) -> list[str]:
    return sorted({finding["guard"] for finding in cleaned.findings})


def assert_refused_until_accepted(world: World, cleaned: CleanStageReport, fired: list[str]) -> None:
    """Nothing is applied before a person names every guard that fired, for these bytes."""
    assert (cleaned.verdict, guards(cleaned)) == ("refused", fired)
    assert all(finding["examples"] and finding["value"] for finding in cleaned.findings)
    before = world.state()
    with pytest.raises(VerdictError, match=f"refused by its guards.*{fired[0]}"):
        world.apply(NEXT)
    assert world.state() == before
    sha = cleaned.snapshot.sha256[:12]
    with pytest.raises(VerdictError, match=f"not named in the acceptance: {fired[0]}"):
        world.clean(NEXT, Acceptance(sha, tuple(fired[1:]), "checked in the shop"))
    assert world.clean(NEXT, Acceptance(sha, tuple(fired), "checked in the shop")).verdict == "accepted"
    world.apply(NEXT)
    assert world.state() != before


@pytest.mark.parametrize(
    ("factor", "values"), [(100, [1.0, 100.0]), (1.19, [1.0]), (0.5, [1.0]), (0.01, [100.0])]
)
def test_prices_that_move_together_are_refused(world: World, factor: float, values: list[float]) -> None:
    world.run(DAY, priced(20, 1))
    cleaned = next_day(world, priced(20, factor))
    assert_refused_until_accepted(world, cleaned, ["price_jump"])
    assert world.products()["sku-0"]["price"] == Decimal(str(round(10 * factor, 2)))
    # A hundredth is rounded to cents: no longer one factor, but far from where the prices were.
    assert [finding["value"] for finding in cleaned.findings] == pytest.approx(values, rel=0.01)


def test_a_sale_on_half_of_the_shop_passes(world: World) -> None:
    world.run(DAY, priced(20, 1))
    assert next_day(world, priced(20, 0.8, moved=10)).verdict == "ok"
    assert world.apply(NEXT).price_changed == 10


def test_a_sale_on_more_than_half_of_the_shop_is_refused(world: World) -> None:
    world.run(DAY, priced(20, 1))
    assert guards(next_day(world, priced(20, 0.8, moved=11))) == ["price_jump"]


def test_rates_of_exchange_move_a_catalogue_a_little(world: World) -> None:
    world.run(DAY, priced(20, 1))
    assert next_day(world, priced(20, 1.015)).verdict == "ok"


def test_prices_that_move_each_by_its_own_factor_pass_until_the_median_moves_far(world: World) -> None:
    world.run(DAY, priced(20, 1))
    spread = [item(n, price=f"{(10 + 1.37 * n) * (0.5 + n * 0.1):.2f} EUR") for n in range(20)]
    assert next_day(world, spread).verdict == "ok"
    world.apply(NEXT)
    far = [item(n, price=f"{(10 + 1.37 * n) * (3 + n * 0.7):.2f} EUR") for n in range(20)]
    world.feed(NEXT, far)
    world.capture(NEXT, refetch=True)
    cleaned = world.clean(NEXT)
    (finding,) = cleaned.findings
    assert (finding["guard"], finding["threshold"]) == ("price_jump", 3.0)
    assert finding["value"] > 3


def test_a_delta_in_cents_is_refused_and_one_that_names_few_is_not(world: World) -> None:
    world.run(DAY, priced(40, 1))
    world.store = world.store.model_copy(update={"mode": "delta"})
    assert guards(next_day(world, priced(6, 100))) == ["price_jump"]
    world.feed(NEXT, priced(6, 0.7))
    world.capture(NEXT)
    assert world.clean(NEXT).verdict == "ok"


def test_thresholds_of_the_store(world: World) -> None:
    world.run(DAY, priced(20, 1))
    world.store = world.store.model_copy(update={"thresholds": Thresholds(same_factor=1, median_factor=200)})
    assert next_day(world, priced(20, 100)).verdict == "ok"


def test_another_currency_is_refused(world: World) -> None:
    world.run(DAY, items(20))
    rows = [item(n, price="10.00 USD") for n in range(11)] + items(20)[11:]
    cleaned = next_day(world, rows)
    assert "sku-0: EUR to USD" in cleaned.findings[0]["message"]
    assert_refused_until_accepted(world, cleaned, ["currency"])
    assert world.products()["sku-0"]["currency"] == "USD"


def test_some_products_in_another_currency_pass(world: World) -> None:
    world.run(DAY, items(20))
    rows = [item(n, price="10.00 USD") for n in range(10)] + items(20)[10:]
    assert next_day(world, rows).verdict == "ok"


def test_one_same_picture_is_refused(world: World) -> None:
    world.run(DAY, items(20))
    rows = [item(n, image=f"{LOGO}?v={n}") for n in range(10)] + items(20)[10:]
    cleaned = next_day(world, rows)
    assert LOGO in cleaned.findings[0]["examples"][0]
    assert_refused_until_accepted(world, cleaned, ["same_image"])


def test_one_same_picture_passes_below_half_and_where_it_always_was_so(world: World) -> None:
    world.run(DAY, items(20))
    rows = [item(n, image=LOGO) for n in range(9)] + items(20)[9:]
    assert next_day(world, rows).verdict == "ok"


def test_a_shop_that_always_showed_one_picture_may_go_on(world: World) -> None:
    world.run(DAY, items(20, image=LOGO))
    assert next_day(world, items(20, image="https://cdn.example/new-logo.png")).verdict == "ok"


def test_a_second_feed_of_a_day_that_is_refused_can_be_accepted(world: World) -> None:
    """The good one stands until then; the words of a person are for the one that was captured last."""
    world.run(DAY, items(20))
    world.feed(DAY, items(3))
    world.capture(DAY, refetch=True)
    cleaned = world.clean(DAY)
    assert (cleaned.verdict, guards(cleaned)) == ("refused", ["shrink"])
    assert world.apply(DAY).outcome == "unchanged"
    accepted = world.clean(DAY, Acceptance(cleaned.snapshot.sha256[:12], ("shrink",), "a sale out"))
    assert accepted.verdict == "accepted"
    assert world.apply(DAY).delisted == 17


def test_every_guard_that_fired_is_to_be_named(world: World) -> None:
    world.run(DAY, priced(20, 1))
    rows = [row | {"image": LOGO} for row in priced(17, 100)]
    cleaned = next_day(world, rows)
    assert_refused_until_accepted(world, cleaned, ["price_jump", "same_image", "shrink"])
    shrink = next(finding for finding in cleaned.findings if finding["guard"] == "shrink")
    assert shrink["examples"] == ("sku-17", "sku-18", "sku-19")
    with world.database.connection() as connection:
        from fashion_pipeline.catalog.snapshots import require_snapshot

        stored = require_snapshot(connection, "shop", NEXT)
    assert stored.accepted_guards == ["price_jump", "same_image", "shrink"]
    assert [finding["guard"] for finding in stored.findings or []] == [
        finding["guard"] for finding in cleaned.findings
    ]
