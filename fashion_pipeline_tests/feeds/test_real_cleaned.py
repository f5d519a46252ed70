"""Golden tests on real feeds through reading and cleaning: values were read off the files by eye."""

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.cleaning.run import CleanReport
from fashion_pipeline.errors import FeedError
from fashion_pipeline_tests.feeds.conftest import cleaned, read, real_feed, store

Rows = dict[str, dict[str, Any]]


def _clean(folder: Path, name: str, format_name: str, **fields: Any) -> tuple[Rows, Rows, CleanReport]:
    """Clean rows by id, rejected items by place, and the account."""
    found = cleaned(folder, real_feed(name), store(format_name, **fields))
    return found.rows, {row["place"]: row for row in found.rejected}, found.report


def _has(row: dict[str, Any], **expected: Any) -> None:
    assert {name: row[name] for name in expected} == expected


def test_google_retail_jsonl(tmp_path: Path) -> None:
    rows, rejected, report = _clean(tmp_path, "jsonl_google_merch_store.jsonl", "google_retail")
    assert (report.records, report.items, report.clean, report.rejected, report.broken) == (
        200,
        200,
        194,
        6,
        0,
    )
    assert report.reasons == {"price_zero": 4, "id_conflict": 2}
    assert set(rejected) == {f"line {n}" for n in (14, 167, 177, 179, 195, 196)}
    assert {rejected["line 195"]["external_id"], rejected["line 196"]["external_id"]} == {"POKEMONP004"}
    assert rejected["line 195"]["severity"] == "quarantine"
    # 192 USD and 8 JPY in the file, less four at 0 USD and the two Pokémon in JPY.
    assert report.currencies == {"USD": 188, "JPY": 6}
    _has(
        rows["GGOEGBJA127699"],
        title="Google壁画トート",
        price=Decimal(18),
        currency="USD",
        product_type="バッグ",
        availability="in_stock",
        image_url="https://shop.googlemerchandisestore.com/store/20160512512/assets/items/images/GGOEGBJA127699.jpg",
        product_url="https://shop.googlemerchandisestore.com/Google+Redesign/Bags/Google+Mural+Tote",
        description=None,
        brand=None,
        place="line 1",
    )
    # 16 in the file, of which lines 177 and 179 (price 0) and 195 (a conflict) have no row.
    assert sum(row["availability"] == "out_of_stock" for row in rows.values()) == 16 - 3


def test_shopify_export(tmp_path: Path) -> None:
    rows, rejected, report = _clean(
        tmp_path,
        "shopify_export_apparel.csv",
        "shopify_csv",
        currency="CAD",
        base_url="https://apparel.example",
    )
    assert (report.records, report.items, report.clean, rejected) == (22, 22, 22, {})
    assert len({row["item_group_id"] for row in rows.values()}) == 20
    assert Counter(row["gender"] for row in rows.values()) == {"female": 16, "male": 6}
    assert {row["mpn"] for row in rows.values()} == {None}
    _has(
        rows["ocean-blue-shirt"],
        title="Ocean Blue Shirt",
        price=Decimal(50),
        sale_price=None,
        currency="CAD",
        size=None,
        gender="male",
        availability="in_stock",
        image_url="https://burst.shopifycdn.com/photos/young-man-in-bright-fashion_925x.jpg",
        product_url="https://apparel.example/products/ocean-blue-shirt",
        place="line 2",
    )
    # Lines 4 and 5 have neither a title nor a picture of their own.
    for line, size in ((3, "S"), (4, "M"), (5, "L")):
        name = {"S": "Small", "M": "Medium", "L": "Large"}[size]
        _has(
            rows[f"classic-varsity-top/{name}"],
            title="Classic Varsity Top",
            size=size,
            price=Decimal(60),
            item_group_id="classic-varsity-top",
            image_url="https://burst.shopifycdn.com/photos/casual-fashion-woman_925x.jpg",
            place=f"line {line}",
        )
    # The last line has no end of line.
    _has(rows["led-high-tops"], title="LED High Tops", price=Decimal(80), place="line 23")


def test_woocommerce_export(tmp_path: Path) -> None:
    rows, rejected, report = _clean(
        tmp_path, "woocommerce_export_sample.csv", "woocommerce_csv", currency="USD"
    )
    assert (report.records, report.items, report.clean, rejected) == (24, 21, 21, {})
    assert report.context == {"variable product": 2, "grouped product": 1}
    assert report.warnings == {"product_url_missing": 20}
    _has(rows["743"], title="Hoodie with Pocket and Logo", price=Decimal(45), color="blue", place="line 4")
    # The variation has neither a category nor a group of its own.
    _has(
        rows["758"],
        title="Hoodie - Red, No",
        price=Decimal(45),
        sale_price=Decimal(42),
        color="red",
        item_group_id="742",
        product_type="Clothing > Hoodies",
        mpn="cc-hoodie-red",
        image_url="https://classiccommerce.cc/wp-content/downloads/sample-data-images/hoodie-no-pocket-red.png",
        place="line 12",
    )
    assert Counter(row["item_group_id"] for row in rows.values()) == {None: 12, "742": 6, "741": 3}
    # `Large, Medium, Small` is the parent's; the variation of any size has none.
    _has(rows["883"], title="T-Shirt - Blue", size=None, color="blue", product_type="Clothing > Tshirts")
    _has(rows["753"], title="Album", product_type="Music", price=Decimal(15))
    _has(rows["872"], title="ClassicPress Donation", price=Decimal(30))
    assert not rows.keys() & {"741", "742", "871"}


def test_woocommerce_store_api(tmp_path: Path) -> None:
    rows, _, report = _clean(tmp_path, "woo_store_api_marilynhellman.json", "woocommerce_store")
    assert (report.records, report.items, report.clean) == (3, 3, 3)
    # "22900" in minor units; sale_price equals regular_price, which is no sale.
    assert {key: (row["price"], row["sale_price"]) for key, row in rows.items()} == {
        "56364": (Decimal(229), None), "56360": (Decimal(159), None), "56355": (Decimal(129), None),
    }  # fmt: skip
    _has(
        rows["56364"],
        title="Marilyn\u2019s Medium Size Pearl Necklace",
        currency="USD",
        size="MED/LENGTH",
        mpn=None,
        item_group_id=None,
        product_type=None,
        brand=None,
        product_url="https://marilynhellman.com/product/marilyns-medium-size-pearl-necklace/",
        image_url="https://marilynhellman.com/wp-content/uploads/2026/09/Screenshot-2026-09-23-151432.png",
    )
    # The term's name, not the slug `blk-wht`.
    assert rows["56355"]["color"] == "black/white"


def test_jsonld_group(tmp_path: Path) -> None:
    rows, _, report = _clean(tmp_path, "jsonld_decathlon_productgroup.html", "jsonld")
    assert (report.records, report.items, report.clean, report.warnings) == (1, 2, 2, {})
    _has(
        rows["4adc3d6a-2594-4651-a6ad-9951c68b908b"],
        title="Men's Breathable Crew Neck Essential Fitness T-Shirt - Mottled Grey",
        price=Decimal(299),
        currency="EGP",
        brand="DOMYOS",
        color="grey",
        item_group_id="302873",
        condition="new",
        availability="in_stock",
        gtin=None,
        product_url="https://www.decathlon.eg/en/p/302873-114486-men-s-breathable-crew-neck-essential-fitness-t-shirt-mottled-grey.html",
    )
    other = rows["698a7a31-8674-47f4-ac01-5979647a2c0d"]
    assert other["color"] == "blue/white"
    assert other["image_url"].endswith(".jpg?format=auto&quality=40&f=520x520")


def test_jsonld_product(tmp_path: Path) -> None:
    rows, _, report = _clean(tmp_path, "jsonld_adidas_eg.html", "jsonld")
    # The group's further variant has no offer here: it is another page's product.
    assert (report.records, report.items, report.clean, report.warnings) == (1, 1, 1, {})
    _has(
        rows["KG2943"],
        title="Real Madrid DNA T-Shirt",
        price=Decimal(2399),
        currency="EGP",
        brand="adidas",
        color="white",
        product_type="Men's Clothing",
        item_group_id="BW301",
        availability="in_stock",
        product_url="https://www.adidas.com.eg/en/real-madrid-dna-t-shirt/KG2943.html",
    )
    assert len(rows["KG2943"]["additional_image_urls"]) == 5


def test_rakuten_sample_is_a_cut_file_by_the_book() -> None:
    with pytest.raises(FeedError, match="no TRL line after 1 records: the transfer was cut, truncated"):
        read(real_feed("rakuten_vendor_doc_sample.txt"), store("rakuten"))


def test_rakuten_sample_with_its_trailer(tmp_path: Path) -> None:
    path = tmp_path / "whole.txt"
    path.write_text(real_feed("rakuten_vendor_doc_sample.txt").read_text().rstrip() + "\nTRL|1\n")
    [item] = read(path, store("rakuten")).items
    assert (item["external_id"], item["title"], item["price"], item["sale_price"]) == (
        "202232415", "GreatExpectations", "29.95", "29.95",
    )  # fmt: skip
    assert (item["currency"], item["availability"], item["action"]) == ("USD", "in_stock", "upsert")
    assert item["product_url"] == "http://www.examplemerchant.com/a/products/10003"
    assert item["product_type"] == "books > Classics"
