"""A mapping applied: chunks of source fields to batches of item columns, column by column."""

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources

import yaml

from fashion_pipeline.feeds.addresses import nested_addresses, split_addresses
from fashion_pipeline.feeds.items import ItemBatch, Value
from fashion_pipeline.feeds.mapping import PRICE_PAIR, PRICE_RANGE, PRICE_SHOWN, SALE_WINDOW, Mapping
from fashion_pipeline.feeds.records import Chunk

LIST_COLUMNS = frozenset({"additional_image_urls"})
#: What stands several times stays so, for cleaning: two prices are no price, two colours are both.
REPEATED_COLUMNS = frozenset({"price", "sale_price", *PRICE_PAIR, "color", "size", "gender", "material"})
#: In a price as a shop shows it: what is struck through, small print or for screen readers, markup, amounts.
STRUCK = re.compile(
    r"<(del|s|strike|small)\b.*?</\1>|<span[^>]*screen-reader-text.*?</span>", re.IGNORECASE | re.DOTALL
)
DELETED = re.compile(
    r"<(del|s|strike)\b.*?</\1>|<span[^>]*screen-reader-text.*?</span>", re.IGNORECASE | re.DOTALL
)
MARKUP = re.compile(r"<[^>]*>|&#?\w+;")
#: A rate of tax behind the price is no amount.
AMOUNT = re.compile(r"\d++(?:[.,' ]\d++)*+(?!\s*%)")
#: An amount with at most a code or sign of a currency beside it.
WRITTEN = re.compile(r"(?:[A-Za-z]{3}|[€£$¥])?\s*(\d[\d.,' \u00a0\u202f]*)\s*(?:[A-Za-z]{3}|[€£$¥])?")
#: Behind an amount, what makes it the lower end of a range.
OPEN_BEHIND = ("~", "〜", "+", "から", "より")


class Applier:
    """Applies one mapping to the chunks of one read."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._columns = [(column, mapping.candidates(column)) for column in mapping.fields]
        self._constants = dict(mapping.constants)
        if mapping.price_unit == "minor":
            # The cleaner knows how many digits each currency has.
            self._constants.setdefault("currency_minor_unit", "iso")
        #: Column -> the source fields that the chunks so far had for it.
        self.used: dict[str, dict[str, None]] = {}

    def apply(self, chunk: Chunk) -> ItemBatch:
        """The items of a chunk, in its order."""
        columns: dict[str, list[Value]] = {}
        for column, candidates in self._columns:
            sources: list[list[Value]] = []
            for name in candidates:
                if found := chunk.columns(name):
                    sources.extend(found)
                    self.used.setdefault(column, {})[name] = None
            if sources:
                if column in LIST_COLUMNS:
                    columns[column] = _lists(sources)
                else:
                    columns[column] = _first(sources, plain=chunk.plain or column in REPEATED_COLUMNS)
        current, regular = (columns.pop(name, None) for name in PRICE_PAIR)
        if current is not None or regular is not None:
            _pair(columns, current, regular)
        low, high = (columns.pop(name, None) for name in PRICE_RANGE)
        if low is not None:
            _range(columns, low, high or [None] * chunk.size)
        shown = columns.pop(PRICE_SHOWN, None)
        if shown is not None:
            _shown(columns, shown)
        starts, ends = (columns.pop(name, None) for name in SALE_WINDOW)
        if starts is not None or ends is not None:
            _window(columns, starts or [None] * chunk.size, ends or [None] * chunk.size)
        if "image_url" in columns:
            columns["image_url"] = _all_listed(columns["image_url"])
        for column, table in self._mapping.values.items():
            if column in columns:
                columns[column] = [_translated(value, table) for value in columns[column]]
        for column, constant in self._constants.items():
            before = columns.get(column)
            columns[column] = (
                [constant] * chunk.size if before is None else [constant if _blank(v) else v for v in before]
            )
        return ItemBatch(chunk.size, columns, chunk.record, chunk.place, chunk.raw)


def _blank(value: Value) -> bool:
    if isinstance(value, list):
        return all(map(_blank, value))
    return not value or value.isspace()


def _scalar(value: Value) -> Value:
    """The first that says something, where a field stands several times."""
    if isinstance(value, list):
        return next((part for part in value if part and not part.isspace()), value[0] if value else None)
    return value


def _first(sources: Sequence[list[Value]], *, plain: bool) -> list[Value]:
    merged = sources[0]
    for source in sources[1:]:
        merged = [other if _blank(value) else value for value, other in zip(merged, source, strict=True)]
    if not plain and list in set(map(type, merged)):
        merged = [_scalar(value) for value in merged]
    return merged


def _all_listed(values: list[Value]) -> list[Value]:
    """Main pictures' cells; several URLs in JSON become what cleaning takes apart."""
    table = {value: _listed(value) for value in values if isinstance(value, str)}
    return [table[value] if isinstance(value, str) else value for value in values]


def _listed(value: str) -> str:
    if value.lstrip()[:1] in ("[", "{"):
        nested = nested_addresses(value.strip())
        return value if nested is None else " ".join(nested)
    return value


def _lists(sources: Sequence[list[Value]]) -> list[Value]:
    """One list per item. Items whose sources say the same share one, as the variants of a product do."""
    if any(list in map(type, source) for source in sources):
        return [_list(values) for values in zip(*sources, strict=True)]
    told = list(zip(*sources, strict=True))
    known = {values: _list(values) for values in set(told)}
    return [known[values] for values in told]


def _list(values: Sequence[Value]) -> list[str]:
    found: dict[str, None] = {}
    for value in values:
        for text in value if isinstance(value, list) else (value,):
            if text:
                found.update(dict.fromkeys(split_addresses(text)))
    return list(found)


def _amount(value: Value) -> Decimal | None:
    """What two prices are compared by; None where it takes more than a look to read one."""
    if not isinstance(value, str):
        return None
    try:
        amount = Decimal(value.strip())
    except InvalidOperation:
        pass
    else:
        return amount if amount.is_finite() else None
    written = WRITTEN.fullmatch(value.strip())
    if written is None:
        return None
    digits = re.sub(r"[\s']", "", written.group(1))
    whole, mark, rest = digits.rpartition("," if digits.rfind(",") > digits.rfind(".") else ".")
    if not mark:
        return Decimal(digits)
    # Three digits after the only mark may be thousands or thousandths.
    return Decimal(re.sub(r"\D", "", whole) + "." + rest) if len(rest) in (1, 2) else None


def _pair(columns: dict[str, list[Value]], current: list[Value] | None, regular: list[Value] | None) -> None:
    """price and sale_price out of what is asked and what is struck through.

    A regular price that is lower, equal, no plain number or missing is no reason to call the other a sale; and
    nothing is on sale for nothing.
    """
    if current is None or regular is None:
        columns.setdefault("price", current or regular or [])
        return
    price: list[Value] = []
    sale: list[Value] = []
    for asked, struck in zip(current, regular, strict=True):
        now, before = _amount(asked), _amount(struck)
        reduced = now is not None and before is not None and before > now > 0
        price.append(struck if reduced or _blank(asked) else asked)
        sale.append(asked if reduced else None)
    columns.setdefault("price", price)
    columns.setdefault("sale_price", sale)


def _range(columns: dict[str, list[Value]], low: list[Value], high: list[Value]) -> None:
    """A range in place of the price where its ends differ; the price where there is no other.

    A low end without a high one is a price "from", which is no item's price either.
    """
    price = columns.setdefault("price", [None] * len(low))
    for index, (least, most) in enumerate(zip(low, high, strict=True)):
        if _blank(least):
            continue
        if _blank(most):
            if _blank(price[index]):
                price[index] = f"from {least}"
            continue
        if _amount(least) != _amount(most):
            price[index] = f"{least} - {most}"
            if "sale_price" in columns:
                columns["sale_price"][index] = None
        elif _blank(price[index]):
            price[index] = least


@cache
def _range_words() -> re.Pattern[str]:
    """Words before an amount that make it an end of a range: "from $10"."""
    source = resources.files("fashion_pipeline.cleaning").joinpath("values", "price_words.yaml")
    words = yaml.safe_load(source.read_text(encoding="utf-8"))["range"]
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)


def _is_open(value: str, amount: str) -> bool:
    """Whether the one amount that is shown is an end of a range, by the words next to it."""
    before, _, after = " ".join(MARKUP.sub(" ", DELETED.sub(" ", value)).split()).partition(amount)
    return _range_words().search(before) is not None or after.lstrip("€£$¥円 ").startswith(OPEN_BEHIND)


def _shown(columns: dict[str, list[Value]], shown: list[Value]) -> None:
    """The range that a shop shows, in place of a price that is only its lower end."""
    price = columns.setdefault("price", [None] * len(shown))
    for index, value in enumerate(shown):
        if not isinstance(value, str):
            continue
        amounts = AMOUNT.findall(MARKUP.sub(" ", STRUCK.sub(" ", value)))
        if len(set(amounts)) > 1:
            price[index] = f"{amounts[0]} - {amounts[-1]}"
        elif amounts and _is_open(value, amounts[0]):
            price[index] = f"from {amounts[0]}"
        else:
            continue
        if "sale_price" in columns:
            columns["sale_price"][index] = None


def _window(columns: dict[str, list[Value]], starts: list[Value], ends: list[Value]) -> None:
    """`sale_price_effective_date` out of a start and an end."""
    columns.setdefault(
        "sale_price_effective_date",
        [
            None if _blank(start) and _blank(end) else f"{start or ''}/{end or ''}"
            for start, end in zip(starts, ends, strict=True)
        ],
    )


def _translated(value: Value, table: dict[str, str]) -> Value:
    return table.get(value.strip().lower(), value) if isinstance(value, str) else value
