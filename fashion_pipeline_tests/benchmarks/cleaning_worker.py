"""One way of reading and cleaning one feed, timed in a process of its own.

`python -m fashion_pipeline_tests.benchmarks.cleaning_worker ours|script FORMAT FILE` prints a line of JSON. The
script is what a person would write: the standard reader, one dict per row, text out of HTML and a price by row,
pandas at the end. BeautifulSoup and price-parser are used where they are installed.
"""

import csv
import json
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

Row = dict[str, Any]
#: What stands in for BeautifulSoup and price-parser; both are slower.
STAND_IN = "html.parser and a regular expression" if find_spec("bs4") is None else ""
_PRICE = re.compile(r"([\d.,]+)\s*([A-Z]{3})?")


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of(markup: str) -> str:
    if STAND_IN:
        parser = _Text()
        parser.feed(markup)
        parser.close()
        return " ".join(" ".join(parser.parts).split())
    from bs4 import BeautifulSoup

    return str(BeautifulSoup(markup, "html.parser").get_text(" ", strip=True))


def price_of(text: str) -> tuple[Decimal | None, str | None]:
    if STAND_IN:
        found = _PRICE.search(text)
        return (Decimal(found[1].replace(",", "")), found[2]) if found else (None, None)
    from price_parser import Price

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
    import pandas as pd

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
    began = time.perf_counter()
    rows = work()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "mebibytes": peak, "stand_in": STAND_IN}))
