"""Properties of whole feeds in every format: the account, the schema, cleaning twice, and order."""

import csv
import io
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from xml.sax.saxutils import escape

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
from fashion_pipeline.feeds.reading import open_items
from fashion_pipeline_tests.cleaning.support import batch

Item: TypeAlias = dict[str, str]
QUICK = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))

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
    ["10 EUR", "12.5 EUR", "1.234,5 €", "$1.99", "0", "", "-3 EUR", "1-2 EUR", "9350 JPY", "1,234 KWD", "9.99999"]
)  # fmt: skip
_URLS = st.sampled_from(
    ["https://cdn.example/1.jpg?v=1", "//cdn.example/ü.jpg", "/rel.jpg", "http://a/http://b", "", "https://[::1",
     "https://cdn.example/a b.jpg", "https://bücher.example/x"]
)  # fmt: skip
_VALUES = {
    "id": st.sampled_from(["", "1", "2", "3", "4", "5", "6", "N/A", " 7 ", "x" * 256]),
    "title": _PROSE,
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
ITEMS: st.SearchStrategy[list[Item]] = st.lists(st.fixed_dictionaries(_VALUES), min_size=1, max_size=12)


def delimited(delimiter: str) -> Callable[[Sequence[Item]], bytes]:
    def write(items: Sequence[Item]) -> bytes:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(_VALUES), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(items)
        return buffer.getvalue().encode()

    return write


def xml(items: Sequence[Item]) -> bytes:
    records = "".join(
        "<item>" + "".join(f"<g:{name}>{escape(value)}</g:{name}>" for name, value in one.items()) + "</item>"
        for one in items
    )
    return f'<rss xmlns:g="http://base.google.com/ns/1.0"><channel>{records}</channel></rss>'.encode()


def grouped(items: Sequence[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for one in items:
        groups.setdefault(one["item_group_id"] or "none", []).append(one)
    return groups


def shopify(items: Sequence[Item]) -> bytes:
    """A product per group: its first item tells what its variants share."""
    products = [
        {
            "id": group,
            "title": members[0]["title"],
            "body_html": members[0]["description"],
            "images": [{"id": 1, "position": 1, "src": members[0]["image_link"]}],
            "options": [{"name": "Color", "position": 1}],
            "variants": [
                {"id": one["id"], "price": one["price"], "option1": one["color"], "barcode": one["gtin"]}
                for one in members
            ],
        }
        for group, members in grouped(items).items()
    ]
    return json.dumps({"products": products}).encode()


def parquet(items: Sequence[Item]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(one) for one in items]), buffer)
    return buffer.getvalue()


_OWN = {"title": "title", "external_id": "id", "price": "price", "image_url": "image_link", "color": "color"}
#: Name of a format, its settings, how items become bytes of it.
FORMATS: dict[str, tuple[dict[str, Any], Callable[[Sequence[Item]], bytes]]] = {
    "google_csv": ({}, delimited(",")),
    "google_tsv": ({}, delimited("\t")),
    "google_xml": ({}, xml),
    "shopify_json": ({}, shopify),
    "parquet": ({"mapping": {"fields": _OWN}}, parquet),
}


class Cleaned:
    """A feed that was read and cleaned; `told` is what of it does not depend on order."""

    def __init__(self, data: bytes, format_name: str, batch_size: int) -> None:
        options, _ = FORMATS[format_name]
        store = StoreConfig(id="shop", format=format_name, location="feed", currency="EUR", **options)
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


@pytest.mark.parametrize("format_name", list(FORMATS))
@QUICK
@given(items=ITEMS, batch_size=st.integers(1, 9), shuffler=st.randoms(use_true_random=False))
def test_the_account_adds_up_and_order_does_not_matter(
    format_name: str, items: list[Item], batch_size: int, shuffler: random.Random
) -> None:
    write = FORMATS[format_name][1]
    try:
        first = Cleaned(write(items), format_name, batch_size)
    except FeedError as error:
        # A row of nothing but blanks is no record; a feed of such rows has no products.
        assert "0 products" in str(error)  # noqa: PT017
        return
    if format_name != "parquet":
        assert first.report.items == len(items) - sum(
            not any(v.strip() for v in one.values()) for one in items
        )
    other = list(items)
    if format_name == "shopify_json":
        # Whole groups change places; what a product's first variant is stays.
        groups = list(grouped(items).values())
        shuffler.shuffle(groups)
        other = [one for group in groups for one in group]
    else:
        shuffler.shuffle(other)
    assert Cleaned(write(other), format_name, 10 - batch_size).told == first.told


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


@settings(QUICK, max_examples=50)
@given(items=ITEMS)
def test_cleaning_clean_rows_changes_nothing(items: list[Item]) -> None:
    try:
        rows = Cleaned(delimited(",")(items), "google_csv", 5).rows
    except FeedError:
        return
    cleaned = Cleaner("shop", "EUR", "https://shop.example/").clean(batch([again(row) for row in rows]))
    assert cleaned.rejected.num_rows == 0, cleaned.rejected.to_pylist()
    assert [row["content_hash"] for row in cleaned.rows.to_pylist()] == [row["content_hash"] for row in rows]
