"""Golden tests on real feeds: counts and values were read off the files by eye."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from fashion_pipeline_tests import bath_ec
from fashion_pipeline_tests.feeds.conftest import Read, read, real_feed, store

LIVOSTYLE: dict[str, Any] = {
    "fields": {
        "external_id": "id",
        "title": "title",
        "description": "description",
        "price": "price_min_usd",
        "image_url": "featured_image_url",
        "product_url": "url",
        "product_type": ["product_type", "category_full_path"],
        "google_product_category": "category_full_path",
        "availability": "in_stock_any",
    },
    "constants": {"currency": "USD"},
}


def _by_id(result: Read) -> dict[str, dict[str, Any]]:
    return {str(item["external_id"]): item for item in result.items}


def test_google_rss_hardlife() -> None:
    result = read(real_feed("gmc_rss_hardlife.xml"), store("google_xml"))
    assert (result.report.records, result.report.items, result.report.broken) == (200, 200, 0)
    assert result.report.recoveries == []
    assert (result.report.encoding, result.report.compression) == ("utf-8", "")
    # g:shipping/g:price (4.99 USD) is nobody's price.
    assert Counter(result.column("price")) == {"75.00 USD": 130, "48.00 USD": 70}
    assert len(set(result.column("item_group_id"))) == 40
    assert sum(len(images) for images in result.column("additional_image_urls")) == 710  # type: ignore[arg-type]
    first = result.items[0]
    assert first["external_id"] == "hoodie-001-s"
    assert first["title"] == "Human Beings - Black Hoodie"
    assert first["product_url"] == "https://hrdlf.com/products/human-beings-black-hoodie"
    assert first["image_url"] == (
        "https://cdn.fourthwall.com/offer/sh_edd038df-9387-435f-a5ed-83f673666a43/"
        "d5eb1008-3cac-41be-87e3-10ac184b2ddc.jpeg"
    )
    assert first["google_product_category"] == (
        "Apparel & Accessories > Clothing > Outerwear > Coats & Jackets"
    )
    assert "HRDLF — Philadelphia streetwear" in str(first["description"])
    assert (first["size"], first["color"], first["gender"], first["condition"]) == (
        "S", "Black", "unisex", "new",
    )  # fmt: skip
    # `grep -n '<g:id>'` gives lines 2855 and 5690 for these; the item's tag stands one line before.
    assert result.items[99]["external_id"] == "hoodie-020-2xl"
    assert result.places[99] == "item 100 (line 2854)"
    assert result.items[199]["external_id"] == "tee-014-2xl"
    assert result.places[199] == "item 200 (line 5689)"
    assert '"shipping_weight": "1.13 lb"' in result.raws[0]
    assert "Standard Shipping" in result.raws[0]


def test_google_tsv_lake_erie() -> None:
    result = read(real_feed("gmc_tsv_lake_erie.tsv"), store("google_tsv"))
    assert (result.report.records, result.report.items, result.report.broken) == (160, 160, 0)
    assert result.report.recoveries == []
    assert result.items[0]["title"] == ('"Lake Erie Loot Crew" Women\'s Spaghetti Strap Pirate Fest Tank Top')
    assert result.column("title") == result.column("description")
    assert result.column("color").count("See product page") == 99
    assert result.column("gender").count("") == 10
    assert result.column("additional_image_urls") == [[]] * 160
    assert '50" × 60"' in result.column("size")
    line_68 = result.items[66]
    assert result.places[66] == "line 68"
    assert line_68["title"] == "Lake Erie Bow & Anchor Hoodie"
    assert (line_68["price"], line_68["size"], line_68["age_group"]) == ("65.00 USD", "XS", "adult")
    last = result.items[-1]
    assert (result.places[-1], last["external_id"]) == ("line 161", "0b58c3a2-2694-4b43-b1ce-62f1759a1b4d")
    assert (last["title"], last["age_group"], last["item_group_id"]) == ("Get Hooked Ceramic Mug", "", "")
    assert len({group for group in result.column("item_group_id") if group}) == 22


def test_shopify_kith() -> None:
    config = store("shopify_json", location="https://kith.com/products.json")
    result = read(real_feed("shopify_products_kith.json"), config)
    assert (result.report.records, result.report.yielding, result.report.items) == (30, 30, 131)
    assert set(result.column("availability")) == {"out_of_stock"}
    assert set(result.column("product_type")) == {"Placeholder"}
    assert set(result.column("sale_price")) == {None}
    assert set(result.column("size")) == {"XS", "S", "M", "L", "XL", "XXL", "OS"}
    assert "4995.00" in result.column("price")
    first = result.items[0]
    assert (first["external_id"], first["item_group_id"]) == ("45132974882944", "8285549396096")
    assert first["title"] == "Giorgio Armani & Kith Women Bikini - Nocturnal PH"
    assert (first["price"], first["size"], first["mpn"]) == ("1075.00", "XS", "2000257101")
    assert first["product_url"] == "https://kith.com/products/gw002297f20417n-ph?variant=45132974882944"
    assert str(first["description"]).startswith("<p>Top and bottom set </p>\n<p>")
    assert first["image_url"] == (
        "https://cdn.shopify.com/s/files/1/0094/2252/files/"
        "GW002297F20417N-Front_9c8d737c-38a1-4253-a787-623c2a5e0c0e.jpg?v=1751998329"
    )
    last = result.items[-1]
    assert (last["external_id"], last["size"], last["price"]) == ("45132970950784", "XXL", "1295.00")
    assert len(last["additional_image_urls"] or ()) == 4
    images = {item["item_group_id"]: 1 + len(item["additional_image_urls"] or ()) for item in result.items}
    assert sum(images.values()) == 178
    assert result.places[0] == "product 1 (line 3), variant 1"
    assert result.places[-1].endswith("variant 6")


def test_awin_lululemon_plain_and_gzipped_are_equal() -> None:
    plain = read(real_feed("awin_lululemon.csv"), store("awin"))
    packed = read(real_feed("awin_lululemon.csv.gz"), store("awin"))
    assert plain.items == packed.items
    assert plain.places == packed.places
    assert (plain.report.compression, packed.report.compression) == ("", "gzip")
    assert plain.report.items == 10
    first = plain.items[0]
    assert (first["external_id"], first["title"]) == ("40026645008", 'Wunder Under High-Rise Leggings 25"')
    # base_price says 49.0 USD, but the vendor's columns for prices are search_price and rrp_price.
    assert (first["price"], first["currency"], first.get("sale_price")) == ("98.0", "USD", None)
    assert first["product_url"] == (
        "https://shop.lululemon.com/p/womens-leggings/Wunder-Under-HR-78-Tight-MD/_/prod11780200"
        "?color=0001&locale=en_US&sl=US&sz=18"
    )
    assert (first["gender"], first["size"], first["material"]) == ("Female", "18", "Luon™ Fabric")
    assert first["product_type"] == "Women > Clothing > Pants > Leggings"
    assert first["availability"] == "in_stock"
    assert [len(images) for images in plain.column("additional_image_urls")] == [  # type: ignore[arg-type]
        4, 3, 5, 5, 5, 5, 5, 3, 3, 4,
    ]  # fmt: skip
    assert plain.items[8]["color"] == "Black/Black/Black"
    assert Counter(plain.column("gender")) == {"Female": 7, "Male": 3}


def test_livostyle_parquet() -> None:
    result = read(real_feed("livostyle_products.parquet"), store("parquet", mapping=LIVOSTYLE))
    assert (result.report.records, result.report.items) == (2766, 2766)
    first = result.items[0]
    assert (first["external_id"], first["price"], first["currency"]) == ("7817153052811", "28.99", "USD")
    assert first["availability"] == "true"
    by_url = {item["product_url"]: item for item in result.items}
    missing = by_url["https://livostyle.com/products/ribbed-v-neck-bikini-set"]
    assert missing["image_url"] is None
    assert result.column("image_url").count(None) == 1
    assert result.column("availability").count("false") == 6
    prices = [str(price) for price in result.column("price")]
    assert all(
        price.replace(".", "", 1).isdecimal() and len(price.partition(".")[2]) <= 2 for price in prices
    )
    assert len(set(result.column("title"))) == 2766 - 83
    assert result.places[0] == "row 1"
    assert '"price_min_usd": "28.99"' in result.raws[0]


def test_meta_csv_change_set() -> None:
    before, after = (read(real_feed(name), store("meta_csv")) for name in bath_ec.DAYS)
    assert (before.report.items, after.report.items) == (199, 187)
    assert before.report.recoveries == after.report.recoveries == []
    old, new = _by_id(before), _by_id(after)
    assert (old.keys() - new.keys(), new.keys() - old.keys()) == (bath_ec.GONE, bath_ec.NEW)
    common = old.keys() & new.keys()
    changed = Counter(
        field
        for key in common
        for field in ("price", "title", "description", "availability", "image_url")
        if old[key][field] != new[key][field]
    )
    assert changed == {"price": 52, "title": 32, "description": 10, "availability": 1, "image_url": 186}
    assert {key for key in common if not old[key]["image_url"] and new[key]["image_url"]} == {
        "654180", "674281", "674330", "678281",
    }  # fmt: skip
    assert (old["174652"]["price"], new["174652"]["price"]) == ("14300 JPY", "17600 JPY")
    assert old["4726-2"]["gtin"] == "4548360000000"
    assert before.column("image_url").count("") == 14
    assert before.column("additional_image_urls").count([]) == 23
    assert old["10037"]["title"] == "※返品・交換不可No.10037 クロールバリエ 2WAY ショルダーバッグ (ショル"


def test_every_csv_cell_is_as_the_csv_module_reads_it() -> None:
    path: Path = real_feed("meta_catalog_bath_ec_t1.csv")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    result = read(path, store("meta_csv"), batch_size=7)
    for column, field in (("description", "description"), ("title", "title"), ("product_url", "link")):
        assert result.column(column) == [row[field] for row in rows]
    assert result.records == list(range(1, 200))
