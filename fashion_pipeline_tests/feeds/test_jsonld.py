"""schema.org in pages: graphs, lists, groups, offers of every shape, broken blocks, og: tags."""
# ruff: noqa: E501 - a block on one line reads better than on five

import io
import json
import zipfile
from typing import Any

import pytest

from fashion_pipeline.errors import FeedError


def _block(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f'<script type="application/ld+json">{text}</script>\n'


def _page(*values: Any, head: str = "") -> str:
    return (
        f"<!DOCTYPE html>\n<html><head><title>T</title>{head}\n{''.join(map(_block, values))}</head></html>"
    )


def _product(sku: str = "1", **fields: Any) -> dict[str, Any]:
    offer = {"@type": "Offer", "price": 10, "priceCurrency": "EUR", "availability": "InStock"}
    return {
        "@type": "Product",
        "sku": sku,
        "name": f"Dress {sku}",
        "image": "https://x/1.jpg",
        "offers": offer,
        **fields,
    }


@pytest.mark.parametrize(
    "value",
    [
        _product(),
        [{"@type": "BreadcrumbList"}, _product()],
        {"@context": "https://schema.org", "@graph": [{"@type": "WebSite"}, _product()]},
        {"@type": "WebPage", "mainEntity": _product()},
        {"@type": "ItemList", "itemListElement": [{"@type": "ListItem", "item": _product()}]},
        _product() | {"@type": ["Product", "Thing"]},
        {f"http://schema.org/{k}" if k != "@type" else k: v for k, v in (_product() | {"@type": "http://schema.org/Product"}).items()},
    ],
)  # fmt: skip
def test_where_products_stand(feed, value: Any) -> None:
    [item] = feed(_page(value), "jsonld").items
    assert (item["external_id"], item["title"], item["price"], item["currency"]) == (
        "1",
        "Dress 1",
        "10",
        "EUR",
    )
    assert (item["image_url"], item["availability"]) == ("https://x/1.jpg", "InStock")


def test_groups_and_their_variants(feed) -> None:
    group = {
        "@type": "ProductGroup", "@id": "#g", "productGroupID": "g", "name": "Shirt", "sku": "g-sku", "brand": {"name": "Acme"},
        "material": "cotton", "hasVariant": [
            _product("a", name="Shirt red", color="red"),
            {"@type": "Product", "sku": "b", "size": {"name": "L"}, "offers": {"price": "12.00", "priceCurrency": "EUR"}},
            {"@id": "#c"},
        ],
    }  # fmt: skip
    result = feed(_page({"@graph": [_product("c") | {"@id": "#c"}, group]}), "jsonld")
    by_id = {item["external_id"]: item for item in result.items}
    assert set(by_id) == {"a", "b", "c"}
    assert (by_id["a"]["title"], by_id["b"]["title"]) == ("Shirt red", "Shirt")
    assert (by_id["b"]["brand"], by_id["b"]["material"], by_id["b"]["size"]) == ("Acme", "cotton", "L")
    assert (by_id["a"]["item_group_id"], by_id["b"]["price"]) == ("g", "12.00")
    assert result.report.yielding == 2


@pytest.mark.parametrize(
    ("told", "ids"),
    [
        ([{"gtin13": "4006381333931"}, {"gtin13": "4006381333948"}], ["4006381333931", "4006381333948"]),
        ([{"@id": "#1", "mpn": "x"}, {"@id": "#2", "mpn": "x"}], ["#1", "#2"]),
        ([{"size": "S"}, {"size": "M"}], ["g", "g"]),
    ],
)
def test_variants_that_share_the_sku_of_their_group_are_items_each(feed, told: Any, ids: list[str]) -> None:
    variants = [_product("g", **each) for each in told]
    group = {"@type": "ProductGroup", "productGroupID": "g", "name": "Shirt", "hasVariant": variants}
    result = feed(_page(group), "jsonld")
    assert result.column("external_id") == ids
    again = feed(_page(group, group, _product(ids[0])), "jsonld")
    assert again.column("external_id") == ids
    assert again.report.context == {"repeated on the page": 2}


def test_items_that_another_block_holds_are_told_of(feed) -> None:
    group = {"@type": "ProductGroup", "name": "Shirt", "hasVariant": [_product("a"), _product("b")]}
    result = feed(_page(_product("a"), group), "jsonld")
    assert result.column("external_id") == ["a", "b"]
    assert result.recovery("another block") == 1


def test_an_escaped_type_of_the_block(feed) -> None:
    page = _page(_product()).replace("ld+json", "ld&#x2B;json")
    assert feed(page, "jsonld").column("external_id") == ["1"]


def test_a_group_without_offers_and_a_bare_list_entry_are_context(feed) -> None:
    values = [
        {"@type": "ProductGroup", "name": "Empty", "image": "x"},
        {"@type": "Product", "name": "Only a name"},
        _product(),
    ]
    result = feed(_page(*values), "jsonld")
    assert result.report.context == {"list entry or group without an offer": 2}
    assert result.column("external_id") == ["1"]


def test_the_same_product_in_two_blocks_is_one(feed) -> None:
    result = feed(_page(_product(), _product(description="again")), "jsonld")
    assert (len(result.items), result.report.context) == (1, {"repeated on the page": 1})


def test_related_products_are_not_the_page_s(feed) -> None:
    result = feed(_page(_product(isRelatedTo=[_product("2")], isVariantOf={"@type": "ProductGroup", "productGroupID": "g",
                                                                          "hasVariant": [_product("3")]})), "jsonld")  # fmt: skip
    assert result.column("external_id") == ["1"]
    assert result.column("item_group_id") == ["g"]


def _offer(price: object, **fields: Any) -> dict[str, Any]:
    return {"price": price, "priceCurrency": "EUR", **fields}


@pytest.mark.parametrize(
    ("offers", "price", "sale"),
    [
        ([_offer(10), _offer("10")], "10", None),
        ([_offer(10), _offer(12)], "10 - 12", None),
        (
            [_offer(9, availability="https://schema.org/OutOfStock"), _offer(12, availability="InStock")],
            "9 - 12",
            None,
        ),
        ({"@type": "AggregateOffer", "lowPrice": 9, "highPrice": 11, "priceCurrency": "EUR"}, "9 - 11", None),
        ({"@type": "AggregateOffer", "lowPrice": 9, "highPrice": 9.0, "priceCurrency": "EUR"}, "9", None),
        ({"@type": "AggregateOffer", "lowPrice": 9, "offers": [_offer(9)]}, "9", None),
        ({"priceSpecification": {"price": 8, "priceCurrency": "EUR"}}, "8", None),
        (
            _offer(8, priceSpecification=[{"priceType": "https://schema.org/ListPrice", "price": 10}]),
            "10",
            "8",
        ),
    ],
)
def test_offers(feed, offers: Any, price: str, sale: str | None) -> None:
    [item] = feed(_page(_product(offers=offers)), "jsonld").items
    assert (item["price"], item.get("sale_price"), item["currency"]) == (price, sale, "EUR")


def test_offers_with_skus_of_their_own_are_items(feed) -> None:
    result = feed(_page(_product(offers=[_offer(10, sku="s"), _offer(12, sku="m")])), "jsonld")
    assert result.column("external_id") == ["s", "m"]
    assert result.column("price") == ["10", "12"]
    assert result.column("item_group_id") == ["1", "1"]
    assert result.report.yielding == 1


@pytest.mark.parametrize("image", ["https://x/1.jpg", ["https://x/1.jpg", "https://x/2.jpg"],
                                   {"@type": "ImageObject", "url": "https://x/1.jpg"}, [{"contentUrl": "https://x/1.jpg"}]])  # fmt: skip
def test_images(feed, image: Any) -> None:
    assert feed(_page(_product(image=image)), "jsonld").items[0]["image_url"] == "https://x/1.jpg"


def test_invalid_blocks_are_passed_over_and_said(feed) -> None:
    result = feed(_page('{"@type": "Product", "name": "a" "b"}', _product()), "jsonld")
    assert result.column("external_id") == ["1"]
    [recovery] = result.report.recoveries
    assert (recovery.what, recovery.count) == ("invalid JSON-LD blocks passed over", 1)
    assert recovery.places[0].startswith("line 3: ")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(_product())[:-1] + ",}",
        f"<!-- {json.dumps(_product())} -->",
        f"//<![CDATA[\n{json.dumps(_product())}\n//]]>",
        json.dumps(_product()).replace('"', "&quot;"),
        json.dumps(_product()) + ";",
    ],
)
def test_blocks_that_can_be_mended(feed, text: str) -> None:
    result = feed(_page(text), "jsonld")
    assert result.column("external_id") == ["1"]
    assert result.recovery("mended") == 1


OG = (
    '<meta property="og:type" content="product"><meta property="og:title" content="Dress &amp; belt">'
    '<meta property="og:image" content="https://x/og.jpg"><meta content="45.00" property="product:price:amount">'
    '<meta property="product:price:currency" content="EUR"><link rel="canonical" href="https://shop.example/p/1">'
)


def test_og_tags_where_nothing_else_is(feed) -> None:
    result = feed(_page("{broken", head=OG), "jsonld")
    [item] = result.items
    assert (item["title"], item["price"], item["currency"]) == ("Dress & belt", "45.00", "EUR")
    assert (item["external_id"], item["product_url"]) == (
        "https://shop.example/p/1",
        "https://shop.example/p/1",
    )
    assert result.recovery("og: tags") == 1
    assert result.recovery("invalid") == 1


def test_a_zip_of_pages(feed) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.html", _page(_product("1")))
        archive.writestr("b.html", _page({"@type": "Organization"}))
        archive.writestr("c.html", _page("{broken"))
        archive.writestr("d.html", _page(_product("2")))
    result = feed(buffer.getvalue(), "jsonld")
    assert result.column("external_id") == ["1", "2"]
    assert result.report.context == {"page without a product": 1}
    assert [broken.place for broken in result.broken] == ["c.html, line 3"]
    assert result.places == ["a.html, line 3", "d.html, line 3"]


def test_a_file_of_json_ld(feed) -> None:
    assert feed(json.dumps([_product("1"), _product("2", description="<b>x</b>")]), "jsonld").column(
        "external_id"
    ) == ["1", "2"]


def test_the_page_s_own_charset(feed) -> None:
    page = (
        _page(_product(name="Größe"), head='<meta charset="iso-8859-1">')
        .replace("\\u00f6", "ö")
        .replace("\\u00df", "ß")
    )
    assert feed(page.encode("latin-1"), "jsonld").items[0]["title"] == "Größe"


@pytest.mark.parametrize("page", ["<html><title>Password</title></html>", _page({"@type": "Organization"})])
def test_pages_without_products_are_refused(feed, page: str) -> None:
    with pytest.raises(FeedError, match="0 products"):
        feed(page, "jsonld")


def test_deep_json_is_refused(feed) -> None:
    with pytest.raises(FeedError, match="0 products"):
        feed(_page("[" * 100_000 + "]" * 100_000), "jsonld")
