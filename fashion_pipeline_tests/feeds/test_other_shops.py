"""Golden tests of feeds as shops of every kind write them (`golden.py`): counts and values of fields."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_pipeline.feeds.detect import detect
from fashion_pipeline_tests.feeds import golden
from fashion_pipeline_tests.feeds.conftest import Cleaned, cleaned, store

Clean = Callable[..., Cleaned]
SHOP = {"currency": "EUR", "base_url": "https://s.example"}


@pytest.fixture
def clean(tmp_path: Path) -> Clean:
    """Write a feed to a file and clean it; what `feeds check` would take it for has to be that format."""

    def write_and_clean(
        data: Any, format_name: str, *, told: str | None = None, charset: str | None = None, **settings: Any
    ) -> Cleaned:
        if not isinstance(data, str | bytes):
            data = json.dumps(data)
        path = tmp_path / "feed"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        if charset is None:
            assert detect(path).format == (told or format_name)
        return cleaned(tmp_path, path, store(format_name, **settings), charset=charset)

    return write_and_clean


def _prices(result: Cleaned) -> dict[str, tuple[str, str | None, str]]:
    return {
        key: (
            f"{row['price'].normalize():f}",
            row["sale_price"] and f"{row['sale_price'].normalize():f}",
            row["currency"],
        )
        for key, row in result.rows.items()
    }


def _has(row: dict[str, Any], **expected: Any) -> None:
    assert {name: row[name] for name in expected} == expected


# -- Google and Meta


def test_atom(clean: Clean) -> None:
    result = clean(golden.ATOM, "google_xml")
    assert _prices(result) == {"1": ("12.5", "10", "EUR"), "2": ("20", None, "EUR")}
    _has(
        result.rows["1"],
        title="Dress",
        description="Soft linen",
        product_url="https://s.example/p/1",
        image_url="https://s.example/1.jpg",
        additional_image_urls=["https://s.example/2.jpg", "https://s.example/3.jpg"],
        color="navy/white",
        size="M",
        gender="female",
        availability="in_stock",
    )
    assert str(result.rows["1"]["sale_starts_at"]) == "2025-12-31 23:00:00+00:00"
    assert result.report.warnings["sale_price_invalid"] == 1


PRICES = {
    "EUR 12,50": "12.5 EUR", "1.299,00 €": "1299 EUR", "1,299.00 EUR": "1299 EUR", "12.50": "12.5 EUR",
    "€ 5,-": "5 EUR", "1 299,00 EUR": "1299 EUR", "1'299.00 CHF": "1299 CHF", "EUR12.5": "12.5 EUR",
    "12.50 eur": "12.5 EUR", "129,- DKK": "129 DKK", "R$ 1.299,90": "1299.9 BRL", "zł 99,99": "99.99 PLN",
    "12800円": "12800 JPY", "12,800 JPY": "12800 JPY", "US$19.99": "19.99 USD", "£12": "12 GBP",
    "0.99 BHD": "0.99 BHD", "₹1,29,900.00": "129900 INR", "1 290 ₽": "1290 RUB", "999 Kč": "999 CZK",
    "TRY 1.299,90": "1299.9 TRY", "299.90 TL": "299.9 TRY", "10.00-20.00 EUR": "price_range",
    "from 10 EUR": "price_range", "12.50 USD 10.00 USD": "price_multiple", "1,234 KWD": "price_ambiguous",
    "$19.99": "currency_ambiguous", "abc": "price_unreadable", "-5 EUR": "price_negative", "0,00 EUR": "price_zero",
    "99999999999 EUR": "price_absurd", "": "price_missing",
}  # fmt: skip


def test_prices_of_an_undeclared_prefix(clean: Clean) -> None:
    """Every price as the text says it; what is no price of one item is rejected with the reason."""
    item = (
        "<item><g:id>{}</g:id><title><![CDATA[Kleid & Co]]></title><link>https://s.example/?a=1&b=2</link>"
        "<g:price>{}</g:price><g:image_link><![CDATA[https://s.example/1.jpg?x=1&y=2]]></g:image_link></item>"
    )
    body = "".join(item.format(number, price) for number, price in enumerate(PRICES))
    result = clean(f'<rss version="2.0"><channel>{body}</channel></rss>', "google_xml", currency="EUR")
    told = {key: f"{price} {currency}" for key, (price, _, currency) in _prices(result).items()}
    told |= {row["external_id"]: row["reasons"][0] for row in result.rejected}
    assert [told[str(number)] for number in range(len(PRICES))] == list(PRICES.values())
    assert {each.what for each in result.report.recoveries} == {
        "undeclared namespace prefix g:",
        "raw & escaped",
    }
    _has(result.rows["0"], title="Kleid & Co", image_url="https://s.example/1.jpg?x=1&y=2")


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_google_text_in_any_dialect(clean: Clean, delimiter: str, codec: str) -> None:
    rows = [
        ["id", "Title", "Image Link", "Additional Image Link", "Price", "Sale Price", "Item Group ID", "Color"],
        ["1", "Größe", "https://s.example/1.jpg", '"https://s.example/2.jpg,https://s.example/3.jpg"',
         '"1.299,00 EUR"', '"999,00 EUR"', "g1", "Rot"],
        ["2", "Zwei", "https://s.example/1.jpg", "", '"EUR 12,50"', "", "g1", ""],
    ]  # fmt: skip
    text = "".join(f"{delimiter.join(row)}\r\n" for row in rows)
    format_name = "google_tsv" if delimiter == "\t" else "google_csv"
    result = clean(text.encode(codec), format_name)
    assert _prices(result) == {"1": ("1299", "999", "EUR"), "2": ("12.5", None, "EUR")}
    _has(
        result.rows["1"],
        title="Größe",
        color="red",
        item_group_id="g1",
        additional_image_urls=["https://s.example/2.jpg", "https://s.example/3.jpg"],
    )


def test_meta_template_with_a_comment_row(clean: Clean) -> None:
    result = clean(golden.META_TEMPLATE, "meta_csv")
    assert result.report.context == {"comment": 1}
    assert _prices(result) == {
        "1": ("9.99", "7.99", "USD"),
        "2": ("1299", None, "USD"),
        "3": ("12", None, "USD"),
    }
    pictures = [f"https://s.example/{name}.jpg" for name in ("2", "3", "4", "5", "y")]
    _has(result.rows["1"], image_url="https://s.example/x.jpg", additional_image_urls=pictures)
    assert [row["availability"] for row in result.rows.values()] == ["in_stock", "backorder", "out_of_stock"]
    assert result.rows["3"]["condition"] == "used"


def test_meta_tsv_with_nested_pictures(clean: Clean) -> None:
    result = clean(golden.META_NESTED, "meta_csv")
    assert _prices(result) == {"1": ("9.99", None, "USD")}
    _has(
        result.rows["1"],
        image_url="https://s.example/a.jpg",
        additional_image_urls=["https://s.example/b.jpg"],
        brand="Acme",
    )


def test_meta_xml(clean: Clean) -> None:
    result = clean(golden.META_XML, "meta_xml")
    assert _prices(result) == {"1": ("9.99", "8.99", "USD"), "2": ("5", None, "USD")}
    pictures = ["https://s.example/2.jpg", "https://s.example/3.jpg"]
    _has(
        result.rows["1"], additional_image_urls=pictures, google_product_category="Clothing", condition="new"
    )
    _has(result.rows["2"], image_url=None, availability="out_of_stock", warnings=["image_missing"])


# -- Awin


def test_awin_advertiser_csv(clean: Clean) -> None:
    result = clean(golden.AWIN_ADVERTISER_CSV, "awin_advertiser_csv")
    assert _prices(result) == {"P1": ("69.9", "49.9", "EUR"), "P2": ("19.9", None, "EUR")}
    _has(
        result.rows["P1"],
        title="Kleid",
        item_group_id="G1",
        product_type="Damen > Kleider",
        color="red",
        size="38",
        gender="female",
        availability="in_stock",
        product_url="https://m.example/1",
        image_url="https://m.example/1.jpg",
        additional_image_urls=["https://m.example/2.jpg", "https://m.example/3.jpg"],
    )
    assert result.rows["P2"]["availability"] == "out_of_stock"


def test_awin_advertiser_xml(clean: Clean) -> None:
    result = clean(golden.AWIN_ADVERTISER_XML, "awin_advertiser_xml")
    assert _prices(result) == {"P1": ("49.9", None, "EUR"), "P2": ("19.9", None, "GBP")}
    _has(
        result.rows["P1"],
        title="Kleid & mehr",
        color="black",
        product_url="https://m.example/1?a=1&b=2",
        additional_image_urls=["https://m.example/2.jpg"],
        availability="in_stock",
    )


def test_awin_publisher_xml(clean: Clean) -> None:
    """Values in groups and attributes; a delivery's price is nobody's price."""
    result = clean(golden.AWIN_XML, "awin_xml")
    assert _prices(result) == {"301": ("69.9", "49.9", "EUR"), "302": ("12", None, "GBP")}
    assert [row["reasons"] for row in result.rejected] == [["price_missing"]]
    _has(
        result.rows["301"],
        title="Robe & ceinture",
        description="En lin",
        brand="Acme",
        gtin="4006381333931",
        item_group_id="G1",
        product_type="Femme > Robes",
        color="red",
        size="38",
        condition="new",
        product_url="https://m.example/p/1",
        image_url="https://m.example/1.jpg",
        additional_image_urls=["https://m.example/2.jpg", "https://m.example/3.jpg"],
    )
    _has(
        result.rows["302"],
        availability="out_of_stock",
        product_url="https://www.awin1.com/pclick.php?p=302",
    )


def test_awin_of_few_columns(clean: Clean) -> None:
    result = clean(golden.AWIN_FEW_COLUMNS, "awin")
    assert _prices(result) == {"A1": ("12.5", None, "EUR"), "A2": ("1250", None, "EUR")}
    _has(result.rows["A1"], product_url="https://m.example/1", image_url="https://m.example/1.jpg")


def test_awin_sales_with_decimal_commas(clean: Clean) -> None:
    result = clean(golden.AWIN_SALES, "awin")
    assert _prices(result) == {
        "1": ("29.9", "19.9", "EUR"),
        "2": ("1029.9", "19.9", "EUR"),
        "3": ("29.9", None, "EUR"),
        "4": ("19.9", None, "EUR"),
    }


# -- Shopify


def test_shopify_csv_of_the_newer_template(clean: Clean) -> None:
    result = clean(golden.SHOPIFY_CSV_2025, "shopify_csv", **SHOP)
    assert _prices(result) == {
        "T-S": ("29.9", "19.9", "EUR"),
        "T-M": ("19.9", None, "EUR"),
        "T-L": ("21", None, "EUR"),
    }
    assert result.report.context == {"not published": 1}
    assert [row["availability"] for row in result.rows.values()] == ["in_stock", "backorder", "out_of_stock"]
    _has(
        result.rows["T-S"],
        title="Tee",
        description="Soft",
        size="S",
        color="red",
        gtin="4006381333931",
        brand="Acme",
        gender="female",
        item_group_id="tee",
        image_url="https://s.example/red.jpg",
        product_url="https://s.example/products/tee",
    )


@pytest.mark.parametrize(("currency", "prices"), [
    ("EUR", {"91": ("29.99", "19.99", "EUR"), "92": ("24.99", None, "EUR")}),
    # Hundredths also of a currency that has none: https://shopify.dev/docs/api/liquid/objects/product
    ("JPY", {"91": ("29.99", "19.99", "JPY"), "92": ("24.99", None, "JPY")}),
])  # fmt: skip
def test_shopify_js(clean: Clean, currency: str, prices: dict[str, Any]) -> None:
    result = clean(golden.SHOPIFY_JS, "shopify_js", currency=currency, base_url="https://s.example")
    assert _prices(result) == prices
    _has(
        result.rows["91"],
        size="S",
        gtin="4006381333931",
        item_group_id="9",
        description="Soft",
        image_url="https://cdn.shopify.com/1.jpg?v=3",
        additional_image_urls=["https://cdn.shopify.com/2.jpg"],
        product_url="https://s.example/products/tee?variant=91",
    )
    assert [row["availability"] for row in result.rows.values()] == ["in_stock", "out_of_stock"]


def test_shopify_products_of_other_shops(clean: Clean) -> None:
    products = [
        golden.shopify_product(1, variants=[{"compare_at_price": "10.00", "sku": None}], tags="a, b"),
        golden.shopify_product(2, variants=[{"price": "0.00"}]),
        golden.shopify_product(
            3,
            variants=[
                {
                    "option1": "S",
                    "option2": "Rot",
                    "option3": "Wolle",
                    "price": "12.00",
                    "compare_at_price": "24.00",
                },
                {"id": 32, "option1": "M", "option2": "Rot", "option3": "Wolle", "price": 1200},
            ],
            options=[{"name": "Size"}, {"name": "Farbe"}, {"name": "Material"}, {"name": "Fourth"}],
            images=[
                {"position": 2, "src": "https://c.example/2.jpg", "variant_ids": [32]},
                {"position": 1, "src": "https://c.example/1.jpg"},
            ],
        ),
        golden.shopify_product(4, variants=[]),
        golden.shopify_product(5, variants=[{"price": "1,299.00"}]),
    ]
    result = clean({"products": products}, "shopify_json", **SHOP)
    assert _prices(result) == {
        "11": ("19.9", None, "EUR"),
        "31": ("24", "12", "EUR"),
        "32": ("1200", None, "EUR"),
        "51": ("1299", None, "EUR"),
    }
    assert result.report.context == {"product without variants": 1}
    assert [(row["external_id"], row["reasons"]) for row in result.rejected] == [("21", ["price_zero"])]
    _has(result.rows["31"], size="S", color="red", material="Wolle", image_url="https://c.example/1.jpg")
    _has(result.rows["11"], image_url=None, description=None, mpn=None, warnings=["image_missing"])


def test_shopify_crawl_pages_that_shifted(clean: Clean) -> None:
    """A product that moved to the next page while the shop was crawled is one product."""
    pages = io.BytesIO()
    with zipfile.ZipFile(pages, "w") as archive:
        for number, ids in enumerate(([1, 2], [2, 3], []), 1):
            body = {"products": [golden.shopify_product(each) for each in ids]}
            archive.writestr(f"page-{number}.json", json.dumps(body))
        archive.writestr("__MACOSX/._page-1.json", b"junk")
    result = clean(pages.getvalue(), "shopify_json", **SHOP)
    assert set(result.rows) == {"11", "21", "31"}
    assert result.report.context == {"repeated on a later page": 1}


# -- WooCommerce


def _woo_csv(result: Cleaned) -> None:
    assert _prices(result) == {
        "101": ("19.99", "9.99", "EUR"),
        "102": ("1299", None, "EUR"),
        "104": ("10", "5", "EUR"),
    }
    assert result.report.context == {"variable product": 1, "not published": 1, "grouped product": 1}
    assert {row["external_id"]: row["reasons"] for row in result.rejected} == {
        "103": ["price_missing"],
        "107": ["title_missing"],
    }
    _has(
        result.rows["101"],
        title="Kleid",
        description="lang",
        color="red",
        size="M",
        item_group_id="100",
        product_type="Damen > Kleider",
        image_url="https://s.example/red.jpg",
        availability="in_stock",
    )
    pictures = {"image_url": "https://s.example/1.jpg", "additional_image_urls": ["https://s.example/2.jpg"]}
    _has(result.rows["102"], color="blue", size="L", availability="out_of_stock", **pictures)
    # The sale ends with its last day.
    assert str(result.rows["104"]["sale_ends_at"]) == "2026-02-02 00:00:00+00:00"
    assert result.rows["104"]["mpn"] == "S1"


def test_woocommerce_csv_with_variations_before_parents(clean: Clean) -> None:
    _woo_csv(clean(golden.WOO_CSV, "woocommerce_csv", currency="EUR"))


@pytest.mark.parametrize("language", golden.WOO_HEADERS)
def test_woocommerce_csv_in_other_languages(clean: Clean, language: str) -> None:
    rows = golden.WOO_CSV.partition("\n")[2]
    _woo_csv(clean(f"{golden.WOO_HEADERS[language]}\n{rows}", "woocommerce_csv", currency="EUR"))


def test_woocommerce_rest_v3(clean: Clean) -> None:
    result = clean(golden.WOO_REST, "woocommerce_rest", currency="USD")
    assert _prices(result) == {"794": ("21.99", None, "USD"), "800": ("10", "8", "USD")}
    assert result.report.context == {"variable product": 1, "status draft": 1}
    assert {row["external_id"]: row["reasons"] for row in result.rejected} == {"803": ["price_missing"]}
    _has(
        result.rows["794"],
        title="Premium & Tee",
        gtin="4006381333931",
        color="black",
        size=None,
        product_type="Clothing",
        additional_image_urls=["https://s.example/2.jpg"],
        availability="in_stock",
    )
    _has(result.rows["800"], item_group_id="799", size="S", image_url="https://s.example/v.jpg")
    assert str(result.rows["800"]["sale_ends_at"]) == "2026-01-31 23:59:59+00:00"


# -- schema.org

OFFER = {"@type": "Offer", "priceCurrency": "EUR"}


@pytest.mark.parametrize(
    ("offers", "told"),
    [
        ({**OFFER, "price": 12}, "12 EUR"),
        ({**OFFER, "price": "1.299,00"}, "1299 EUR"),
        ({"@type": "Offer", "price": "€49,90"}, "49.9 EUR"),
        ([{**OFFER, "price": "10"}, {**OFFER, "price": 10}], "10 EUR"),
        ([{**OFFER, "price": "10"}, {**OFFER, "price": 12}], "price_range"),
        ({"@type": "AggregateOffer", "lowPrice": 10, "highPrice": "10.00", "priceCurrency": "EUR"}, "10 EUR"),
        (
            {"@type": "AggregateOffer", "lowPrice": "10", "highPrice": "20", "priceCurrency": "EUR"},
            "price_range",
        ),
        ({"@type": "AggregateOffer", "lowPrice": "10", "priceCurrency": "EUR"}, "price_range"),
        ({"@type": "Offer", "availability": "OutOfStock"}, "price_missing"),
        ({"@type": "Offer", "priceSpecification": {"price": 29.9, "priceCurrency": "EUR"}}, "29.9 EUR"),
    ],
)
def test_offers_of_every_shape(clean: Clean, offers: Any, told: str) -> None:
    result = clean(golden.page(golden.ld_product(offers=offers)), "jsonld")
    assert result.report.items == 1
    found = [f"{price} {currency}" for price, _, currency in _prices(result).values()]
    assert [*found, *(row["reasons"][0] for row in result.rejected)] == [told]


def test_an_invalid_block_beside_valid_ones_in_a_graph(clean: Clean) -> None:
    graph = {
        "@graph": [
            {"@type": "WebPage", "@id": "#w"},
            golden.ld_product(sku=5, **{"@type": ["Product", "Thing"]}),
        ]
    }
    result = clean(golden.page("{broken", graph, [golden.ld_product(sku="S2")]), "jsonld")
    assert set(result.rows) == {"5", "S2"}
    assert [(each.what, each.count) for each in result.report.recoveries] == [
        ("invalid JSON-LD blocks passed over", 1)
    ]


def test_a_group_whose_variants_have_no_offers(clean: Clean) -> None:
    bare = [{"@type": "Product", "url": f"https://s.example/p?v={number}"} for number in (1, 2)]
    group = golden.ld_product(**{"@type": "ProductGroup", "productGroupID": "GG", "hasVariant": bare})
    result = clean(golden.page(group), "jsonld")
    assert _prices(result) == {"S1": ("49.9", None, "EUR")}
    assert result.rows["S1"]["item_group_id"] == "GG"


# -- kinds that no mapping file knows


@pytest.mark.parametrize(("text", "prices"), golden.UNKNOWN_KINDS.values(), ids=golden.UNKNOWN_KINDS)
def test_a_mapping_is_proposed_by_common_names(tmp_path: Path, text: str, prices: tuple[str, ...]) -> None:
    path = tmp_path / "feed"
    path.write_text(text)
    found = detect(path)
    mapping = found.mapping.model_dump(exclude_defaults=True)
    result = cleaned(tmp_path, path, store(found.format, currency="CZK", mapping=mapping))
    assert _prices(result) == {"FJ5089": prices}
    row = result.rows["FJ5089"]
    _has(row, color="black", product_url="https://s.example/1", image_url="https://s.example/i.jpg")
    assert row["availability"] == "in_stock"


# -- archives, Parquet, encodings


def test_a_feed_beside_notes_in_a_zip_in_two_gzips(clean: Clean) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("README.txt", "about this feed")
        archive.writestr("LICENSE", "all rights reserved")
        archive.writestr("__MACOSX/._feed.csv", b"junk")
        archive.writestr("logo.png", b"\x89PNG\r\n")
        archive.writestr("feed.csv", "id,title,price,link\n1,One,5 EUR,https://s.example/1\n")
    result = clean(gzip.compress(gzip.compress(packed.getvalue())), "google_csv")
    assert set(result.rows) == {"1"}
    assert [each.count for each in result.report.recoveries] == [4]


def test_parquet_with_float_ids_and_joined_lists(clean: Clean) -> None:
    sink = io.BytesIO()
    columns = {
        "id": [1.0, float(2**53), float("nan")],
        "title": ["A", "B", "C"],
        "price": [9.99, 5.0, 5.0],
        "currency": ["EUR", "null", "NaN"],
        "image": ["https://s.example/1.jpg", None, ""],
        "additional_images": ["['https://s.example/2.jpg', 'https://s.example/3.jpg']", None, ""],
    }
    pq.write_table(pa.table(columns), sink)
    mapping = {
        "fields": {"external_id": "id", "title": "title", "price": "price", "currency": "currency",
                   "image_url": "image", "additional_image_urls": "additional_images"}
    }  # fmt: skip
    result = clean(gzip.compress(sink.getvalue()), "parquet", mapping=mapping, currency="EUR")
    assert _prices(result) == {"1": ("9.99", None, "EUR")}
    pictures = ["https://s.example/2.jpg", "https://s.example/3.jpg"]
    _has(result.rows["1"], image_url="https://s.example/1.jpg", additional_image_urls=pictures)
    reasons = {row["place"]: row["reasons"] for row in result.rejected}
    assert reasons == {"row 2": ["broken_record"], "row 3": ["external_id_missing"]}


def test_what_is_given_away_has_no_price(clean: Clean) -> None:
    """A price of nothing below a struck one is no sale: nobody knows what it costs."""
    products = [golden.shopify_product(1, variants=[{"price": "0.00", "compare_at_price": "50.00"}])]
    assert clean({"products": products}, "shopify_json", **SHOP).rejected[0]["reasons"] == ["price_zero"]
    retail = {
        "id": "1",
        "title": "A",
        "uri": "u",
        "priceInfo": {"price": 0, "originalPrice": 5, "currencyCode": "EUR"},
    }
    assert clean([retail], "google_retail").rejected[0]["reasons"] == ["price_zero"]


@pytest.mark.parametrize("format_name", ["google_csv", "meta_csv"])
def test_a_currency_in_a_column_of_its_own(clean: Clean, format_name: str) -> None:
    rows = "id,title,price,sale_price,link,currency,fb_product_category\n1,A,20.00,15.00,u,USD,x\n2,B,5 GBP,,u,USD,x\n"
    result = clean(rows, format_name, told="meta_csv", currency="EUR")
    assert _prices(result) == {"1": ("20", "15", "USD"), "2": ("5", None, "GBP")}
    assert result.report.warnings["currency_differs"] == 1


def test_what_stands_several_times(clean: Clean) -> None:
    """Two prices of one item are none, the same price twice is one; of two colours both count."""
    item = "<item><g:id>{}</g:id><title>A</title>{}<g:color>Rot</g:color><g:color>Blau</g:color><link>u</link></item>"
    prices = ["<g:price>5 EUR</g:price><g:price>6 EUR</g:price>", "<g:price>5 EUR</g:price>" * 2,
              "<g:price> </g:price><g:price>7 EUR</g:price>"]  # fmt: skip
    body = "".join(item.format(number, price) for number, price in enumerate(prices))
    result = clean(
        f'<rss xmlns:g="http://base.google.com/ns/1.0"><channel>{body}</channel></rss>', "google_xml"
    )
    assert _prices(result) == {"1": ("5", None, "EUR"), "2": ("7", None, "EUR")}
    assert [row["reasons"] for row in result.rejected] == [["price_multiple"]]
    assert result.rows["1"]["color"] == "red/blue"


def test_a_spreadsheet_says_its_separator_and_keeps_numbers_as_text(clean: Clean) -> None:
    rows = 'sep=;\r\nid;title;price;link;gtin\r\n1;A;19,90 €;u;"=""4006381333931"""\r\n2;B;5 €;u;\'4006381333931\r\n'
    result = clean(rows.encode("utf-16"), "google_csv")
    assert _prices(result) == {"1": ("19.9", None, "EUR"), "2": ("5", None, "EUR")}
    assert {row["gtin"] for row in result.rows.values()} == {"4006381333931"}
    assert result.report.context == {"comment": 1}


@pytest.mark.parametrize(
    ("title", "price", "codec", "settings", "told"),
    [
        ("Größe €", '"12,50 EUR"', "cp1252", {"encoding_fallback": "cp1252"}, "12.5"),
        ("ワンピース", '"12,800円"', "shift_jis", {"charset": "shift_jis"}, "12800"),
        ("ワンピース", '"12,800円"', "euc_jp", {"encoding_fallback": "euc_jp"}, "12800"),
        ("Платье", "1 290 руб.", "cp1251", {"encoding_fallback": "cp1251"}, "1290"),
        ("Größe", "1 EUR", "utf-8", {"charset": "iso-8859-1"}, "1"),
    ],
)
def test_encodings(
    clean: Clean, title: str, price: str, codec: str, settings: dict[str, Any], told: str
) -> None:
    text = f"id,title,price,link\n1,{title},{price},https://s.example/1\n"
    result = clean(text.encode(codec), "google_csv", **settings)
    assert result.rows["1"]["title"] == title
    assert result.rows["1"]["price"] == Decimal(told)
