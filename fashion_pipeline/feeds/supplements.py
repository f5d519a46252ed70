"""Supplements: further files of a store's feed, joined to its items by id.

A supplement has an id and a few columns. What it says replaces what the feed says of that item; what it
leaves blank stays; an id that the feed does not have makes no product.
https://support.google.com/merchants/answer/7439882
"""

from collections.abc import Iterable, Iterator

from fashion_pipeline.feeds.items import BrokenRecord, ItemBatch, Value
from fashion_pipeline.feeds.records import PLACES_KEPT, Tally

#: What only the feed itself says.
KEPT = frozenset({"external_id", "action"})
UNMATCHED = "supplement rows without a product in the feed"
CONFLICTING = "ids whose supplement rows differ: none was used"
BROKEN = "supplement rows that cannot be read"
WITHOUT_ID = "supplement rows without an id"

Row = dict[str, "Value"]


class SupplementRows:
    """The rows of a store's supplements by id; of two supplements the later one in `feeds.yaml` counts."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._rows: dict[str, Row] = {}
        self._unused: dict[str, str] = {}

    def add(self, name: str, parts: Iterable[ItemBatch | BrokenRecord]) -> None:
        """Take one supplement; `name` is for places."""
        found: dict[str, Row] = {}
        conflicting: dict[str, str] = {}
        for part in parts:
            if isinstance(part, BrokenRecord):
                self._tally.mended(BROKEN, f"{name}, {part.place}")
                continue
            ids = part.columns.get("external_id") or [None] * part.size
            columns = [(column, values) for column, values in part.columns.items() if column not in KEPT]
            for index, external_id in enumerate(ids):
                place = f"{name}, {part.place[index]}"
                if not isinstance(external_id, str) or not external_id.strip():
                    self._tally.mended(WITHOUT_ID, place)
                    continue
                key = external_id.strip()
                row = {column: values[index] for column, values in columns if _says(values[index])}
                if found.setdefault(key, row) != row:
                    conflicting.setdefault(key, place)
                self._unused.setdefault(key, place)
        for key, place in conflicting.items():
            self._tally.mended(CONFLICTING, place)
            del found[key]
        for key, row in found.items():
            self._rows[key] = {**self._rows.get(key, {}), **row}

    def join(self, batch: ItemBatch) -> ItemBatch:
        """The batch with what the supplements say of its items."""
        ids = batch.columns.get("external_id", [])
        for index, external_id in enumerate(ids):
            key = external_id.strip() if isinstance(external_id, str) else ""
            self._unused.pop(key, None)
            for column, value in self._rows.get(key, {}).items():
                batch.columns.setdefault(column, [None] * batch.size)[index] = value
        return batch

    def close(self) -> None:
        """Note the rows that no item asked for."""
        for place in list(self._unused.values())[:PLACES_KEPT]:
            self._tally.mended(UNMATCHED, place)
        rest = len(self._unused) - PLACES_KEPT
        if rest > 0:
            self._tally.mended(UNMATCHED, "", rest)

    def joined(self, parts: Iterator[ItemBatch | BrokenRecord]) -> Iterator[ItemBatch | BrokenRecord]:
        """All of a feed, joined."""
        for part in parts:
            yield self.join(part) if isinstance(part, ItemBatch) else part
        self.close()


def _says(value: Value) -> bool:
    return bool(value) and not (isinstance(value, str) and value.isspace())
