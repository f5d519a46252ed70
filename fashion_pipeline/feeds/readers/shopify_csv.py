"""Shopify's product export: rows of one Handle are a product; the first carries what its variants share.

https://help.shopify.com/manual/products/import-export/using-csv
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from fashion_pipeline.feeds.items import BrokenRecord
from fashion_pipeline.feeds.mapping import normal_name
from fashion_pipeline.feeds.readers.grouped_rows import Row, rows_of
from fashion_pipeline.feeds.readers.rows import RowBatch, plain
from fashion_pipeline.feeds.readers.shopify import DEFAULT, availability_of, gender_of
from fashion_pipeline.feeds.records import Chunk, Read, Source

#: The columns of Shopify's template of 2025, by the names of its older exports.
NEW_NAMES = {
    "url_handle": "handle",
    "description": "body_(html)",
    "published_on_online_store": "published",
    "sku": "variant_sku",
    "barcode": "variant_barcode",
    "price": "variant_price",
    "compare_at_price": "variant_compare_at_price",
    "inventory_tracker": "variant_inventory_tracker",
    "inventory_quantity": "variant_inventory_qty",
    "continue_selling_when_out_of_stock": "variant_inventory_policy",
    "product_image_url": "image_src",
    "variant_image_url": "variant_image",
}
#: A product has 2,048 variants and 250 pictures at most.
MAX_GROUP = 5_000


def read_shopify_csv(source: Source) -> Iterator[Read]:
    """Records of one export; unpublished products and rows of pictures are context.

    Raises:
        FeedError: as `read_delimited`.
    """
    grouping = _Groups(source)
    for row in _rows_of(source):
        if isinstance(row, BrokenRecord):
            # Chunks keep the order of records, so what was read goes first.
            yield from grouping.flush()
            yield row
        else:
            yield from grouping.add(row)
    yield from grouping.flush()


def old_names(names: Iterable[str]) -> set[str]:
    """A header's normalized names as older exports have them."""
    given = set(names)
    return {NEW_NAMES.get(name, name) for name in given} if "url_handle" in given else given


def _rows_of(source: Source) -> Iterator[Row | BrokenRecord]:
    for row in rows_of(source):
        if isinstance(row, BrokenRecord) or "url_handle" not in row.cells:
            yield row
            continue
        cells = {NEW_NAMES.get(name, name): cell for name, cell in row.cells.items()}
        policy = {"true": "continue", "false": "deny"}.get(cells.get("variant_inventory_policy", "").lower())
        yield replace(row, cells=cells | ({"variant_inventory_policy": policy} if policy else {}))


class _Groups:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.batch = RowBatch(source, plain)
        mapping = source.mapping
        self.known = {name for column in mapping.fields for name in mapping.candidates(column)}
        self.rows: list[Row] = []
        self.first: Row | None = None
        self.options: list[str] = []

    def add(self, row: Row) -> Iterator[Chunk]:
        if self.rows and (row.cell("handle") != self.rows[0].cell("handle") or len(self.rows) >= MAX_GROUP):
            self._close()
        self.rows.append(row)
        if self.batch.full:
            yield from self.batch.flush()

    def flush(self) -> Iterator[Chunk]:
        self._close()
        yield from self.batch.flush()

    def _close(self) -> None:
        """Turn the rows of one Handle into items."""
        rows, self.rows = self.rows, []
        if not rows:
            return
        tally = self.source.tally
        # A broken row, or a very long group, may part a product: what follows still belongs to it.
        if self.first is None or self.first.cell("handle") != rows[0].cell("handle") or rows[0].cell("title"):
            self.first = rows[0]
            self.options = [rows[0].cell(f"option{n}_name") for n in (1, 2, 3)]
        first = self.first
        if first.cell("published").casefold() in ("false", "0") or (
            first.cell("status").casefold() not in ("", "active")
        ):
            tally.no_items("not published", len(rows))
            return
        images = _images(rows)
        skus = Counter(_sku(row) for row in rows if _has_variant(row))
        shared = {
            name: cell
            for name, cell in first.cells.items()
            if cell and not name.startswith(("variant_", "image_", "option"))
        }
        for row in rows:
            if not _has_variant(row):
                tally.no_items("image-only row" if row.cell("image_src") else "row without a variant")
                continue
            item: dict[str, Any] = {**row.cells, **shared, **row.said()}
            self._complete(item, row, images, own_sku=skus[_sku(row)] == 1)
            self.batch.add(item, row.cells, row.record, row.place)

    def _complete(self, item: dict[str, Any], row: Row, images: list[str], *, own_sku: bool) -> None:
        handle, values, told = row.cell("handle"), [], []
        title = str(item.get("title") or "")
        for number, name in enumerate(self.options, 1):
            value = row.cell(f"option{number}_value")
            if not value or value in DEFAULT:
                continue
            values.append(value)
            option = f"option:{normal_name(name)}"
            item[option] = value
            if option not in self.known and value.casefold() not in title.casefold():
                told.append(value)
        if told:
            item["title"] = f"{title} - {' / '.join(told)}"
        item["variant_sku"], item["variant_barcode"] = _sku(row), _number(row, "variant_barcode")
        # A SKU that all sizes share tells none of them.
        item["id"] = item["variant_sku"] if item["variant_sku"] and own_sku else "/".join([handle, *values])
        item["product_id"] = handle
        main = row.cell("variant_image") or next(iter(images), "")
        item["image"], item["images"] = main or None, [url for url in images if url != main]
        if self.source.base_url and handle:
            item["url"] = f"{self.source.base_url}/products/{handle}"
        item["availability"] = _availability(row)
        item["tags"] = [tag.strip() for tag in str(item.get("tags") or "").split(",") if tag.strip()]
        item["tag:gender"] = gender_of(item["tags"])


def _number(row: Row, name: str) -> str:
    """A cell without the apostrophe that Shopify puts before numbers, so that spreadsheets leave them alone."""
    return row.cell(name).removeprefix("'")


def _sku(row: Row) -> str:
    return _number(row, "variant_sku")


def _has_variant(row: Row) -> bool:
    names = ("variant_price", "variant_sku", "option1_value", "option2_value", "option3_value")
    return any(row.cell(name) for name in names) or bool(row.cell("title"))


def _images(rows: list[Row]) -> list[str]:
    found = []
    for index, row in enumerate(rows):
        position = row.cell("image_position")
        if row.cell("image_src"):
            found.append((int(position) if position.isdecimal() else index, index, row.cell("image_src")))
    return list(dict.fromkeys(url for _, _, url in sorted(found)))


def _availability(row: Row) -> str | None:
    if not row.cell("variant_inventory_tracker"):
        return "in_stock" if "variant_price" in row.cells else None
    return availability_of(row.cell("variant_inventory_qty"), row.cell("variant_inventory_policy"))
