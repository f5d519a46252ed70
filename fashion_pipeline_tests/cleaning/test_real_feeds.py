"""Feeds that real shops published, checked against the files by eye (see their README)."""

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.cleaning.run import CleanReport
from fashion_pipeline_tests import bath_ec
from fashion_pipeline_tests.feeds.conftest import cleaned, store

FEEDS = Path(__file__).resolve().parents[2].parent / "shared" / "real" / "feeds"

pytestmark = pytest.mark.skipif(not FEEDS.is_dir(), reason=f"the real feeds are not there: {FEEDS}")

Rows = dict[str, dict[str, Any]]


def clean(folder: Path, name: str, format_: str, **settings: Any) -> tuple[Rows, CleanReport]:
    """Clean rows by id, and the account, of a file that must leave nothing unaccounted for."""
    found = cleaned(folder, FEEDS / name, store(format_, **settings))
    return found.rows, found.report


def counts(report: CleanReport) -> tuple[int, ...]:
    return report.records, report.items, report.clean, report.rejected, report.duplicates


def has(row: dict[str, Any], **expected: Any) -> None:
    assert {name: row[name] for name in expected} == expected


def raw(row: dict[str, Any]) -> dict[str, str]:
    return dict(json.loads(row["raw_attributes"] or "{}"))


def test_hardlife_google_xml(tmp_path: Path) -> None:
    rows, report = clean(tmp_path, "gmc_rss_hardlife.xml", "google_xml")
    assert counts(report) == (200, 200, 200, 0, 0)
    assert (report.warnings, report.unknown, report.currencies) == ({}, {}, {"USD": 200})
    prices = [row["price"] for row in rows.values()]
    assert (prices.count(Decimal(75)), prices.count(Decimal(48))) == (130, 70)
    assert len({row["item_group_id"] for row in rows.values()}) == 40
    assert sum(len(row["additional_image_urls"] or ()) for row in rows.values()) == 710
    has(
        rows["hoodie-001-s"],
        title="Human Beings - Black Hoodie",
        price=Decimal(75),
        currency="USD",
        image_url="https://cdn.fourthwall.com/offer/sh_edd038df-9387-435f-a5ed-83f673666a43/d5eb1008-3cac-41be-87e3-10ac184b2ddc.jpeg",
        product_url="https://hrdlf.com/products/human-beings-black-hoodie",
        google_product_category="Apparel & Accessories > Clothing > Outerwear > Coats & Jackets",
        product_type="Apparel > Hoodies",
        color="black",
        size="S",
        gender="unisex",
        age_group="adult",
        condition="new",
        availability="in_stock",
        gtin=None,
        record=1,
    )
    assert rows["hoodie-001-s"]["description"].endswith(
        "Limited production run, not restocked once sold out."
    )
    assert raw(rows["hoodie-001-s"]) == {"color": "Black"}
    has(
        rows["tee-014-2xl"], price=Decimal(48), color="white", size="XXL", item_group_id="tee-014", record=200
    )
    assert raw(rows["tee-014-2xl"]) == {"color": "White", "size": "2XL"}


def test_lake_erie_google_tsv(tmp_path: Path) -> None:
    rows, report = clean(tmp_path, "gmc_tsv_lake_erie.tsv", "google_tsv")
    assert counts(report) == (160, 160, 160, 0, 0)
    assert report.unknown == {}
    colors = Counter(row["color"] for row in rows.values())
    # 18 White and 6 Solid White Blend, 12 Athletic Heather and 6 Granite in the file.
    assert colors == {None: 99 + 7, "white": 24, "grey": 18, "blue": 6, "black": 6}
    assert sum(raw(row).get("color") == "See product page" for row in rows.values()) == 99
    assert all(row["title"] == row["description"] for row in rows.values())
    has(
        rows["98650bd8-5981-4055-8e14-5e144a04a23a"],
        title='"Lake Erie Loot Crew" Women\'s Spaghetti Strap Pirate Fest Tank Top',
        price=Decimal(28),
        color="white",
        size="L",
        gender="female",
        availability="in_stock",
        place="line 2",
    )
    has(
        rows["264b49f3-3221-4c3c-9d32-5fabede93f88"],
        color=None,
        size="XS",
        price=Decimal(33),
        place="line 20",
    )
    has(rows["7d7b8562-3a7e-49d7-b474-5747a3535b2d"], title="Lake Erie Bow & Anchor Hoodie", color="white")
    has(
        rows["66f777a0-7e29-4855-90b5-ed2e3dae8cfb"],
        title="Cedar Point Beach Crew Can Cooler/Drink Sleeve",
        price=Decimal(6),
        item_group_id=None,
        size=None,
        gender=None,
    )
    assert any(row["size"] == '50" × 60"' for row in rows.values())


def test_kith_shopify(tmp_path: Path) -> None:
    rows, report = clean(
        tmp_path, "shopify_products_kith.json", "shopify_json", currency="USD", base_url="https://kith.com"
    )
    assert counts(report) == (30, 131, 131, 0, 0)
    assert {row["availability"] for row in rows.values()} == {"out_of_stock"}
    assert {row["product_type"] for row in rows.values()} == {None}
    assert {row["sale_price"] for row in rows.values()} == {None}
    assert len({row["item_group_id"] for row in rows.values()}) == 30
    assert len({row["image_key"] for row in rows.values()}) == 30
    assert max(row["price"] for row in rows.values()) == Decimal(4995)
    has(
        rows["45132974096512"],
        title="Giorgio Armani & Kith Scenic Printed Bandana - Multi PH",
        description='Silk foulard Placed print Size: 24" x 24" Style: gm002421f20577n Color: Multi '
        "Material: 100% Silk",
        price=Decimal(395),
        currency="USD",
        image_url="https://cdn.shopify.com/s/files/1/0094/2252/files/GM002421F20577N-Front_e6e32727-023f-469c-913d-459822e4573a.jpg?v=1751998322",
        product_url="https://kith.com/products/gm002421f20577n-ph?variant=45132974096512",
        brand="Kith",
        mpn="2000256883",
        item_group_id="8285549166720",
        size="one_size",
    )
    assert len(rows["45132974096512"]["additional_image_urls"]) == 2
    has(rows["45132970950784"], size="XXL", price=Decimal(1295), item_group_id="8285548445824")


def test_lululemon_awin(tmp_path: Path) -> None:
    rows, report = clean(tmp_path, "awin_lululemon.csv.gz", "awin")
    assert counts(report) == (10, 10, 10, 0, 0)
    has(
        rows["40026645008"],
        title='Wunder Under High-Rise Leggings 25"',
        price=Decimal(98),
        sale_price=None,
        currency="USD",
        image_url="https://images.lululemon.com/is/image/lululemon/LW5BJVS_0001_1",
        product_url="https://shop.lululemon.com/p/womens-leggings/Wunder-Under-HR-78-Tight-MD/_/prod11780200?color=0001&locale=en_US&sl=US&sz=18",
        brand="lululemon",
        mpn="101700201",
        product_type="Women > Clothing > Pants > Leggings",
        color="black",
        size="18",
        gender="female",
        material="Luon™ Fabric",
        condition="new",
        availability="in_stock",
    )
    assert [url[-6:] for url in rows["40026645008"]["additional_image_urls"]] == [
        "0001_2",
        "0001_3",
        "0001_4",
        "0001_5",
    ]
    has(
        rows["33201718633"],
        title="In Mind Pants 30L",
        price=Decimal(118),
        gender="male",
        size="S",
        material=None,
    )
    has(rows["39329154040"], price=Decimal(68), size="0", place="line 11")
    assert sum(row["gender"] == "female" for row in rows.values()) == 7


def test_bath_ec_meta_csv_on_two_days(tmp_path: Path) -> None:
    (old, first), (new, second) = (clean(tmp_path, name, "meta_csv") for name in bath_ec.DAYS)
    assert counts(first) == (199, 199, 199, 0, 0)
    assert counts(second) == (187, 187, 187, 0, 0)
    assert first.warnings == {"image_missing": 14, "gtin_invalid": 1}
    assert second.warnings == {"gtin_invalid": 1}
    has(old["10037"], price=Decimal(9350), currency="JPY", availability="out_of_stock", brand="COULEUR VARIE")
    has(old["4726-2"], gtin=None, warnings=["gtin_invalid"], place="line 18", price=Decimal(7700))
    assert raw(old["4726-2"])["gtin"] == "4548360000000"
    has(old["654180"], image_url=None, price=Decimal(121000), availability="out_of_stock")

    assert (set(old) - set(new), set(new) - set(old)) == (bath_ec.GONE, bath_ec.NEW)
    told = bath_ec.check_changes(FEEDS, old, new)
    galleries = {key for key in told | set(old) & set(new) if _paths(old[key]) != _paths(new[key])}
    assert galleries <= {key for key in told if old[key]["image_key"] != new[key]["image_key"]}


def _paths(row: dict[str, Any]) -> list[str]:
    return [url.partition("?")[0] for url in row["additional_image_urls"] or ()]


def test_livostyle_parquet(tmp_path: Path) -> None:
    fields = {
        "external_id": "id",
        "title": "title",
        "price": "price_min_usd",
        "image_url": "featured_image_url",
        "product_url": "url",
        "product_type": "product_type",
        "google_product_category": "category_full_path",
        "availability": "in_stock_any",
        "description": "description",
    }
    rows, report = clean(
        tmp_path, "livostyle_products.parquet", "parquet", currency="USD", mapping={"fields": fields}
    )
    assert counts(report) == (2766, 2766, 2766, 0, 0)
    assert report.warnings == {"image_missing": 1}
    assert sum(row["availability"] == "out_of_stock" for row in rows.values()) == 6
    assert sum(row["product_type"] is None for row in rows.values()) == 5
    assert sum(row["google_product_category"] is None for row in rows.values()) == 8
    has(
        rows["7817153052811"],
        title="Openwork V-Neck Slit Cover-Up",
        price=Decimal("28.99"),
        currency="USD",
        product_type="Swimwear",
        google_product_category="Apparel & Accessories > Clothing > Swimwear > Cover Ups",
        product_url="https://livostyle.com/products/openwork-v-neck-slit-cover-up",
        availability="in_stock",
    )
    has(
        rows["7828305150091"],
        title="Ribbed V-Neck Bikini Set",
        image_url=None,
        price=Decimal("34.99"),
        warnings=["image_missing"],
    )


def test_the_same_bytes_give_the_same_hashes_again(tmp_path: Path) -> None:
    name, format_ = "gmc_tsv_lake_erie.tsv", "google_tsv"
    one, _ = clean(tmp_path, name, format_)
    two, _ = clean(tmp_path, name, format_)
    assert one == two
