"""Properties of whole feeds in every format: the account, the schema, order, and cleaning twice."""

import csv
import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fashion_pipeline.cleaning.cleaner import Cleaner
from fashion_pipeline.cleaning.contract import check_clean_file
from fashion_pipeline.cleaning.run import clean_feed
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA
from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.feeds.mapping import known_formats
from fashion_pipeline.feeds.reading import open_items
from fashion_pipeline_tests.cleaning.support import batch

Item: TypeAlias = dict[str, str]
Writer: TypeAlias = Callable[[Sequence[Item]], bytes]
QUICK = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))

#: What shops write, what breaks cleaners, and what no one expects; XML forbids other control characters.
_ANY = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"),
    max_size=30,
)
_PROSE = st.one_of(
    _ANY,
    st.lists(
        st.sampled_from(
            ["Dress", "<b>", "</b>", "&amp;", "&amp;lt;br&amp;gt;", "Ã©", "é", "e\u0301", "\u200b", "N/A", "&#8217;",
             "<p>", "5 < 6", "\u00ad", "]]>", "<!--", "-->", " ", "™", "\u200d", "夏", "&nbsp"]
        ),
        max_size=8,
    ).map("".join),
)  # fmt: skip
_PRICES = st.sampled_from(
    ["19.90", "1999", "10 EUR", "12.5 EUR", "8,00 €", "1.234,5 €", "$1.99", "0", "", "-3 EUR", "1-2 EUR",
     "9350 JPY", "1,234 KWD", "9.99999"]
)  # fmt: skip
_URLS = st.sampled_from(
    ["https://cdn.example/1.jpg?v=1", "//cdn.example/ü.jpg", "/rel.jpg", "http://a/http://b", "", "https://[::1",
     "https://cdn.example/a b.jpg", "https://bücher.example/x"]
)  # fmt: skip
_VALUES = {
    "id": st.one_of(
        st.integers(1, 60).map("sku-{}".format), st.sampled_from(["sku-1", "", "N/A", " 7 ", "x" * 256])
    ),
    "title": st.one_of(st.just("Dress"), _PROSE),
    "description": _PROSE,
    "price": _PRICES,
    "sale_price": st.sampled_from(["", "", "9 EUR", "8,00 €", "2000 EUR", "soon"]),
    "sale_price_effective_date": st.sampled_from(
        ["", "2026-11-01T00:00+01:00/2026-11-05T00:00+01:00", "2026-11-01/", "soon", "2026-11-05/2026-11-01"]
    ),
    "image_link": _URLS,
    "additional_image_link": st.lists(_URLS, max_size=3).map(",".join),
    "link": _URLS,
    "brand": _PROSE,
    "gtin": st.sampled_from(["", "4006381333931", "4006381333932", "0000000000000", "4,00638E+12"]),
    "color": st.one_of(_PROSE, st.sampled_from(["Rot", "rouge/bleu", "Nocturne", "See product page", "赤"])),
    "size": st.one_of(_PROSE, st.sampled_from(["M", "s-m", "38/40", "One Size", "Größe 38"])),
    "gender": st.sampled_from(["Damen", "women,men", "female", "", "?", "レディース"]),
    "condition": st.sampled_from(["new", "Neu", "", "very good"]),
    "availability": st.sampled_from(["in stock", "https://schema.org/InStock", "3", "0", "soon", ""]),
    "product_type": st.sampled_from(["A > B", "A»B&amp;C", "Placeholder", "", " > "]),
    "item_group_id": st.sampled_from(["", "g1", "g2"]),
}
#: Google's names of columns are those of the items.
_SAME = {name: name for name in _VALUES}
ITEMS: st.SearchStrategy[list[Item]] = st.lists(st.fixed_dictionaries(_VALUES), min_size=1, max_size=12)
BATCH_SIZES = st.integers(1, 9)
SHUFFLERS = st.randoms(use_true_random=False)


def delimited(delimiter: str, names: Mapping[str, str] = _SAME) -> Writer:
    """Cells below their column's name; `names` are the format's own, with the item's behind them."""

    def write(items: Sequence[Item]) -> bytes:
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter=delimiter)
        writer.writerow(names)
        writer.writerows([one[name] for name in names.values()] for one in items)
        return buffer.getvalue().encode()

    return write


def xml(record: str, around: str, names: Mapping[str, str] = _SAME) -> Writer:
    """Elements in `around`; a name with a slash stands in an element of the record's own."""

    def written(path: str, value: str) -> str:
        for name in reversed(path.split("/")):
            value = f"<{name}>{value}</{name.partition(' ')[0]}>"
        return value

    def write(items: Sequence[Item]) -> bytes:
        records = "".join(
            f"<{record.format(id=quoteattr(one['id']))}>"
            + "".join(written(path, escape(one[name])) for path, name in names.items())
            + f"</{record.partition(' ')[0]}>"
            for one in items
        )
        return around.format(records).encode()

    return write


def grouped(items: Sequence[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for one in items:
        groups.setdefault(one["item_group_id"] or "none", []).append(one)
    return groups


def minor(price: str) -> str:
    """A price in whole cents, where there is one in it."""
    return price.replace(".", "").replace(",", "")


def shopify_products(items: Sequence[Item], unit: Callable[[str], str] = str) -> list[dict[str, Any]]:
    """A product per group: its first item tells what its variants share."""
    return [
        {
            "id": group,
            "title": members[0]["title"],
            "body_html": members[0]["description"],
            "images": [{"id": 1, "position": 1, "src": members[0]["image_link"]}],
            "options": [{"name": "Color", "position": 1}],
            "variants": [
                {"id": one["id"], "price": unit(one["price"]), "option1": one["color"], "barcode": one["gtin"],
                 "compare_at_price": unit(one["sale_price"])}
                for one in members
            ],
        }
        for group, members in grouped(items).items()
    ]  # fmt: skip


def shopify(items: Sequence[Item]) -> bytes:
    return json.dumps({"products": shopify_products(items)}).encode()


def shopify_csv(items: Sequence[Item]) -> bytes:
    """Continuation rows: what the first row of a product says is not said again."""
    rows = []
    for group, members in grouped(items).items():
        for number, one in enumerate(members):
            shared = [one["title"], one["description"], "Color"] if number == 0 else ["", "", ""]
            rows.append([group, *shared, one["color"], one["id"], one["price"] or "1", one["image_link"]])
    return table(
        ["Handle", "Title", "Body (HTML)", "Option1 Name", "Option1 Value", "Variant SKU", "Variant Price",
         "Variant Image"],
        rows,
    )  # fmt: skip


def woocommerce_csv(items: Sequence[Item]) -> bytes:
    """A variable product behind its variations for each group; a variation without a name takes its parent's."""
    rows = [
        [one["id"], "variation" if one["item_group_id"] else "simple", "", one["title"], "1", one["price"],
         one["sale_price"], one["item_group_id"], one["image_link"], "Color", one["color"]]
        for one in items
    ]  # fmt: skip
    groups = sorted({one["item_group_id"] for one in items} - {""})
    rows += [["", "variable", group, f"Of {group}", "1", "", "", "", "", "Size", "M, L"] for group in groups]
    return table(
        ["ID", "Type", "SKU", "Name", "Published", "Regular price", "Sale price", "Parent", "Images",
         "Attribute 1 name", "Attribute 1 value(s)"],
        rows,
    )  # fmt: skip


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([header, *rows])
    return buffer.getvalue().encode()


def store_api(one: Item) -> dict[str, Any]:
    return {
        "id": one["id"],
        "name": one["title"],
        "description": one["description"],
        "prices": {"price": minor(one["price"]), "currency_code": "EUR", "currency_minor_unit": 2},
        "images": [{"src": url} for url in (one["image_link"], *one["additional_image_link"].split(","))],
        "is_in_stock": one["availability"] == "in stock",
        "attributes": [{"name": "Color", "terms": [{"name": one["color"]}]}],
    }  # fmt: skip


def rest(items: Sequence[Item]) -> bytes:
    """Variations beside their parents, which follow."""
    parents = {"": 0, "g1": 901, "g2": 902}
    records = [
        {"id": one["id"], "name": one["title"], "type": "variation" if one["item_group_id"] else "simple",
         "price": one["sale_price"] or one["price"], "regular_price": one["price"], "image": {"src": one["image_link"]},
         "parent_id": parents[one["item_group_id"]], "stock_status": "instock"}
        for one in items
    ]  # fmt: skip
    groups = sorted({one["item_group_id"] for one in items} - {""})
    records += [{"id": parents[group], "name": group, "type": "variable"} for group in groups]
    return json.dumps(records).encode()


def retail(one: Item) -> dict[str, Any]:
    return {
        "id": one["id"],
        "title": one["title"],
        "priceInfo": {"price": one["price"], "originalPrice": one["sale_price"]},
        "images": [{"uri": one["image_link"]}],
        "colorInfo": {"colors": [one["color"]]},
        "primaryProductId": one["item_group_id"],
    }


def json_lines(record: Callable[[Item], Any]) -> Writer:
    return lambda items: b"".join(json.dumps(record(one)).encode() + b"\n" for one in items)


def keyed(items: Sequence[Item]) -> bytes:
    """One object with the records by their ids, which may repeat."""
    members = [f"{json.dumps(one['id'])}: {json.dumps(one)}" for one in items]
    return "{{{}}}".format(", ".join(members)).encode()


def pages(written: Iterable[bytes]) -> bytes:
    """A crawl as it is stored: a zip of its pages."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, page in enumerate(written):
            archive.writestr(f"page-{number:03}", page)
    return buffer.getvalue()


def store_api_pages(items: Sequence[Item]) -> bytes:
    records = [store_api(one) for one in items]
    return pages(json.dumps(records[at : at + 3]).encode() for at in range(0, len(records), 3))


def shopify_js(items: Sequence[Item]) -> bytes:
    return pages(json.dumps(product).encode() for product in shopify_products(items, minor))


def product_page(one: Item) -> bytes:
    product = {
        "@context": "https://schema.org",
        "@type": "Product",
        "sku": one["id"],
        "name": one["title"],
        "description": one["description"],
        "image": [one["image_link"]],
        "color": one["color"],
        "offers": {"@type": "Offer", "price": one["price"], "availability": one["availability"]},
        "isVariantOf": {"@type": "ProductGroup", "productGroupID": one["item_group_id"]},
    }
    block = json.dumps(product).replace("</", "<\\/")
    return f'<!doctype html><title>x</title><script type="application/ld+json">{block}</script>'.encode()


def rakuten(items: Sequence[Item]) -> bytes:
    """Positions between bars, which no value can hold, and a trailer that counts."""
    lines = ["HDR|1|Shop|11/01/2026 00:00:00"]
    for one in items:
        positions = [one.get(_RAKUTEN.get(number, ""), "") for number in range(1, 29)]
        positions[24:26] = ["60", "EUR"]
        attributes = [one["size"], "", one["color"], one["gender"], "", "", "I"]
        lines.append("|".join(value.replace("|", "/") for value in (*positions, *attributes)))
    return "\n".join([*lines, f"TRL|{len(items)}", ""]).encode()


def parquet(items: Sequence[Item]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(one) for one in items]), buffer)
    return buffer.getvalue()


_RSS = '<rss xmlns:g="http://base.google.com/ns/1.0"><channel>{}</channel></rss>'
_ATOM = (
    '<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="http://base.google.com/ns/1.0"><id>f</id>{}</feed>'
)
_GOOGLE = {f"g:{name}": name for name in _SAME}
_AWIN = {"aw_product_id": "id", "product_name": "title", "description": "description", "search_price": "price",
         "rrp_price": "sale_price", "merchant_image_url": "image_link", "alternate_image": "additional_image_link",
         "merchant_deep_link": "link", "Fashion:size": "size", "colour": "color",
         "in_stock": "availability"}  # fmt: skip
_ADVERTISER = {"pid": "id", "name": "title", "desc": "description", "price": "price", "imgurl": "image_link",
               "purl": "link", "colour": "color", "parentpid": "item_group_id"}  # fmt: skip
_AWIN_XML = {"text/name": "title", "text/desc": "description", "price/buynow": "price", "uri/mImage": "image_link",
             "uri/mLink": "link", "parentId": "item_group_id"}  # fmt: skip
_RAKUTEN = {1: "id", 2: "title", 6: "link", 7: "image_link", 10: "description", 13: "sale_price", 14: "price",
            17: "brand", 23: "availability", 24: "gtin"}  # fmt: skip
_OWN = {"title": "title", "external_id": "id", "price": "price", "image_url": "image_link", "color": "color"}
_OWN_MAPPING = {"mapping": {"fields": _OWN}}
_BY_KEY = {"mapping": {"records": "*", "fields": {**_OWN, "external_id": "_key"}}}


@dataclass(frozen=True)
class Format:
    """How items become bytes of a format, the store's settings for it, and what its order is free in."""

    write: Writer
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Items of a group stay together, in their order.
    in_groups: bool = False
    #: A crawl takes the first of an id that several pages have.
    unique_ids: bool = False
    #: The columns of rows: one in which all are blank is no record.
    columns: Collection[str] = ()


FORMATS: dict[str, Format] = {
    "google_csv": Format(delimited(","), columns=_SAME),
    "google_tsv": Format(delimited("\t"), columns=_SAME),
    "google_xml": Format(xml("item", _RSS, _GOOGLE)),
    "google_xml as Atom": Format(xml("entry", _ATOM, _GOOGLE)),
    "meta_csv": Format(delimited(","), columns=_SAME),
    "meta_xml": Format(xml("item", _RSS, _GOOGLE)),
    "google_retail": Format(json_lines(retail)),
    "shopify_json": Format(shopify, in_groups=True),
    "shopify_js": Format(shopify_js, in_groups=True),
    "shopify_csv": Format(shopify_csv, in_groups=True),
    "woocommerce_csv": Format(woocommerce_csv),
    "woocommerce_store": Format(lambda items: json.dumps([store_api(one) for one in items]).encode()),
    "woocommerce_store in pages": Format(store_api_pages, unique_ids=True),
    "woocommerce_rest": Format(rest),
    "awin": Format(delimited(",", _AWIN), columns=_AWIN.values()),
    "awin_xml": Format(xml("prod id={id}", "<merchant>{}</merchant>", _AWIN_XML)),
    "awin_advertiser_csv": Format(delimited("|", _ADVERTISER), columns=_ADVERTISER.values()),
    "awin_advertiser_xml": Format(xml("product", "<products>{}</products>", _ADVERTISER)),
    "rakuten": Format(rakuten),
    "jsonld": Format(lambda items: pages(map(product_page, items))),
    "json as lines": Format(json_lines(dict), _OWN_MAPPING),
    "json as a list": Format(lambda items: json.dumps(items).encode(), _OWN_MAPPING),
    "json by keys": Format(keyed, _BY_KEY),
    "delimited": Format(delimited(";"), _OWN_MAPPING, columns=_SAME),
    "xml": Format(xml("row", "<rows>{}</rows>"), {"mapping": {"records": "row", "fields": _OWN}}),
    "parquet": Format(parquet, _OWN_MAPPING),
}


def test_every_format_has_generated_feeds() -> None:
    assert {case.partition(" ")[0] for case in FORMATS} == set(known_formats())


class Cleaned:
    """A feed that was read and cleaned; `told` is what of it does not depend on order."""

    def __init__(self, data: bytes, case: str, batch_size: int) -> None:
        store = StoreConfig(
            id="shop",
            format=case.partition(" ")[0],
            location="feed",
            currency="EUR",
            **FORMATS[case].settings,
        )
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "feed").write_bytes(data)
            self.report = clean_feed(
                open_items(folder / "feed", store, batch_size=batch_size),
                Cleaner("shop", "EUR", "https://shop.example/"),
                clean_path=folder / "clean",
                rejected_path=folder / "rejected",
                deletions_path=folder / "deletions",
            )
            assert self.report.accounting_error() is None
            assert check_clean_file(folder / "clean", self.report.clean) == []
            assert pq.read_schema(folder / "clean").equals(CLEAN_SCHEMA)
            self.rows = pq.read_table(folder / "clean").to_pylist()
            rejected = pq.read_table(folder / "rejected").to_pylist()
        assert len(rejected) == self.report.rejected + self.report.broken
        self.told = (
            sorted((row["external_id"], row["content_hash"]) for row in self.rows),
            sorted((str(row["external_id"]), row["reasons"], row["detail"]) for row in rejected),
            self.report.duplicates,
            self.report.warnings if not self.report.duplicates else None,
        )


def again(row: dict[str, Any]) -> dict[str, Any]:
    """A clean row as an item of a feed."""
    item = {name: value for name, value in row.items() if value is not None}
    for name in ("raw_attributes", "image_key", "content_hash", "warnings", "record", "place"):
        item.pop(name, None)
    starts, ends = (item.pop(name, None) for name in ("sale_starts_at", "sale_ends_at"))
    if starts or ends:
        window = (starts.isoformat() if starts else "", ends.isoformat() if ends else "")
        item["sale_price_effective_date"] = "/".join(window)
    item["price"] = f"{row['price']} {row['currency']}"
    if "sale_price" in item:
        item["sale_price"] = str(item["sale_price"])
    return item


@pytest.mark.parametrize("case", FORMATS)
@QUICK
@given(items=ITEMS, batch_size=BATCH_SIZES, shuffler=SHUFFLERS)
def test_the_account_adds_up_and_neither_order_nor_a_second_cleaning_matters(
    case: str, items: list[Item], batch_size: int, shuffler: random.Random
) -> None:
    holds(case, items, batch_size, shuffler)


@pytest.mark.slow
@pytest.mark.parametrize("case", FORMATS)
@settings(QUICK, max_examples=100)
@given(items=ITEMS, batch_size=BATCH_SIZES, shuffler=SHUFFLERS)
def test_so_for_many_feeds(case: str, items: list[Item], batch_size: int, shuffler: random.Random) -> None:
    holds(case, items, batch_size, shuffler)


def holds(case: str, items: list[Item], batch_size: int, shuffler: random.Random) -> None:
    """A feed of `items` is accounted for, in whichever order, and cleaning it again changes nothing."""
    feed = FORMATS[case]
    if feed.unique_ids:
        items = list({one["id"]: one for one in items}.values())
    try:
        first = Cleaned(feed.write(items), case, batch_size)
    except FeedError as error:
        # A row of nothing but blanks is no record; a feed of such rows has no products.
        assert "0 products" in str(error) or "has a field for external_id" in str(error)  # noqa: PT017
        return
    blank = sum(not any(one[name].strip() for name in feed.columns) for one in items) if feed.columns else 0
    assert first.report.items == len(items) - blank
    if feed.in_groups:
        # Whole groups change places; what a product's first variant is stays.
        groups = list(grouped(items).values())
        shuffler.shuffle(groups)
        other = [one for group in groups for one in group]
    else:
        other = shuffler.sample(items, len(items))
    assert Cleaned(feed.write(other), case, 10 - batch_size).told == first.told
    cleaned = Cleaner("shop", "EUR", "https://shop.example/").clean(batch(list(map(again, first.rows))))
    assert cleaned.rejected.num_rows == 0, cleaned.rejected.to_pylist()
    assert [row["content_hash"] for row in cleaned.rows.to_pylist()] == [
        row["content_hash"] for row in first.rows
    ]
