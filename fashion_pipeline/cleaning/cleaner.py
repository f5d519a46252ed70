"""Batches of items -> clean rows, rejected items and deletions, column by column.

Pure: a cleaner keeps nothing between batches but what values meant, so the same items give the same
rows in any order and any batches.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from fashion_pipeline.cleaning.cells import (
    MAX_ATTRIBUTE,
    Cell,
    Memo,
    PicturesCell,
    Window,
    category_cell,
    gtin_cell,
    key_cell,
    mapped_cell,
    page_cell,
    pictures_cell,
    sale_window,
    text_cell,
)
from fashion_pipeline.cleaning.columns import (
    Notes,
    Problems,
    check_ids,
    clean_ids,
    clean_texts,
    column,
    deleted_rows,
    find_deletions,
    flat,
    printables,
    raw_attributes,
    rejected_rows,
    spread,
    warning_lists,
)
from fashion_pipeline.cleaning.content import hash_rows
from fashion_pipeline.cleaning.currencies import currencies
from fashion_pipeline.cleaning.price import MAX_PRICE, DecimalMark, Price, PriceProblem, parse_price
from fashion_pipeline.cleaning.reasons import Reason, RowWarning
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA
from fashion_pipeline.cleaning.urls import are_normalized
from fashion_pipeline.cleaning.values import MAPPED_FIELDS, is_placeholder
from fashion_pipeline.feeds.items import ItemBatch

#: Counted up whenever the same bytes would give other rows: known snapshots are then cleaned again.
CLEANING_VERSION = 6

#: Distinct values per column that are remembered: a large feed has some thousand brands and sizes.
_MEMO_LIMIT = 20_000

_RAW_COLUMNS = (*MAPPED_FIELDS, "gtin")


@dataclass(frozen=True)
class CleanedBatch:
    """What became of a batch: `rows` (CLEAN_SCHEMA), `rejected` (REJECTED_SCHEMA), `deletions`
    (DELETION_SCHEMA); together as many as the batch had items. `unknown` counts, by column, values
    of the clean rows that no map knows.
    """

    rows: pa.RecordBatch
    rejected: pa.RecordBatch
    deletions: pa.RecordBatch
    unknown: dict[str, Counter[str]]


class _Money(NamedTuple):
    """Price and sale price of a row, with their text for the hash."""

    price: Decimal | None
    currency: str
    sale: Decimal | None
    price_text: str
    sale_text: str
    warnings: tuple[RowWarning, ...]
    problem: PriceProblem | None


class _Made:
    """The columns of clean rows while they are made.

    `text` has those that the content hash covers, as text; `notes` the rows' warnings; `unknown` counts, by column,
    values that no map knows.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.out: dict[str, Sequence[Any]] = {}
        self.text: dict[str, Sequence[str]] = {}
        self.notes: Notes = {}
        self.unknown: dict[str, Counter[str]] = {}

    def put(self, name: str, values: Sequence[Any], text: Sequence[str] | None = None) -> None:
        """Set a column; `text` is its text form where that is another one."""
        self.out[name] = values
        self.text[name] = values if text is None else text

    def note(self, warnings: Sequence[tuple[RowWarning, ...]]) -> None:
        """Add each row's warnings."""
        if any(warnings):
            for i, found in enumerate(warnings):
                if found:
                    self.notes.setdefault(i, []).extend(found)


class Cleaner:
    """Cleans the items of one store.

    Args:
        store_id: the store, for messages.
        currency: ISO 4217 code for prices that name none.
        base_url: what relative addresses are relative to.
        price_unit: "minor" where the feed gives whole numbers of the currency's minor unit.
        decimal_mark: the mark the feed is known to use, where its kind fixes it.
        max_price: upper bound of a price in US dollars (see `price.py`).

    Raises:
        ValueError: `currency` is no ISO 4217 code.
    """

    def __init__(
        self,
        store_id: str,
        currency: str | None = None,
        base_url: str | None = None,
        *,
        price_unit: Literal["major", "minor"] = "major",
        decimal_mark: DecimalMark | None = None,
        max_price: Decimal = MAX_PRICE,
    ) -> None:
        if currency is not None and currency not in currencies():
            raise ValueError(f"store {store_id}: {currency!r} is no ISO 4217 currency code")
        self.store_id = store_id
        self._currency = currency
        self._unit = "iso" if price_unit == "minor" else None
        self._mark = decimal_mark
        self._max_price = max_price
        makers: dict[str, Callable[[str | None], Cell]] = {
            "brand": text_cell("brand", MAX_ATTRIBUTE),
            "material": text_cell("material", None),
            "pattern": text_cell("pattern", MAX_ATTRIBUTE),
            "google_product_category": text_cell("google_product_category", None),
            "product_type": category_cell,
            "mpn": key_cell("mpn"),
            "item_group_id": key_cell("item_group_id"),
            "gtin": gtin_cell,
            "product_url": page_cell(base_url),
            **{field: mapped_cell(field) for field in MAPPED_FIELDS},
        }
        self._cells = {field: Memo(make, _MEMO_LIMIT) for field, make in makers.items()}
        self._money = Memo(self._read_money, _MEMO_LIMIT)
        self._windows: Memo[str | None, Window | None] = Memo(sale_window, _MEMO_LIMIT)
        self._picture = pictures_cell(base_url)
        self._raw: Memo[tuple[str | None, ...], str | None] = Memo(raw_attributes, _MEMO_LIMIT)

    def clean(self, batch: ItemBatch) -> CleanedBatch:
        """Clean one batch."""
        columns = {name: flat(name, values) for name, values in batch.columns.items()}
        ids = clean_ids(column(columns, "external_id", batch.size))
        bad: Problems = {}
        check_ids(ids, bad)
        deleted = find_deletions(columns.get("action"), ids, bad)
        money = self._price(columns, batch.size)
        titles = clean_texts("title", column(columns, "title", batch.size))
        if len(deleted) < batch.size:
            for i, row in enumerate(money):
                if row.problem is not None and i not in deleted:
                    found = bad.setdefault(i, [])
                    found.extend((reason, row.problem.detail) for reason in row.problem.reasons)
            if None in titles:
                for i, title in enumerate(titles):
                    if title is None and i not in deleted:
                        bad.setdefault(i, []).append((Reason.TITLE_MISSING, "no title"))
        keep = [i for i in range(batch.size) if i not in bad and i not in deleted] if bad or deleted else None
        rows, unknown = self._rows(batch, columns, keep, ids, titles, money)
        return CleanedBatch(
            rows, rejected_rows(batch, bad, ids), deleted_rows(batch, deleted, bad, ids), unknown
        )

    def _price(self, columns: dict[str, Sequence[Any]], size: int) -> list[_Money]:
        names = ("price", "currency", "currency_minor_unit", "sale_price")
        money = self._money
        return [money[key] for key in zip(*(column(columns, name, size) for name in names), strict=True)]

    def _read_money(self, key: tuple[str | None, str | None, str | None, str | None]) -> _Money:
        text, field, digits, sale_text = key
        if text is not None and is_placeholder("price", text):
            text = None
        if field is not None and is_placeholder("currency", field):
            field = None
        unit = digits.strip() if digits and digits.strip() else self._unit
        price = self._parse(text, field, self._currency, unit)
        if isinstance(price, PriceProblem):
            return _Money(None, "", None, "", "", (), price)
        warnings = [RowWarning.PRICE_ROUNDED] if price.rounded else []
        if price.differs:
            warnings.append(RowWarning.CURRENCY_DIFFERS)
        sale = None
        if sale_text and not is_placeholder("sale_price", sale_text):
            found = self._parse(sale_text, price.currency, price.currency, unit)
            if isinstance(found, PriceProblem):
                if found.reasons != (Reason.PRICE_ZERO,):
                    warnings.append(RowWarning.SALE_PRICE_INVALID)
            elif found.currency != price.currency:
                warnings.append(RowWarning.SALE_PRICE_INVALID)
            elif found.amount > price.amount:
                warnings.append(RowWarning.SALE_PRICE_NOT_BELOW)
            elif found.amount < price.amount:
                sale = found.amount
        return _Money(
            price.amount,
            price.currency,
            sale,
            str(price.amount),
            str(sale) if sale else "",
            tuple(warnings),
            None,
        )

    def _parse(
        self, text: str | None, field: str | None, store: str | None, unit: str | None
    ) -> Price | PriceProblem:
        return parse_price(
            text,
            currency=field,
            store_currency=store,
            minor_unit=unit,
            decimal_mark=self._mark,
            max_price=self._max_price,
        )

    def _rows(
        self,
        batch: ItemBatch,
        columns: dict[str, Sequence[Any]],
        keep: list[int] | None,
        ids: list[str | None],
        titles: list[str | None],
        money: list[_Money],
    ) -> tuple[pa.RecordBatch, dict[str, Counter[str]]]:
        """The clean rows of the items at `keep`, of all where it is None, and the values that no map knows."""

        def kept(values: Sequence[Any]) -> Sequence[Any]:
            return values if keep is None else [values[i] for i in keep]

        def of(name: str) -> Sequence[Any]:
            return kept(columns[name]) if name in columns else [None] * made.size

        made = _Made(batch.size if keep is None else len(keep))
        made.put("external_id", kept(ids))
        made.put("title", kept(titles))
        prose = clean_texts("description", of("description"))
        made.put("description", prose, [value or "" for value in prose])
        self._amounts(made, kept(money), of("sale_price_effective_date"))
        self._attributes(made, of)
        self._pictures(made, of("image_url"), of("additional_image_urls"))
        made.out["content_hash"] = hash_rows(made.text, made.size)
        made.out["warnings"] = warning_lists(made.notes, made.size)
        made.out["record"] = kept(batch.record)
        made.out["place"] = printables(kept(batch.place))
        arrays = [pa.array(made.out[field.name], type=field.type) for field in CLEAN_SCHEMA]
        return pa.RecordBatch.from_arrays(arrays, schema=CLEAN_SCHEMA), made.unknown

    def _amounts(self, made: _Made, money: Sequence[_Money], windows: Sequence[str | None]) -> None:
        """Price, currency, sale price and the time in which it holds."""
        prices, codes, sales, price_texts, sale_texts, warnings, _ = _transposed(money, len(_Money._fields))
        made.note(warnings)
        made.put("price", prices, price_texts)
        made.put("currency", codes)
        # A window that cannot be read clears them.
        sales, sale_texts = list(sales), list(sale_texts)
        times = self._windows_of(windows, sales, sale_texts, made.notes)
        for name, column_of_times in zip(("sale_starts_at", "sale_ends_at"), times, strict=True):
            made.put(name, column_of_times, [time.isoformat() if time else "" for time in column_of_times])
        made.put("sale_price", sales, sale_texts)

    def _attributes(self, made: _Made, of: Callable[[str], Sequence[Any]]) -> None:
        """The columns of which each value is cleaned by itself, and what is kept of the raw ones."""
        raws: dict[str, Sequence[str | None]] = {}
        for name, memo in self._cells.items():
            values = of(name)
            if name == "product_url" and all(values) and are_normalized(values):
                # Each page's address is another one: a memo of them would be of no use.
                made.put(name, values)
                continue
            cells = {value: memo[value] for value in set(values)}
            found = spread({value: cell.value for value, cell in cells.items()}, values)
            some_null = any(cell.value is None for cell in cells.values())
            made.put(name, found, [value or "" for value in found] if some_null else None)
            if any(cell.warning is not None for cell in cells.values()):
                warned = {value: (cell.warning,) if cell.warning else () for value, cell in cells.items()}
                made.note(spread(warned, values))
            if name in _RAW_COLUMNS:
                if any(cell.raw is not None for cell in cells.values()):
                    raws[name] = spread({value: cell.raw for value, cell in cells.items()}, values)
                if missed := {value: cell.value or "" for value, cell in cells.items() if cell.unknown}:
                    made.unknown[name] = Counter(missed[value] for value in values if value in missed)
        members = zip(*(raws[name] for name in _RAW_COLUMNS if name in raws), strict=True)
        made.out["raw_attributes"] = list(map(self._raw.__getitem__, members)) if raws else [None] * made.size

    def _pictures(self, made: _Made, main: Sequence[Any], further: Sequence[Any]) -> None:
        """The pictures and their keys."""
        # Remembered within the batch: variants stand together and share their pictures.
        seen = Memo(self._picture, made.size + 1)
        cells = [seen[pair] for pair in zip(main, further, strict=True)]
        urls, keys, others, other_keys, warnings = _transposed(cells, len(PicturesCell._fields))
        made.out["image_key"] = keys
        made.put("image_url", urls, [key or "" for key in keys])
        made.put("additional_image_urls", others, other_keys)
        made.note(warnings)

    def _windows_of(
        self,
        texts: Sequence[str | None],
        sales: list[Decimal | None],
        sale_texts: list[str],
        notes: Notes,
    ) -> tuple[list[datetime | None], list[datetime | None]]:
        """Starts and ends of the sale prices. A sale whose time cannot be read is no sale: it is cleared."""
        starts: list[datetime | None] = [None] * len(texts)
        ends: list[datetime | None] = [None] * len(texts)
        if not any(texts):
            return starts, ends
        for i, text in enumerate(texts):
            if not text or sales[i] is None:
                continue
            window = self._windows[text]
            if window is None:
                sales[i], sale_texts[i] = None, ""
                notes.setdefault(i, []).append(RowWarning.SALE_WINDOW_INVALID)
            else:
                starts[i], ends[i] = window
        return starts, ends


def _transposed(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Sequence[Any]]:
    """The columns of rows of `width` values."""
    return list(zip(*rows, strict=True)) if rows else [()] * width
