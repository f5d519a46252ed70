"""The table that an on-call reads: every number against a store that stands so."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.errors import FeedError, VerdictError
from fashion_pipeline.feeds.config import FeedsConfig
from fashion_pipeline.line.clean import Acceptance
from fashion_pipeline.line.health import health_table
from fashion_pipeline.line.live import live_collections
from fashion_pipeline_tests.line.conftest import DAY, item, items
from fashion_pipeline_tests.line.shops import ALIAS, Shop, copy_sparse

NEXT = DAY + timedelta(days=1)
#: After the second day is due (06:00) and before its 30 hours are over.
MORNING = datetime(2026, 11, 3, 9, tzinfo=UTC)


@pytest.fixture
def shop(database: Database, tmp_path: Path, demo_model: str, empty_index: Path) -> Shop:
    copy_sparse(empty_index, tmp_path / "parts" / "qdrant")
    return Shop(database, tmp_path / "parts", model=demo_model)


def look(shop: Shop, *others: Shop, now: datetime = MORNING, **bounds: date) -> dict[str, dict[str, Any]]:
    table = table_of([shop, *others], now, **bounds)
    return {row["store"]: row for row in table}


def table_of(shops: list[Shop], now: datetime = MORNING, **bounds: date) -> list[dict[str, Any]]:
    feeds = FeedsConfig(first_day=DAY, stores=tuple(each.store for each in shops), **bounds)
    shops[0].collection()
    live = live_collections(shops[0].index, ALIAS)
    return health_table(shops[0].database, feeds, live, now=now).to_dict("records")


def test_a_healthy_store_asks_for_nothing(shop: Shop) -> None:
    shop.bring(DAY, [item(number, image=shop.picture(number)) for number in range(10)])
    row = look(shop)["shop"]
    assert row == {
        "store": "shop",
        "what_to_do": "nothing",
        "last_good_day": DAY,
        "verdict": "ok",
        "products": 10,
        "held": 0,
        "rejected_share": 0.0,
        "missing_vectors": 0,
        "index_lag": 0,
        "others_lag": 0,
        "late": False,
        "status": "active",
    }


def test_a_store_that_never_ran_says_so(shop: Shop) -> None:
    row = look(shop, now=datetime(2026, 11, 2, 7, tzinfo=UTC))["shop"]
    assert (row["last_good_day"], row["verdict"], row["products"], row["late"]) == (None, "none", 0, False)
    assert "run the line" in row["what_to_do"]


def test_each_missing_piece_is_counted_where_it_is_missing(shop: Shop) -> None:
    rows = [item(number, image=shop.picture(number)) for number in range(10)]
    shop.run(DAY, rows)
    assert look(shop)["shop"]["missing_vectors"] == 10
    shop.images(DAY)
    row = look(shop)["shop"]
    assert (row["missing_vectors"], row["index_lag"]) == (10, 0)
    assert "image_embeddings" in row["what_to_do"]
    shop.invent_vectors()
    row = look(shop)["shop"]
    assert (row["missing_vectors"], row["index_lag"]) == (0, 10)
    assert "product_points" in row["what_to_do"]
    shop.points()
    assert look(shop)["shop"]["what_to_do"] == "nothing"
    # So is a price, until its payload is written.
    shop.run(DAY, [rows[0] | {"price": "7.00 EUR"}, *rows[1:]])
    shop.capture(DAY, refetch=True)
    shop.clean(DAY)
    shop.apply(DAY)
    assert look(shop)["shop"]["index_lag"] == 1
    shop.points()
    assert look(shop)["shop"]["index_lag"] == 0
    # A product that left is lag until its point is gone.
    shop.run(NEXT, rows[1:])
    assert look(shop)["shop"]["index_lag"] == 1
    shop.points()
    assert look(shop)["shop"]["index_lag"] == 0


def test_a_picture_that_cannot_be_decoded_asks_for_nobody(shop: Shop) -> None:
    shop.run(DAY, [item(1, image=shop.picture(1))])
    shop.images(DAY)
    shop.execute("UPDATE images SET decode_error = 'truncated'")
    assert look(shop)["shop"]["what_to_do"] == "nothing"


def test_held_and_rejected_items_show(shop: Shop) -> None:
    shop.run(DAY, items(20))
    shop.run(NEXT, [*items(18), item(18, price=""), item(19, price="ask us")])
    row = look(shop)["shop"]
    assert (row["products"], row["held"], row["rejected_share"]) == (20, 2, 0.1)
    assert row["last_good_day"] == NEXT


def test_a_refused_feed_says_what_to_look_at(shop: Shop) -> None:
    shop.run(DAY, items(20))
    shop.feed(NEXT, items(10))
    shop.capture(NEXT)
    shop.clean(NEXT)
    with pytest.raises(VerdictError):
        shop.apply(NEXT)
    row = look(shop)["shop"]
    assert (row["verdict"], row["last_good_day"], row["products"]) == ("refused", DAY, 20)
    assert "2026-11-03 (shrink)" in row["what_to_do"]


def test_an_unreadable_feed_says_why_and_is_forgotten_when_it_is_mended(shop: Shop) -> None:
    shop.run(DAY, items(20))
    shop.path(NEXT).write_text("<html><body>Service unavailable</body></html>")
    shop.capture(NEXT)
    with pytest.raises(FeedError):
        shop.clean(NEXT)
    row = look(shop)["shop"]
    assert row["verdict"] == "refused"
    assert "re-run the line for 2026-11-03" in row["what_to_do"]
    assert "HTML" in row["what_to_do"]
    shop.run(NEXT, items(20))
    row = look(shop)["shop"]
    assert (row["verdict"], row["last_good_day"]) == ("ok", NEXT)
    assert "2026-11-03" not in row["what_to_do"]


def test_a_later_feed_of_the_day_that_is_refused_is_told_though_the_good_one_stands(shop: Shop) -> None:
    shop.run(NEXT, items(20))
    shop.path(NEXT).write_text("<html></html>")
    shop.capture(NEXT, refetch=True)
    with pytest.raises(FeedError):
        shop.clean(NEXT)
    assert shop.apply(NEXT).outcome == "unchanged"
    row = look(shop)["shop"]
    assert (row["verdict"], row["last_good_day"]) == ("refused", NEXT)
    assert row["what_to_do"].startswith(f"mend or wait for the feed, then re-run the line for {NEXT}")
    # Running the line again asks the store again, which is all that the advice says.
    shop.feed(NEXT, items(20))
    shop.run(NEXT)
    assert look(shop)["shop"]["verdict"] == "ok"


@pytest.mark.parametrize(
    ("now", "late"),
    [
        # The feed of 3 November is due at 06:00 and late 30 hours afterwards.
        (datetime(2026, 11, 4, 11, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 4, 12, 1, tzinfo=UTC), True),
    ],
)
def test_a_store_is_late_when_its_hours_are_over(shop: Shop, now: datetime, late: bool) -> None:
    shop.run(DAY, items(20))
    row = look(shop, now=now)["shop"]
    assert row["late"] is late
    assert ("late" in row["what_to_do"]) is late
    assert look(shop, now=now, last_day=DAY)["shop"]["late"] is False, "a finished history has all it needs"


def test_a_feed_that_was_accepted_and_not_applied_is_no_feed_that_is_late(shop: Shop) -> None:
    shop.run(DAY, items(20))
    with pytest.raises(VerdictError):
        shop.run(NEXT, items(5))
    (row,) = shop.rows("SELECT sha256 FROM feed_snapshots WHERE verdict = 'refused'")
    shop.clean(NEXT, Acceptance(row["sha256"][:8], ("shrink",), "they left"))
    assert "accepted and not applied: run the line" in look(shop)["shop"]["what_to_do"]
    shop.apply(NEXT)
    assert "applied" not in look(shop)["shop"]["what_to_do"]


def test_a_store_in_tokyo_is_late_by_its_own_clock(shop: Shop) -> None:
    shop.store = shop.store.model_copy(update={"timezone": "Asia/Tokyo"})
    shop.run(DAY, items(20))
    # 06:00 on 4 November in Tokyo is still 3 November in UTC; 30 hours later that day is missed.
    assert look(shop, now=datetime(2026, 11, 5, 2, 59, tzinfo=UTC))["shop"]["late"] is False
    assert look(shop, now=datetime(2026, 11, 5, 3, 1, tzinfo=UTC))["shop"]["late"] is True


def test_those_that_need_a_person_come_first_and_paused_ones_need_nobody(shop: Shop) -> None:
    good = Shop(shop.database, shop.parts, "good", model=shop.model)
    paused = Shop(shop.database, shop.parts, "paused", model=shop.model, status="paused")
    bad = Shop(shop.database, shop.parts, "bad", model=shop.model)
    for each in (shop, good, bad):
        each.bring(DAY, [item(1, image=shop.picture(1))])
    bad.path(NEXT).write_bytes(b"")
    bad.capture(NEXT)
    with pytest.raises(FeedError):
        bad.clean(NEXT)
    table = table_of([paused, good, bad, shop])
    assert [row["store"] for row in table] == ["bad", "paused", "good", "shop"]
    assert [row["what_to_do"] == "nothing" for row in table] == [False, True, True, True]
