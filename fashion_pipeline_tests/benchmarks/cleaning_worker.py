"""One way of reading and cleaning one feed, timed in a process of its own.

`python -m fashion_pipeline_tests.benchmarks.cleaning_worker ours|script FORMAT FILE` prints a line of JSON. The
script is what a person would write: the standard reader, one dict per row, BeautifulSoup and price-parser by row,
pandas at the end.
"""

import csv
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pyarrow.parquet  # noqa: F401 - pandas and pyarrow import it, and each other, at their first use: not on the clock
from bs4 import BeautifulSoup
from price_parser import Price

Row = dict[str, Any]


def text_of(markup: str) -> str:
    return str(BeautifulSoup(markup, "html.parser").get_text(" ", strip=True))


def price_of(text: str) -> tuple[Decimal | None, str | None]:
    parsed = Price.fromstring(text)
    return parsed.amount, parsed.currency


def cleaned(row: Row) -> Row:
    amount, currency = price_of(row.get("price") or "")
    return {name: (value or "").strip() for name, value in row.items()} | {
        "title": text_of(row.get("title") or ""),
        "description": text_of(row.get("description") or ""),
        "price": amount,
        "sale_price": price_of(row["sale_price"])[0] if row.get("sale_price") else None,
        "currency": currency or "EUR",
        "availability": (row.get("availability") or "").lower().replace(" ", "_"),
    }


def from_csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8") as stream:
        yield from csv.DictReader(stream)


def from_xml(path: Path) -> Iterator[Row]:
    for element in ElementTree.parse(path).getroot().iter("item"):
        yield {child.tag.rpartition("}")[2]: child.text for child in element}


def from_shopify(path: Path) -> Iterator[Row]:
    for product in json.loads(path.read_text(encoding="utf-8"))["products"]:
        for variant in product["variants"]:
            yield {
                "id": str(variant["id"]),
                "title": product["title"],
                "description": product["body_html"],
                "price": variant["compare_at_price"] or variant["price"],
                "sale_price": variant["price"] if variant["compare_at_price"] else None,
                "image_link": product["images"][0]["src"],
                "brand": product["vendor"],
                "product_type": product["product_type"],
                "item_group_id": str(product["id"]),
                "color": variant["option1"],
                "size": variant["option2"],
                "availability": "in stock" if variant["available"] else "out of stock",
            }


RECORDS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "google_csv": from_csv,
    "google_xml": from_xml,
    "shopify_json": from_shopify,
}


def script(format_name: str, path: Path) -> Callable[[], int]:
    def run() -> int:
        rows = [cleaned(row) for row in RECORDS[format_name](path)]
        frame = pd.DataFrame(rows).drop_duplicates("id")
        frame.to_parquet(path.with_suffix(".script"))
        return len(frame)

    return run


def ours(format_name: str, path: Path) -> Callable[[], int]:
    from fashion_pipeline.cleaning.cleaner import Cleaner
    from fashion_pipeline.cleaning.run import clean_feed
    from fashion_pipeline.feeds.config import StoreConfig
    from fashion_pipeline.feeds.reading import open_items

    store = StoreConfig(id="shop", format=format_name, location="feed", currency="EUR")

    def run() -> int:
        return clean_feed(
            open_items(path, store),
            Cleaner("shop", "EUR", "https://shop.example/"),
            clean_path=path.with_suffix(".clean"),
            rejected_path=path.with_suffix(".rejected"),
        ).clean

    return run


if __name__ == "__main__":
    way, format_name, place = sys.argv[1:]
    work = {"ours": ours, "script": script}[way](format_name, Path(place))
    began = time.process_time()
    rows = work()
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "mebibytes": peak}))
