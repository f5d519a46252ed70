"""What readers give to cleaning: batches of items in columns, and the account of the records.

A *record* is what the file counts: an XML `item`, a data row, a JSON object. An *item* is one
product row to be: a record yields one, or several (a Shopify product with variants), or none
(a parent row, an image-only row, a header or trailer: a context record of a kind).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias


class Action(StrEnum):
    """What an item asks for."""

    UPSERT = "upsert"
    DELETE = "delete"


#: Columns that an `ItemBatch` may hold. Values are raw: text as it stood in the feed, or None.
#: `additional_image_urls` and `image_url` candidates are lists of text. Numbers of JSON and Parquet
#: are given as their exact decimal text, never through a binary float.
ITEM_COLUMNS = (
    "external_id",
    "title",
    "description",
    "price",
    "sale_price",
    "sale_price_effective_date",
    "currency",
    "currency_minor_unit",
    "image_url",
    "additional_image_urls",
    "product_url",
    "brand",
    "gtin",
    "mpn",
    "item_group_id",
    "product_type",
    "google_product_category",
    "color",
    "size",
    "gender",
    "age_group",
    "material",
    "pattern",
    "condition",
    "availability",
    "action",
)

Value: TypeAlias = "str | list[str] | None"


@dataclass(frozen=True)
class ItemBatch:
    """Some hundreds to thousands of items, column by column.

    `columns` holds those of `ITEM_COLUMNS` that the mapping found, each a list of length `size`;
    a column that is not there is None for every item. `record` is the number of the source record,
    from 1; `place` is for people ("line 12", "item 5, variant 2"). `raw(i)` gives the source content
    of item `i` as JSON text, made only for the items that are rejected.
    """

    size: int
    columns: dict[str, list[Value]]
    record: list[int]
    place: list[str]
    raw: Callable[[int], str]


@dataclass(frozen=True)
class BrokenRecord:
    """A record that could not be read: it costs itself, not the file."""

    record: int
    place: str
    reason: str
    raw: str


@dataclass(frozen=True)
class Recovery:
    """Something broken above the rows that was mended: what, how often, the first places."""

    what: str
    count: int
    places: tuple[str, ...] = ()


@dataclass
class ReadReport:
    """The account of a read: `records == yielding + sum(context.values()) + broken`."""

    records: int = 0
    yielding: int = 0
    items: int = 0
    context: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    recoveries: list[Recovery] = field(default_factory=list)
    #: By supplement: its `rows`; of these `joined` to items, `unmatched` (no item has the id), `repeated` (the
    #: same again), `unusable` (broken, without an id, or contradicting another row of the same id).
    supplements: dict[str, dict[str, int]] = field(default_factory=dict)
    format: str = ""
    encoding: str = ""
    compression: str = ""

    def balanced(self) -> bool:
        """Whether every record is accounted for."""
        return self.records == self.yielding + sum(self.context.values()) + self.broken


class ItemReader(Protocol):
    """A feed being read: iterate it once to the end, then `report` is final."""

    report: ReadReport

    def __iter__(self) -> Iterator[ItemBatch | BrokenRecord]: ...
