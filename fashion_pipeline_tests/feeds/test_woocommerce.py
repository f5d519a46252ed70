"""WooCommerce: the export's parents and variations, the Store API's minor units, a dump of REST v3."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fashion_pipeline.cleaning.price import PriceProblem, parse_price
from fashion_pipeline.cleaning.reasons import Reason
from fashion_pipeline.errors import FeedError
from fashion_pipeline_tests.feeds.conftest import read, store
from fashion_pipeline_tests.feeds.test_transport import Shop, _fetch, shop

__all__ = ["shop"]

HEAD = (
    "ID,Type,SKU,Name,Published,Description,In stock?,Sale price,Regular price,Date sale price starts,"
    "Date sale price ends,Categories,Images,Parent,Attribute 1 name,Attribute 1 value(s),"
    "Attribute 2 name,Attribute 2 value(s)\n"
)
PARENT = (
    '1,variable,top,Top,1,Soft,1,,,,,"Tops, Clothing > Tops > Shirts","https://x/1.jpg, https://x/2.jpg",,'
    'Color,"Red, Blue",Material,Cotton\n'
)
RED = "2,variation,top-r,,1,,1,8,10,2026-11-01,,,https://x/r.jpg,top,Color,Red,,\n"
BLUE = "3,variation,top-b,Top in blue,1,,0,,10,,,,,id:1,Color,Blue,,\n"


def test_variations_inherit_wherever_the_parent_stands(feed) -> None:
    for rows in (PARENT + RED + BLUE, RED + BLUE + PARENT, RED + PARENT + BLUE):
        result = feed(HEAD + rows, "woocommerce_csv", batch_size=1)
        assert result.report.context == {"variable product": 1}
        red, blue = sorted(result.items, key=lambda item: str(item["external_id"]))
        assert (red["title"], blue["title"]) == ("Top", "Top in blue")
        assert (red["description"], red["item_group_id"], blue["item_group_id"]) == ("Soft", "1", "1")
        assert (red["color"], red["material"], red["product_type"]) == (
            "Red",
            "Cotton",
            "Clothing > Tops > Shirts",
        )
        assert (red["price"], red["sale_price"], red["sale_price_effective_date"]) == (
            "10",
            "8",
            "2026-11-01/",
        )
        assert (red["image_url"], blue["image_url"]) == ("https://x/r.jpg", "https://x/1.jpg")
        assert blue["additional_image_urls"] == ["https://x/2.jpg"]
        assert (red["availability"], blue["availability"]) == ("in_stock", "out_of_stock")


def test_commas_within_values_are_escaped(feed) -> None:
    row = '9,simple,s,Set,1,,1,,5,,,"Sets\\, boxed","https://x/a\\,b.jpg, https://x/c.jpg",,Color,"Red\\, dark",,\n'
    [item] = feed(HEAD + row, "woocommerce_csv").items
    assert (item["product_type"], item["color"]) == ("Sets, boxed", "Red, dark")
    assert (item["image_url"], item["additional_image_urls"]) == ("https://x/a,b.jpg", ["https://x/c.jpg"])


def test_line_breaks_of_prose_are_escaped(feed) -> None:
    row = r'9,simple,s,A\nB,1,"<p>One</p>\nTwo C:\\new",1,,5,,,,,,,,,' + "\n"
    [item] = feed(HEAD + row, "woocommerce_csv").items
    assert item["description"] == "<p>One</p>\nTwo C:\\new"
    assert item["title"] == r"A\nB"


def test_what_is_no_product_is_context(feed) -> None:
    rows = "4,grouped,g,Set,1,,1,,,,,,,,,,,\n5,simple,d,Draft,-1,,1,,5,,,,,,,,,\n6,simple,p,Private,0,,1,,5,,,,,,,,,\n"
    alone = PARENT.replace("1,variable,top,", "7,variable,alone,")
    result = feed(HEAD + rows + alone + "8,simple,ok,Fine,1,,backorder,,5,,,,,,,,,\n", "woocommerce_csv")
    assert result.report.context == {
        "grouped product": 1, "not published": 2, "variable product without variations": 1,
    }  # fmt: skip
    assert [(i["external_id"], i["availability"]) for i in result.items] == [("8", "backorder")]
    assert result.places == ["line 6"]


def test_variations_of_a_draft_are_not_published(feed) -> None:
    draft = PARENT.replace("top,Top,1,", "top,Top,-1,")
    with pytest.raises(FeedError, match="0 products"):
        feed(HEAD + draft + RED, "woocommerce_csv")


def test_broken_rows_keep_their_place(feed) -> None:
    result = feed(HEAD + PARENT + RED + "9,too,many" + "," * 20 + "x\n" + BLUE, "woocommerce_csv")
    assert [b.place for b in result.broken] == ["line 4"]
    assert result.column("external_id") == ["2", "3"]


def _api(number: int, **fields: Any) -> dict[str, Any]:
    prices = {
        "price": "900",
        "regular_price": "1200",
        "price_range": None,
        "currency_code": "JPY",
        "currency_minor_unit": 0,
    }
    return {
        "id": number,
        "name": f"P{number}",
        "type": "simple",
        "parent": 0,
        "prices": prices,
        "is_in_stock": False,
        **fields,
    }


def test_store_api(feed) -> None:
    ranged = _api(2)["prices"] | {"price_range": {"min_amount": "900", "max_amount": "1500"}}
    several = [{"name": "Colour", "terms": [{"name": "Red"}, {"name": "Blue"}]}]
    result = feed(
        json.dumps(
            [_api(1), _api(2, prices=ranged), _api(3, attributes=several, parent=1), _api(4, type="grouped")]
        ),
        "woocommerce_store",
    )
    assert result.column("price") == ["1200", "900 - 1500", "1200"]
    assert result.column("sale_price") == ["900", None, "900"]
    assert result.column("currency_minor_unit") == ["0", "0", "0"]
    assert result.column("item_group_id") == ["", "", "1"]
    assert result.items[0]["availability"] == "out_of_stock"
    # Nobody knows which of two colours the item has.
    assert "color" not in result.items[2]
    assert result.report.context == {"type grouped": 1}


def test_rest_v3_dump(feed) -> None:
    products = [
        {"id": 1, "name": "Plain", "status": "publish", "type": "simple", "price": "8.00", "regular_price": "10.00",
         "stock_status": "onbackorder", "images": [{"src": "https://x/1.jpg"}], "variations": [],
         "attributes": [{"name": "Color", "options": ["Red"]}, {"name": "Size", "options": ["S", "M"]}]},
        {"id": 2, "name": "Top", "status": "publish", "type": "variable", "price": "5", "regular_price": "",
         "images": [{"src": "https://x/2.jpg"}], "attributes": [{"name": "Size", "options": ["S", "M"]}],
         "variations": [{"id": 21, "price": "5", "regular_price": "5", "attributes": [{"name": "Size", "option": "S"}],
                         "image": {"src": "https://x/21.jpg"}}]},
        {"id": 3, "name": "Bag", "status": "draft", "price": "5"},
        {"id": 4, "name": "Ids only", "status": "publish", "type": "variable", "price": "5", "variations": [41, 42]},
    ]  # fmt: skip
    result = feed(json.dumps(products), "woocommerce_rest")
    assert result.column("external_id") == ["1", "21", "4"]
    plain, small, alone = result.items
    assert alone["price"] == "from 5"
    assert (plain["price"], plain["sale_price"], plain["availability"]) == ("10.00", "8.00", "backorder")
    assert (plain["color"], plain["size"]) == ("Red", None)
    assert (small["title"], small["size"], small["item_group_id"]) == ("Top", "S", "2")
    assert small["image_url"] == "https://x/21.jpg"
    assert result.report.context == {"status draft": 1}


def _variable(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "name": "Top", "type": "variable", "price": "5", "regular_price": "", **fields}


def _variation(number: int, parent: int) -> dict[str, Any]:
    price = {"price": str(number), "regular_price": str(number)}
    return {"id": number, "name": f"Top {number}", "type": "variation", "parent_id": parent, **price}


def test_a_variable_parent_is_no_product_beside_its_variations(feed) -> None:
    records = [_variation(21, 2), _variable(2, variations=[21, 22]), _variation(22, 2), _variable(3)]
    result = feed(json.dumps(records), "woocommerce_rest")
    assert result.column("external_id") == ["21", "22", "3"]
    assert result.column("price") == ["21", "22", "from 5"]
    assert result.column("item_group_id")[:2] == ["2", "2"]
    assert result.report.context == {"variable product": 1}
    assert result.report.balanced()


def test_variations_in_another_file_of_the_dump(feed) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("products.json", json.dumps([_variable(2, variations=[21])]))
        archive.writestr("variations.json", json.dumps([_variation(21, 2)]))
    result = feed(packed.getvalue(), "woocommerce_rest")
    assert result.column("external_id") == ["21"]
    assert result.report.context == {"variable product": 1}


@pytest.mark.parametrize(
    ("shown", "price"),
    [
        ("", "from 5"),
        ("<bdi>$5.00</bdi>", "5"),
        ("<bdi>$5.00</bdi> &ndash; <bdi>$9.00</bdi>", "5.00 - 9.00"),
    ],
)
def test_a_variable_product_without_variations_has_a_price_only_where_one_is_shown(
    feed, shown: str, price: str
) -> None:
    result = feed(json.dumps([_variable(2, variations=[21, 22], price_html=shown)]), "woocommerce_rest")
    assert result.column("price") == [price]
    assert '"price": "5"' in result.raws[0]


def test_store_api_is_crawled_by_its_headers(shop: Shop, tmp_path: Path) -> None:
    pages = {"1": [_api(1), _api(2)], "2": [_api(2), _api(3)]}

    @shop("/wp-json/wc/store/v1/products")
    async def products(request: web.Request) -> web.Response:
        body = json.dumps(pages[request.query["page"]])
        return web.Response(text=body, content_type="application/json", headers={"X-WP-TotalPages": "2"})

    location = f"{shop.url}/wp-json/wc/store/v1/products?per_page=10"
    fetched = _fetch(location, tmp_path / "feed", pages="woocommerce", requests_per_second=50)
    assert fetched.pages == 2
    assert [request.query_string for request in shop.requests] == [
        "per_page=100&page=1",
        "per_page=100&page=2",
    ]
    result = read(tmp_path / "feed", store("woocommerce_store", location=location))
    assert result.column("external_id") == ["1", "2", "3"]
    assert result.report.context == {"repeated on a later page": 1}


def test_a_page_that_is_no_list(shop: Shop, tmp_path: Path) -> None:
    shop.answers("/p", (200, b'{"code": "rest_no_route"}', {}))
    with pytest.raises(FeedError, match="page 1 is no JSON list"):
        _fetch(f"{shop.url}/p", tmp_path / "feed", pages="woocommerce")


@pytest.mark.parametrize(
    "shown",
    [
        "49,99 € <small>inkl. 19 % MwSt.</small>",
        "$49.99 incl. 20% VAT",
        "49.99 <small>plus 5.00 shipping</small>",
    ],
)
def test_a_rate_of_tax_behind_a_price_makes_no_range(feed, shown: str) -> None:
    row = {"id": 1, "name": "Shirt", "type": "simple", "price": "49.99", "price_html": shown}
    assert feed(json.dumps([row]), "woocommerce_rest").column("price") == ["49.99"]


@pytest.mark.parametrize(
    "shown",
    [
        "From <bdi>&#36;10.00</bdi>",
        "<small class='from'>from </small><bdi>$10.00</bdi>",
        "<del>$12.00</del> <ins>ab <bdi>10.00&nbsp;&euro;</bdi></ins>",
        "À partir de 10.00 €",
        "<bdi>¥10.00</bdi>〜",
    ],
)
def test_a_price_shown_as_the_lower_end_of_a_range_is_none(feed, shown: str) -> None:
    row = {"id": 1, "name": "Shirt", "type": "simple", "price": "10.00", "price_html": shown}
    assert feed(json.dumps([row]), "woocommerce_rest").column("price") == ["from 10.00"]
    found = parse_price("from 10.00", store_currency="EUR")
    assert isinstance(found, PriceProblem)
    assert found.reasons == (Reason.PRICE_RANGE,)


@pytest.mark.parametrize(
    "shown",
    [
        "Now only <bdi>$10.00</bdi>",
        "Members pay <bdi>$10.00</bdi> from Monday on",
        '<span class="screen-reader-text">Price from: </span><bdi>$10.00</bdi>',
        "<bdi>$10.00</bdi> to take away",
    ],
)
def test_words_about_a_price_are_no_range(feed, shown: str) -> None:
    row = {"id": 1, "name": "Shirt", "type": "simple", "price": "10.00", "price_html": shown}
    assert feed(json.dumps([row]), "woocommerce_rest").column("price") == ["10.00"]


@pytest.mark.parametrize("odd", ["nan", "sNaN", "-inf", "Infinity"])
def test_a_price_that_is_no_number_stops_nothing(feed, odd: str) -> None:
    rows = [{"id": i, "name": "Shirt", "price": odd, "regular_price": "10"} for i in (1, 2)]
    assert len(feed(json.dumps(rows), "woocommerce_rest").items) == 2
