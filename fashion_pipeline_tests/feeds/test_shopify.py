"""Shopify's products.json: variants, prices, pictures, pages; and the splitting of long JSON."""

import io
import json
import zipfile
from typing import Any

import pytest

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.readers.json_stream import Element, JsonList


def _product(number: int, **fields: Any) -> dict[str, Any]:
    variant = {"id": number * 10, "title": "Default Title", "option1": "Default Title", "price": "10.00"}
    return {
        "id": number,
        "title": f"Product {number}",
        "handle": f"product-{number}",
        "variants": [variant],
        "images": [],
        "options": [{"name": "Title", "position": 1, "values": ["Default Title"]}],
        **fields,
    }


def _pages(*pages: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, products in enumerate(pages, 1):
            archive.writestr(f"page-{number:05}.json", json.dumps({"products": products}))
    return buffer.getvalue()


def _read(feed, products: list[Any], **fields: Any):
    return feed(json.dumps({"products": products}), "shopify_json", **fields)


def test_prices_are_a_pair(feed) -> None:
    prices = [("80.00", "100.00"), ("80.00", "80.00"), ("80.00", None), ("80.00", "0.00"), ("80.00", "")]
    products = [
        _product(n, variants=[{"id": n, "price": price, "compare_at_price": compare}])
        for n, (price, compare) in enumerate(prices, 1)
    ]
    result = _read(feed, products)
    assert result.column("price") == ["100.00", "80.00", "80.00", "80.00", "80.00"]
    assert result.column("sale_price") == ["80.00", None, None, None, None]


def test_a_product_in_each_line(feed) -> None:
    lines = "".join(json.dumps(_product(number)) + "\n" for number in (1, 2))
    result = feed(f"{lines}{{broken\n{json.dumps(_product(3))}\n", "shopify_json")
    assert result.column("external_id") == ["10", "20", "30"]
    assert [broken.reason for broken in result.broken] == [
        "no JSON: Expecting property name enclosed in double quotes"
    ]


def test_what_only_the_admin_api_says(feed) -> None:
    """Products that nobody can buy are context; a stock that is counted tells what is available."""
    stocks = [
        {"inventory_quantity": 3, "inventory_management": "shopify", "inventory_policy": "deny"},
        {"inventory_quantity": 0, "inventory_management": "shopify", "inventory_policy": "deny"},
        {"inventory_quantity": -2, "inventory_management": "shopify", "inventory_policy": "continue"},
        {"inventory_quantity": 0, "inventory_management": None},
        {},
    ]
    products = [
        _product(n, status="active", tags="Sale, Women", variants=[{"id": n, "price": "5.00", **stock}])
        for n, stock in enumerate(stocks, 1)
    ]
    hidden = [_product(6, status="draft"), _product(7, status="archived"), _product(8, published_at=None)]
    result = _read(feed, [*products, *hidden])
    assert result.column("availability") == ["in_stock", "out_of_stock", "backorder", "in_stock", None]
    assert result.column("gender") == ["female"] * 5
    assert result.report.context == {"not published": 3}


def test_numbers_stay_the_text_that_they_are(feed) -> None:
    variant = '{"id":90071992547409931,"price":19.90}'
    text = '{"products":[{"id":9007199254740993,"title":"A","variants":[' + variant + "]}]}"
    result = feed(text, "shopify_json")
    assert result.items[0]["external_id"] == "90071992547409931"
    assert result.items[0]["item_group_id"] == "9007199254740993"
    assert result.items[0]["price"] == "19.90"


def test_options_become_columns_and_the_rest_goes_to_the_title(feed) -> None:
    options = [{"name": "Farbe"}, {"name": "Größe"}, {"name": "Length"}]
    variants = [
        {"id": 1, "option1": "Rot", "option2": "M", "option3": "Long", "price": "1"},
        {"id": 2, "option1": "Rot", "option2": "L", "option3": None, "price": "1"},
    ]
    result = _read(feed, [_product(1, title="Kleid", options=options, variants=variants)])
    assert result.column("color") == ["Rot", "Rot"]
    assert result.column("size") == ["M", "L"]
    assert result.column("title") == ["Kleid - Long", "Kleid"]
    plain = _read(
        feed, [_product(2, options=["Color"], variants=[{"id": 3, "option1": "Red", "price": "1"}])]
    )
    assert plain.column("color") == ["Red"]


def test_default_title_says_nothing(feed) -> None:
    [item] = _read(feed, [_product(1)]).items
    assert item["title"] == "Product 1"
    assert "size" not in item
    assert "color" not in item


def test_pictures(feed) -> None:
    images = [
        {"id": 3, "position": 3, "src": "https://x/3.jpg", "variant_ids": [12]},
        {"id": 1, "position": 1, "src": "https://x/1.jpg", "variant_ids": []},
        {"id": 2, "position": 2, "src": "https://x/2.jpg", "variant_ids": []},
    ]
    variants = [
        {"id": 11, "price": "1", "featured_image": {"src": "https://x/2.jpg"}},
        {"id": 12, "price": "1", "featured_image": None},
        {"id": 13, "price": "1"},
    ]
    result = _read(feed, [_product(1, images=images, variants=variants)])
    assert result.column("image_url") == ["https://x/2.jpg", "https://x/3.jpg", "https://x/1.jpg"]
    assert result.column("additional_image_urls")[0] == ["https://x/1.jpg", "https://x/3.jpg"]
    assert _read(feed, [_product(1)]).items[0]["image_url"] is None


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"base_url": "https://shop.example/"}, "https://shop.example/products/product-1?variant=10"),
        (
            {"location": "https://cdn.example/x/products.json"},
            "https://cdn.example/products/product-1?variant=10",
        ),
        ({"location": "/data/products.json"}, None),
    ],
)
def test_product_pages(feed, fields: dict[str, str], url: str | None) -> None:
    assert _read(feed, [_product(1)], **fields).items[0]["product_url"] == url


def test_availability(feed) -> None:
    variants = [{"id": n, "price": "1", "available": value} for n, value in enumerate([True, False, None])]
    result = _read(feed, [_product(1, variants=variants)])
    assert result.column("availability") == ["in_stock", "out_of_stock", None]


def test_pages_of_a_crawl_are_one_feed(feed) -> None:
    result = feed(
        _pages([_product(1), _product(2)], [_product(2, title="changed meanwhile"), _product(3)]),
        "shopify_json",
    )
    assert result.column("item_group_id") == ["1", "2", "3"]
    assert result.column("title")[1] == "Product 2"
    assert result.report.context == {"repeated on a later page": 1}
    assert result.records == [1, 2, 4]
    assert result.places[2] == "page-00002.json, product 2 (line 1), variant 1"


def test_the_same_id_within_one_document_is_for_cleaning_to_judge(feed) -> None:
    assert len(_read(feed, [_product(1), _product(1, title="other")]).items) == 2


def test_products_without_variants_and_broken_ones(feed) -> None:
    result = _read(
        feed, [_product(1, variants=[]), _product(2), 7, {"id": 3, "title": "x"}, _product(4, variants={})]
    )
    assert result.column("external_id") == ["20"]
    assert result.report.context == {"product without variants": 1}
    assert [(b.record, b.reason[:10]) for b in result.broken] == [
        (3, "no JSON ob"), (4, "no `varian"), (5, "`variants`"),
    ]  # fmt: skip


def test_an_element_that_is_no_json_costs_itself(feed) -> None:
    good = [json.dumps(_product(n)) for n in range(1, 4)]
    bad = '{"id": 9, "title": "trailing comma", "variants": [{"id": 1,}],}'
    result = feed('{"products": [' + ",\n".join([good[0], bad, good[1], good[2]]) + "]}", "shopify_json")
    assert result.column("item_group_id") == ["1", "2", "3"]
    [broken] = result.broken
    assert (broken.record, broken.place, broken.raw) == (2, "product 2 (line 2)", bad)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"products": []}', "0 products"),
        ("[]", "0 products"),
        ('{"products": [{"id": 1, "title": "a", "variants": [{"id": 2', "truncated"),
        ('{"products": [{"id": 1, "title": "a", "variants": [{"id": 2}]}', "truncated"),
        ('{"products": [{"id": 1, "title": "a", "variants": [{"id": 2}]}]', "truncated"),
        ('{"products": [{"id": 1, "title": "unend', "truncated"),
        ('{"products": [1 2]}', "',' missing"),
        ('{"products": []} {"a": 1}', "goes on after"),
        ('{"items": [{"id": 1}], "total": 3}', "no list 'products' in the JSON, found keys: items, total"),
        ('{"errors": "Not Found"}', "JSON error message"),
        ("{products: []}", "not well-formed"),
        ("<html><title>Password</title></html>", "HTML page titled 'Password'"),
        ("id,title\n1,x\n", "looks like text"),
        ('{"products": [{"id": 1, "variants": [{"id": 2}]}]}', "field for title"),
        ('{"products": [' + "[" * 100_000 + "]" * 100_000 + "]}", "0 products .1 broken"),
        ('{"products": ["' + "x" * 36_000_000 + '"]}', "more than"),
    ],
)
def test_refused(feed, data: str, words: str) -> None:
    with pytest.raises(FeedError, match=f"^store 'shop': .*{words}"):
        feed(data, "shopify_json")


@pytest.mark.parametrize("size", [1, 2, 5, 64, 10_000])
def test_the_list_does_not_depend_on_chunks(size: int) -> None:
    values = [{"a": 'x\\"y]}', "n": 1.50, "l": [1, [2]]}, 12345, "s,]", None, [], {"é": "ü\n"}]
    text = json.dumps({"before": [1, {"products": [0]}], "products": values, "after": {"x": 1}}, indent=1)
    text = text.replace("1.5,", "1.50,")
    chunks = (text[n : n + size] for n in range(0, len(text), size))
    products = JsonList(chunks, "x", "products", lambda what, where: None)
    elements: list[Element] = list(products)
    assert [element.value for element in elements] == [
        {"a": "x\\\"y]}", "n": "1.50", "l": ["1", ["2"]]}, "12345", "s,]", None, [], {"é": "ü\n"},
    ]  # fmt: skip
    assert [element.number for element in elements] == [1, 2, 3, 4, 5, 6]
    lines = text.split("\n")
    assert all(
        lines[element.line - 1].strip()[:1] == first
        for element, first in zip(elements, ["{", "1", '"', "n", "[", "{"], strict=True)
    )
    assert products.outside.keys() == {"before", "after"}
