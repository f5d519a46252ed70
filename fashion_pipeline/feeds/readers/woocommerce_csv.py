"""WooCommerce's product export: variations inherit from their parent, wherever that stands.

https://github.com/woocommerce/woocommerce/wiki/Product-CSV-Import-Schema
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fashion_pipeline.feeds.items import BrokenRecord, ReadReport
from fashion_pipeline.feeds.mapping import normal_name
from fashion_pipeline.feeds.readers.grouped_rows import Row, rows_of
from fashion_pipeline.feeds.readers.rows import RowBatch, plain
from fashion_pipeline.feeds.readers.woocommerce_headers import english_name
from fashion_pipeline.feeds.records import Read, Source, Tally

#: What a variation takes from its parent where it says nothing itself. Not its price, id or SKU.
INHERITED = (
    "name", "description", "short_description", "categories", "tags", "brands", "images", "published",
    "date_sale_price_starts", "date_sale_price_ends",
)  # fmt: skip
#: Its prose has line breaks as `\n`, and what was written so as `\\n`.
PROSE = ("description", "short_description")
LINE_BREAK = re.compile(r"\\(\\n|n)")
#: Commas within a value are escaped.
BETWEEN = re.compile(r"(?<!\\),\s*")
ATTRIBUTE = re.compile(r"attribute_(\d+)_name")


def read_woocommerce_csv(source: Source) -> Iterator[Read]:
    """Records of one export; parents, groups and what is not published are context.

    Raises:
        FeedError: as `read_delimited`.
    """
    products = _Products(source)
    for row in _rows_of(source):
        if isinstance(row, BrokenRecord):
            # Chunks keep the order of records, so what was read goes first.
            yield from products.batch.flush()
            yield row
            continue
        products.add(row)
        if products.batch.full:
            yield from products.batch.flush()
    yield from products.batch.flush()


def _rows_of(source: Source) -> Iterator[Row | BrokenRecord]:
    """The rows with WooCommerce's English names of the columns, whatever the shop's language."""
    for row in rows_of(source):
        if isinstance(row, BrokenRecord):
            yield row
        else:
            yield replace(row, cells={english_name(name): cell for name, cell in row.cells.items()})


class _Products:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.batch = RowBatch(source, plain)
        #: Parents by SKU and by `id:` and ID, and which of them have variations: found in a pass of its own.
        self.parents: dict[str, dict[str, str]] = {}
        self.with_variations: set[str] = set()
        for row in _rows_of(replace(source, tally=Tally(ReadReport()))):
            if isinstance(row, BrokenRecord):
                continue
            kind = row.cell("type").casefold()
            if "variable" in kind:
                said = row.said()
                self.parents.update((key, said) for key in _keys(row))
            elif "variation" in kind:
                self.with_variations.add(row.cell("parent"))

    def add(self, row: Row) -> None:
        """Take one row: context, or an item."""
        tally, kind = self.source.tally, row.cell("type").casefold()
        is_variation = "variation" in kind
        parent = self.parents.get(row.cell("parent"), {}) if is_variation else {}
        if "variable" in kind:
            alone = self.with_variations.isdisjoint(_keys(row))
            tally.no_items("variable product without variations" if alone else "variable product")
        elif "grouped" in kind:
            tally.no_items("grouped product")
        elif "0" in (published := {row.cell("published"), parent.get("published", "")}) or "-1" in published:
            tally.no_items("not published")
        else:
            inherited = {name: parent[name] for name in INHERITED if name in parent}
            item: dict[str, Any] = {**row.cells, **inherited, **row.said()}
            item.update(_attributes(row.said(), parent))
            item.update({name: _broken(item[name]) for name in PROSE if name in item})
            if is_variation:
                item["group"] = parent.get("id") or row.cell("parent")
            images = [_unescaped(url) for url in BETWEEN.split(str(item.get("images") or "")) if url]
            item["image"], item["images"] = next(iter(images), None), images[1:]
            item["category"] = _deepest(str(item.get("categories") or ""))
            starts, ends = (item.get(f"date_sale_price_{end}", "") for end in ("starts", "ends"))
            item["sale_window"] = f"{starts}/{ends}" if starts or ends else None
            self.batch.add(item, row.cells, row.record, row.place)


def _keys(row: Row) -> list[str]:
    return [key for key in (row.cell("sku"), f"id:{row.cell('id')}") if key not in ("", "id:")]


def _attributes(own: dict[str, str], parent: dict[str, str]) -> dict[str, str]:
    """`attribute:NAME` -> value. A variation takes over what its parent has one value of."""
    found: dict[str, str] = {}
    named: set[str] = set()
    for cells in (own, parent):
        for column, name in cells.items():
            number = ATTRIBUTE.fullmatch(column)
            key = f"attribute:{normal_name(name.removeprefix('pa_'))}"
            if number is None or key in named:
                continue
            value = cells.get(f"attribute_{number.group(1)}_value(s)", "")
            if cells is own:
                named.add(key)
            elif len(BETWEEN.split(value)) > 1:
                continue
            if value:
                found[key] = _unescaped(value)
    return found


def _deepest(categories: str) -> str | None:
    """The most specific of a product's categories."""
    paths = [_unescaped(path) for path in BETWEEN.split(categories) if path.strip()]
    return max(paths, key=lambda path: path.count(">"), default=None)


def _broken(prose: str) -> str:
    """Prose with its line breaks."""
    return LINE_BREAK.sub(lambda found: "\n" if found[1] == "n" else found[1], prose)


def _unescaped(value: str) -> str:
    return value.replace("\\,", ",")
