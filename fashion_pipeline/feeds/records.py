"""What passes between readers and mapping: chunks of source records in columns, and the tally of a read."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias

from fashion_pipeline.feeds.encoding import Encoding
from fashion_pipeline.feeds.items import BrokenRecord, ReadReport, Recovery, Value
from fashion_pipeline.feeds.mapping import Mapping

#: One record may not be larger: beyond this it is a broken file or an attack, and memory is bounded by it.
MAX_RECORD = 16 << 20
#: One text value (characters). The longest description that was seen has 60,000.
MAX_VALUE = 1 << 20
PLACES_KEPT = 5


@dataclass(frozen=True)
class Chunk:
    """Some records in columns, by the feed's own field names.

    `columns(name)` gives every source column of that normalized name, each a list of length `size`; none
    where the chunk has no such field. `record`, `place` and `raw` are as in `ItemBatch`. `names` are the
    normalized names of a file that says them beforehand.
    """

    size: int
    columns: Callable[[str], Sequence[list[Value]]]
    record: list[int]
    place: list[str]
    raw: Callable[[int], str]
    names: tuple[str, ...] = ()
    #: Every value is text: no lists, no None.
    plain: bool = False


Read: TypeAlias = "Chunk | BrokenRecord"


class Tally:
    """The account of a read while it goes on."""

    def __init__(self, report: ReadReport) -> None:
        self.report = report
        self._mended: dict[str, tuple[int, list[str]]] = {}

    def context(self, kind: str, count: int = 1) -> None:
        """Count records that yield no item by their nature."""
        self.report.records += count
        self.report.context[kind] = self.report.context.get(kind, 0) + count

    def yielding(self, records: int, items: int) -> None:
        """Count records that yield items."""
        self.report.records += records
        self.report.yielding += records
        self.report.items += items

    def no_items(self, kind: str, count: int = 1) -> None:
        """Count as context what was counted as yielding one item each, and proves to yield none."""
        self.report.yielding -= count
        self.report.items -= count
        self.report.context[kind] = self.report.context.get(kind, 0) + count

    def broken(self, place: str, reason: str, raw: str) -> BrokenRecord:
        """Count a record that cannot be read, and give what is said of it."""
        self.report.records += 1
        self.report.broken += 1
        return BrokenRecord(self.report.records, place, reason, raw)

    def mended(self, what: str, place: str, count: int = 1) -> None:
        """Count something broken above the rows that was mended."""
        before, places = self._mended.get(what, (0, []))
        if place and len(places) < PLACES_KEPT:
            places.append(place)
        self._mended[what] = (before + count, places)

    def has_places(self, what: str) -> bool:
        """Whether enough places of this kind are known."""
        return len(self._mended.get(what, (0, []))[1]) >= PLACES_KEPT

    def close(self) -> None:
        """Write what was mended into the report."""
        self.report.recoveries = [
            Recovery(what, count, tuple(places)) for what, (count, places) in self._mended.items()
        ]


@dataclass(frozen=True)
class Source:
    """One document to be read: where its bytes come from and how they are to be understood."""

    name: str
    open: Callable[[], BinaryIO]
    encoding: Encoding
    mapping: Mapping
    tally: Tally
    batch_size: int
    #: The shop's address without a last slash, or None.
    base_url: str | None = None
    #: How many documents the stored file has.
    documents: int = 1
    #: Ids of records that earlier documents of the same crawl held.
    seen: set[int] = field(default_factory=set)
    #: All documents of the file once more, for a reader that looks at the whole before it reads; they count nothing.
    whole: Callable[[], Iterator["Source"]] = lambda: iter(())
    #: What such a look found, by its name.
    known: dict[str, frozenset[str]] = field(default_factory=dict)

    def place(self, where: str) -> str:
        """`where`, with the document's name where there are several."""
        return where if self.documents == 1 else f"{self.name}, {where}"

    def mended(self, what: str, where: str) -> None:
        """Count something that was mended at `where`."""
        self.tally.mended(what, self.place(where))


def json_text(value: Any) -> str:
    """`value` as JSON text, as `raw` gives it."""
    return json.dumps(value, ensure_ascii=False, default=str)
