"""Supplements: further files of a store's feed, joined to its items by id.

A supplement has an id and a few columns. What it says replaces what the feed says of that item; what it
leaves blank stays; an id that the feed does not have makes no product.
https://support.google.com/merchants/answer/7439882
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.items import BrokenRecord, ItemBatch, Value
from fashion_pipeline.feeds.records import PLACES_KEPT, Tally

#: What only the feed itself says.
KEPT = frozenset({"external_id", "action"})
UNMATCHED = "supplement rows without a product in the feed"
CONFLICTING = "ids whose supplement rows differ: none was used"
BROKEN = "supplement rows that cannot be read"
WITHOUT_ID = "supplement rows without an id"

Row = dict[str, "Value"]
#: What a row and a value of it take in memory beside the value's characters, in bytes (CPython 3.11, 64 bits): the
#: id, its place in the file, three entries of dictionaries; one entry and the header of a string.
ROW_BYTES, VALUE_BYTES = 400, 60


@dataclass(frozen=True)
class SupplementFile:
    """A stored supplement, and what the transport said of it; `name` is for places."""

    path: Path
    name: str
    content_type: str | None = None
    charset: str | None = None


@dataclass
class _Part:
    """One supplement while the feed is read; `unasked` are its ids that no item had so far."""

    rows: int = 0
    unusable: int = 0
    repeated: int = 0
    unasked: dict[str, str] = field(default_factory=dict)


class SupplementRows:
    """The rows of a store's supplements by id; of two supplements the later one in `feeds.yaml` counts.

    They are held in memory, about `most_bytes` of it at most.
    """

    def __init__(self, tally: Tally, most_bytes: int) -> None:
        self._tally = tally
        self._left = self._most = most_bytes
        self._rows: dict[str, Row] = {}
        self._parts: dict[str, _Part] = {}

    @property
    def by_id(self) -> dict[str, Row]:
        """What the supplements say, by the id of the item; only columns that say something."""
        return self._rows

    def add(self, name: str, parts: Iterable[ItemBatch | BrokenRecord]) -> None:
        """Take one supplement; `name` is for places.

        Raises:
            FeedError: the supplements are larger than they may be.
        """
        found: dict[str, Row] = {}
        conflicting: dict[str, str] = {}
        again: dict[str, int] = {}
        this = self._parts[name] = _Part()
        for part in parts:
            if isinstance(part, BrokenRecord):
                this.rows += 1
                this.unusable += 1
                self._tally.mended(BROKEN, f"{name}, {part.place}")
                continue
            this.rows += part.size
            ids = part.columns.get("external_id") or [None] * part.size
            columns = [(column, values) for column, values in part.columns.items() if column not in KEPT]
            for index, external_id in enumerate(ids):
                place = f"{name}, {part.place[index]}"
                if not isinstance(external_id, str) or not external_id.strip():
                    this.unusable += 1
                    self._tally.mended(WITHOUT_ID, place)
                    continue
                key = external_id.strip()
                row = {column: values[index] for column, values in columns if _says(values[index])}
                self._hold(row, place)
                if key in found:
                    again[key] = again.get(key, 0) + 1
                if found.setdefault(key, row) != row:
                    conflicting.setdefault(key, place)
                this.unasked.setdefault(key, place)
        for key, place in conflicting.items():
            this.unusable += 1 + again.pop(key)
            self._tally.mended(CONFLICTING, place)
            del found[key], this.unasked[key]
        this.repeated = sum(again.values())
        for key, row in found.items():
            self._rows[key] = {**self._rows.get(key, {}), **row}

    def _hold(self, row: Row, place: str) -> None:
        self._left -= ROW_BYTES + sum(VALUE_BYTES + _characters(value) for value in row.values())
        if self._left < 0:
            raise FeedError(
                f"{place}: the store's supplements take more than {self._most >> 20:,} MiB of memory; map fewer of "
                "their columns, or allow more by `supplements_mib` in the store's entry in feeds.yaml"
            )

    def join(self, batch: ItemBatch) -> ItemBatch:
        """The batch with what the supplements say of its items."""
        ids = batch.columns.get("external_id", [])
        for index, external_id in enumerate(ids):
            key = external_id.strip() if isinstance(external_id, str) else ""
            row = self._rows.get(key)
            if row is None:
                continue
            for part in self._parts.values():
                part.unasked.pop(key, None)
            for column, value in row.items():
                batch.columns.setdefault(column, [None] * batch.size)[index] = value
        return batch

    def close(self) -> None:
        """Count the rows, and note those that no item asked for."""
        for name, part in self._parts.items():
            unmatched = len(part.unasked)
            for place in list(part.unasked.values())[:PLACES_KEPT]:
                self._tally.mended(UNMATCHED, place)
            if unmatched > PLACES_KEPT:
                self._tally.mended(UNMATCHED, "", unmatched - PLACES_KEPT)
            self._tally.report.supplements[name] = {
                "rows": part.rows,
                "joined": part.rows - part.unusable - part.repeated - unmatched,
                "unmatched": unmatched,
                "repeated": part.repeated,
                "unusable": part.unusable,
            }

    def joined(self, parts: Iterator[ItemBatch | BrokenRecord]) -> Iterator[ItemBatch | BrokenRecord]:
        """All of a feed, joined."""
        for part in parts:
            yield self.join(part) if isinstance(part, ItemBatch) else part
        self.close()


def _characters(value: Value) -> int:
    if isinstance(value, list):
        return sum(VALUE_BYTES + len(part) for part in value)
    return len(value) if isinstance(value, str) else 0


def _says(value: Value) -> bool:
    return bool(value) and not (isinstance(value, str) and value.isspace())
