"""Items to rows: every field, every reason, and a hash that depends on the content alone."""

import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fashion_pipeline.cleaning.cleaner import Cleaner
from fashion_pipeline.cleaning.content import HASHED_FIELDS, hash_clean_batch
from fashion_pipeline.cleaning.reasons import Reason, RowWarning
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA, DELETION_SCHEMA, REJECTED_SCHEMA
from fashion_pipeline.cleaning.urls import image_key
from fashion_pipeline.feeds.items import ItemBatch
from fashion_pipeline_tests.cleaning.support import GOOD, batch, clean_one, item, reject_one


def test_a_good_item() -> None:
    row = clean_one(
        title=" Striped &amp; <b>Short</b> ",
        description="<p>One</p><p>Two</p>",
        sale_price="39,90 €",
        sale_price_effective_date="2026-11-01T00:00-0800/2026-11-30",
        additional_image_urls="https://cdn.shop.example/b.jpg,https://cdn.shop.example/a-1.jpg?v=9",
        brand="N/A",
        gtin="4006381-333931",
        mpn=" M&amp;1 ",
        item_group_id="g 1",
        product_type="Women&gt;Dresses",
        gender="Damen",
        age_group="Erwachsene",
        condition="https://schema.org/NewCondition",
        material="100% cotton",
    )
    assert row.pop("image_key") == image_key("https://cdn.shop.example/a-1.jpg")
    assert row.pop("content_hash")
    assert row == {
        "external_id": "a-1",
        "title": "Striped & Short",
        "description": "One Two",
        "price": Decimal("45"),
        "sale_price": Decimal("39.9"),
        "sale_starts_at": datetime(2026, 11, 1, 8, tzinfo=UTC),
        "sale_ends_at": datetime(2026, 12, 1, tzinfo=UTC),
        "currency": "EUR",
        "image_url": "https://cdn.shop.example/a-1.jpg?v=1748264665",
        "additional_image_urls": ["https://cdn.shop.example/b.jpg"],
        "product_url": "https://shop.example/p/a-1",
        "brand": None,
        "gtin": "4006381333931",
        "mpn": "M&amp;1",
        "item_group_id": "g 1",
        "product_type": "Women > Dresses",
        "google_product_category": None,
        "color": "red",
        "size": "38",
        "gender": "female",
        "age_group": "adult",
        "material": "100% cotton",
        "pattern": None,
        "condition": "new",
        "availability": "in_stock",
        "raw_attributes": json.dumps(
            {
                "color": "Rot",
                "gender": "Damen",
                "age_group": "Erwachsene",
                "condition": "https://schema.org/NewCondition",
                "availability": "in stock",
                "gtin": "4006381-333931",
            }
        ),
        "warnings": None,
        "record": 1,
        "place": "line 1",
    }


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"external_id": None}, [Reason.EXTERNAL_ID_MISSING]),
        ({"external_id": " null "}, [Reason.EXTERNAL_ID_MISSING]),
        ({"external_id": "x" * 256}, [Reason.EXTERNAL_ID_TOO_LONG]),
        ({"title": "<p> </p>"}, [Reason.TITLE_MISSING]),
        ({"title": "Default Title"}, [Reason.TITLE_MISSING]),
        ({"price": None}, [Reason.PRICE_MISSING]),
        ({"price": "N/A"}, [Reason.PRICE_MISSING]),
        ({"price": "0"}, [Reason.PRICE_ZERO]),
        ({"price": ["10 EUR", "20 EUR"]}, [Reason.PRICE_MULTIPLE]),
        ({"price": "10", "currency": "Taler"}, [Reason.CURRENCY_UNKNOWN]),
        ({"action": "explode"}, [Reason.ACTION_UNKNOWN]),
        (
            {"external_id": "", "title": "", "price": "10 - 20"},
            [Reason.EXTERNAL_ID_MISSING, Reason.PRICE_RANGE, Reason.TITLE_MISSING],
        ),
    ],
)
def test_rejected_with_every_reason(changes: dict[str, Any], reasons: list[Reason]) -> None:
    row = reject_one(**changes)
    assert row["reasons"] == [reason.value for reason in reasons]
    assert row["severity"] == "error"
    assert (row["record"], row["place"]) == (1, "line 1")
    assert json.loads(row["raw"]) == {name: str(value) for name, value in item(**changes).items()}
    readable = Reason.EXTERNAL_ID_MISSING not in reasons and Reason.EXTERNAL_ID_TOO_LONG not in reasons
    assert row["external_id"] == ("a-1" if readable else None)


def test_no_currency_anywhere_is_rejected_beside_the_other_reasons() -> None:
    row = reject_one(Cleaner("shop"), price="0", title=None)
    assert row["reasons"] == ["price_zero", "currency_missing", "title_missing"]


def test_every_reason_and_warning_is_explained() -> None:
    for member in (*Reason, *RowWarning):
        assert member.explanation
        assert member.value == member.name.lower()


@pytest.mark.parametrize(
    ("changes", "gone", "warnings"),
    [
        ({"image_url": None}, "image_url", [RowWarning.IMAGE_MISSING]),
        ({"image_url": "ftp://a.com/x.jpg"}, "image_url", [RowWarning.IMAGE_URL_INVALID]),
        ({"image_url": "no image"}, "image_url", [RowWarning.IMAGE_MISSING]),
        ({"image_url": "https://a.com/a.jpghttps://a.com/b.jpg"}, "image_url", [RowWarning.IMAGE_URL_GLUED]),
        ({"product_url": None}, "product_url", [RowWarning.PRODUCT_URL_MISSING]),
        ({"product_url": "javascript:void(0)"}, "product_url", [RowWarning.PRODUCT_URL_INVALID]),
        ({"product_url": "file:///etc/passwd"}, "product_url", [RowWarning.PRODUCT_URL_INVALID]),
        ({"gtin": "4548360000000"}, "gtin", [RowWarning.GTIN_INVALID]),
        ({"gtin": "2000000000008"}, "gtin", [RowWarning.GTIN_RESTRICTED]),
        ({"sale_price": "cheap"}, "sale_price", [RowWarning.SALE_PRICE_INVALID]),
        ({"sale_price": "40 USD"}, "sale_price", [RowWarning.SALE_PRICE_INVALID]),
        ({"sale_price": "50 EUR"}, "sale_price", [RowWarning.SALE_PRICE_NOT_BELOW]),
        (
            {"sale_price": "40", "sale_price_effective_date": "soon"},
            "sale_price",
            [RowWarning.SALE_WINDOW_INVALID],
        ),
        ({"brand": "x" * 501}, "brand", [RowWarning.VALUE_TOO_LONG]),
        ({"item_group_id": "x" * 501}, "item_group_id", [RowWarning.VALUE_TOO_LONG]),
        ({"color": "x" * 501}, "color", [RowWarning.VALUE_TOO_LONG]),
        (
            {"additional_image_urls": "data:image/png;base64,AA, https://a.com/b.jpg"},
            None,
            [RowWarning.ADDITIONAL_IMAGE_INVALID],
        ),
        ({"price": "19.989999771118164 EUR"}, None, [RowWarning.PRICE_ROUNDED]),
        ({"price": "19.99 EUR", "currency": "USD"}, None, [RowWarning.CURRENCY_DIFFERS]),
        ({"image_url": "https://a.com/a.jpg,https://a.com/b.jpg"}, None, [RowWarning.IMAGE_URL_SPLIT]),
    ],
)
def test_warned_and_kept(changes: dict[str, Any], gone: str | None, warnings: list[RowWarning]) -> None:
    row = clean_one(**changes)
    assert row["warnings"] == [warning.value for warning in warnings]
    assert gone is None or row[gone] is None


@pytest.mark.parametrize("sale", ["45.00", "0", "", "N/A", None])
def test_no_sale_is_no_warning(sale: str | None) -> None:
    row = clean_one(sale_price=sale, sale_price_effective_date="2026-11-01/2026-12-01")
    assert (row["sale_price"], row["sale_starts_at"], row["warnings"]) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "starts", "ends"),
    [
        (
            "2026-11-01T00:00Z/2026-12-01T00:00Z",
            datetime(2026, 11, 1, tzinfo=UTC),
            datetime(2026, 12, 1, tzinfo=UTC),
        ),
        (
            "2026-11-01T13:00+0100/2026-12-01T15:30+01:00",
            datetime(2026, 11, 1, 12, tzinfo=UTC),
            datetime(2026, 12, 1, 14, 30, tzinfo=UTC),
        ),
        ("2026-11-01/", datetime(2026, 11, 1, tzinfo=UTC), None),
        ("/2026-11-01", None, datetime(2026, 11, 2, tzinfo=UTC)),
        # An end that is a day ends with it.
        (
            "2026-11-01/2026-11-01",
            datetime(2026, 11, 1, tzinfo=UTC),
            datetime(2026, 11, 2, tzinfo=UTC),
        ),
    ],
)
def test_sale_windows(text: str, starts: datetime | None, ends: datetime | None) -> None:
    row = clean_one(sale_price="40", sale_price_effective_date=text)
    assert (row["sale_price"], row["sale_starts_at"], row["sale_ends_at"]) == (Decimal(40), starts, ends)


def test_the_sale_follows_the_price_s_currency_and_unit() -> None:
    row = clean_one(price="22900", currency="USD", currency_minor_unit="2", sale_price="19900")
    assert (row["price"], row["sale_price"], row["currency"]) == (Decimal(229), Decimal(199), "USD")
    minor = Cleaner("shop", "JPY", price_unit="minor")
    assert clean_one(minor, price="22900")["price"] == Decimal(22900)


def test_of_several_candidates_the_first_usable_picture_counts() -> None:
    row = clean_one(image_url=["", "about:error", "https://a.com/1.jpg", "https://a.com/2.jpg"])
    assert row["image_url"] == "https://a.com/1.jpg"
    assert row["warnings"] is None


def test_pictures_split_off_the_main_field_are_kept() -> None:
    row = clean_one(
        image_url="https://a.com/1.jpg,https://a.com/2.jpg",
        additional_image_urls=["https://a.com/3.jpg", "https://a.com/2.jpg?v=7"],
    )
    assert row["additional_image_urls"] == ["https://a.com/2.jpg", "https://a.com/3.jpg"]


def test_repeated_fields() -> None:
    row = clean_one(color=["Red", "White"], product_type=["A > B", "C"], brand=["", "Acme"])
    assert (row["color"], row["product_type"], row["brand"]) == ("red/white", "A > B", "Acme")


def test_unknown_values_are_counted_with_the_column() -> None:
    rows = [
        item(color="Nocturnal"),
        item(color="Nocturnal", external_id="a-2"),
        item(size="MED/LENGTH", external_id="a-3"),
    ]
    cleaned = Cleaner("shop", "EUR").clean(batch(rows))
    assert cleaned.unknown == {"color": {"Nocturnal": 2}, "size": {"MED/LENGTH": 1}}


def test_wrong_store_currency_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="store shop: 'EURO'"):
        Cleaner("shop", "EURO")


def test_deletions_need_nothing_but_an_id() -> None:
    cleaned = Cleaner("shop", "EUR").clean(
        batch(
            [
                {"external_id": "a-1", "action": "delete"},
                {"action": "DELETE"},
                item(external_id="a-3", action="upsert"),
            ]
        )
    )
    assert cleaned.deletions.to_pylist() == [{"external_id": "a-1", "record": 1, "place": "line 1"}]
    assert [row["reasons"] for row in cleaned.rejected.to_pylist()] == [["external_id_missing"]]
    assert [row["external_id"] for row in cleaned.rows.to_pylist()] == ["a-3"]


# --- the content hash


@pytest.mark.parametrize(
    "changes",
    [
        {"image_url": "https://cdn.shop.example/a-1.jpg?v=2"},
        {"image_url": "https://cdn.shop.example/a-1.jpg"},
        {"title": " Striped  Dress"},
        {"color": "rouge"},
        {"price": "45 €"},
        {"availability": "InStock"},
    ],
)
def test_hash_ignores_what_is_no_change(changes: dict[str, Any]) -> None:
    assert clean_one(**changes)["content_hash"] == clean_one()["content_hash"]


def test_hash_ignores_cache_busters_of_further_pictures() -> None:
    one, two = (
        clean_one(additional_image_urls=f"https://a.com/1.jpg?v={v},https://a.com/2.jpg?v={v}")
        for v in (1, 2)
    )
    assert one["content_hash"] == two["content_hash"]


CHANGES: dict[str, Any] = {
    "external_id": "a-2",
    "title": "Other",
    "description": "Other",
    "price": "46 EUR",
    "sale_price": "40 EUR",
    "currency": "46 USD",
    "image_url": "https://cdn.shop.example/a-2.jpg",
    "additional_image_urls": "https://a.com/9.jpg",
    "product_url": "https://shop.example/p/a-2",
    "brand": "Other",
    "gtin": "4006381333931",
    "mpn": "Other",
    "item_group_id": "Other",
    "product_type": "Other",
    "google_product_category": "Other",
    "color": "Other",
    "size": "39",
    "gender": "female",
    "age_group": "adult",
    "material": "Other",
    "pattern": "Other",
    "condition": "new",
    "availability": "out of stock",
}


def test_hash_sees_every_content_field() -> None:
    names = set(HASHED_FIELDS) - {"sale_starts_at", "sale_ends_at"}
    assert set(CHANGES) == names
    before = clean_one()["content_hash"]
    hashes = {before}
    for name, value in CHANGES.items():
        changes = {"price": "45 USD"} if name == "currency" else {name: value}
        hashes.add(clean_one(**changes)["content_hash"])
    on_sale: dict[str, Any] = {"sale_price": "40 EUR"}
    for window in ("2026-11-01/2026-12-01", "2026-11-02/2026-12-01", "2026-11-01/2026-12-02"):
        hashes.add(clean_one(**on_sale, sale_price_effective_date=window)["content_hash"])
    assert len(hashes) == 1 + len(CHANGES) + 3


def test_fields_do_not_run_into_each_other() -> None:
    one = clean_one(brand="ab", mpn="c")["content_hash"]
    assert one != clean_one(brand="a", mpn="bc")["content_hash"]
    assert clean_one(brand="x", mpn=None)["content_hash"] != clean_one(brand=None, mpn="x")["content_hash"]


def test_hash_is_the_same_in_other_processes_and_for_other_column_orders() -> None:
    code = (
        "from fashion_pipeline_tests.cleaning.support import *\n"
        "rows = Cleaner('s', 'EUR').clean(batch([dict(reversed(item().items()))])).rows\n"
        "print(rows.to_pylist()[0]['content_hash'])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {clean_one(Cleaner("s", "EUR"))["content_hash"]}


def test_hash_does_not_move_by_accident() -> None:
    """A new value here means that every product of every store is written again."""
    assert clean_one()["content_hash"] == "42f02ebefa7892ad83bcff466f193c5a"


# --- properties

RAW = st.one_of(
    st.none(),
    st.text(max_size=25),
    st.sampled_from(
        [
            "",
            "N/A",
            "45.00 EUR",
            "$10 - $20",
            "0",
            "red",
            "Größe M",
            "in stock",
            "https://a.com/x.jpg?v=1",
            "//b.com/y",
            "<b>x</b>",
            "4006381333931",
            "2026-11-01/2026-12-01",
            "2",
            "delete",
            "upsert",
            "\ud800",
            "a" * 600,
        ]
    ),
    st.lists(st.text(max_size=8), max_size=3),
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "external_id": st.one_of(RAW, st.sampled_from(["1", "2", "3"])),
            "title": st.one_of(RAW, st.just("Dress")),
            "price": st.one_of(RAW, st.just("45 EUR")),
            "action": st.sampled_from([None, "upsert", "delete", "?"]),
            **dict.fromkeys(
                (
                    "description",
                    "sale_price",
                    "sale_price_effective_date",
                    "currency",
                    "currency_minor_unit",
                    "image_url",
                    "additional_image_urls",
                    "product_url",
                    "brand",
                    "gtin",
                    "mpn",
                    "item_group_id",
                    "product_type",
                    "google_product_category",
                    "color",
                    "size",
                    "gender",
                    "age_group",
                    "material",
                    "pattern",
                    "condition",
                    "availability",
                ),
                RAW,
            ),
        },
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(ITEMS)
def test_any_items_give_the_schemas_and_add_up(items: list[dict[str, Any]]) -> None:
    cleaned = Cleaner("shop", "EUR", "https://shop.example/").clean(batch(items))
    assert cleaned.rows.schema.equals(CLEAN_SCHEMA)
    assert cleaned.rejected.schema.equals(REJECTED_SCHEMA)
    assert cleaned.deletions.schema.equals(DELETION_SCHEMA)
    for part, schema in ((cleaned.rows, CLEAN_SCHEMA), (cleaned.rejected, REJECTED_SCHEMA)):
        part.validate(full=True)
        assert all(part.column(f.name).null_count == 0 for f in schema if not f.nullable)
    records = [
        row["record"]
        for part in (cleaned.rows, cleaned.rejected, cleaned.deletions)
        for row in part.to_pylist()
    ]
    assert sorted(records) == list(range(1, len(items) + 1))
    assert all(row["reasons"] for row in cleaned.rejected.to_pylist())
    rows = cleaned.rows.to_pylist()
    assert hash_clean_batch(cleaned.rows) == [row["content_hash"] for row in rows]
    for row in rows:
        assert row["price"] > 0
        assert row["sale_price"] is None or 0 < row["sale_price"] < row["price"]


def as_item(row: dict[str, Any]) -> dict[str, Any]:
    """A clean row as a feed would send it."""
    names = set(GOOD) | {
        "description",
        "currency",
        "brand",
        "gtin",
        "mpn",
        "item_group_id",
        "product_type",
        "google_product_category",
        "gender",
        "age_group",
        "material",
        "pattern",
        "condition",
        "additional_image_urls",
    }
    again = {name: row[name] for name in names if row[name] is not None}
    again["price"] = f"{row['price']:f}"
    if row["sale_price"] is not None:
        again["sale_price"] = f"{row['sale_price']:f}"
        times = [row[name].isoformat() if row[name] else "" for name in ("sale_starts_at", "sale_ends_at")]
        again["sale_price_effective_date"] = "/".join(times) if any(times) else None
    return again


@settings(max_examples=150, deadline=None)
@given(ITEMS)
def test_cleaning_twice_is_cleaning_once(items: list[dict[str, Any]]) -> None:
    cleaner = Cleaner("shop", "EUR", "https://shop.example/")
    once = cleaner.clean(batch(items)).rows.to_pylist()
    if once:
        twice = cleaner.clean(batch([as_item(row) for row in once])).rows.to_pylist()
        assert [row["content_hash"] for row in twice] == [row["content_hash"] for row in once]


@settings(max_examples=60, deadline=None)
@given(ITEMS, st.randoms(use_true_random=False), st.integers(min_value=1, max_value=8))
def test_order_and_batches_do_not_matter(
    items: list[dict[str, Any]], shuffler: random.Random, size: int
) -> None:
    def hashes(parts: list[ItemBatch]) -> list[str]:
        cleaner = Cleaner("shop", "EUR", "https://shop.example/")
        return sorted(
            h for part in parts for h in cleaner.clean(part).rows.column("content_hash").to_pylist()
        )

    shuffled = items[:]
    shuffler.shuffle(shuffled)
    assert hashes([batch(items)]) == hashes(
        [batch(shuffled[i : i + size]) for i in range(0, len(items), size)]
    )
