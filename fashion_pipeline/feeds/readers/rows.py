"""Records as rows of fields, collected into chunks: what the readers of nested and grouped feeds share."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fashion_pipeline.feeds.items import Value
from fashion_pipeline.feeds.records import Chunk, Source, json_text

FIRST_NAME = re.compile(r"[.\[]")
Fields = dict[str, Any]
Get = Callable[[Fields, str], Value]


class RowBatch:
    """Rows on their way to a chunk. `get` takes the value of a normalized field name out of a row.

    `raw` makes the content of an item, for people, out of what `add` was given as its origin.
    """

    def __init__(self, source: Source, get: Get, raw: Callable[[Any], Any] = lambda origin: origin) -> None:
        self.source, self._get, self._raw = source, get, raw
        self._rows: list[Fields] = []
        self._origin: list[Any] = []
        self._record: list[int] = []
        self._place: list[str] = []

    @property
    def full(self) -> bool:
        """Whether it is time to flush."""
        return len(self._rows) >= self.source.batch_size

    def add(self, row: Fields, origin: Any, record: int, place: str) -> None:
        """Take one item; its record has been counted."""
        self._rows.append(row)
        self._origin.append(origin)
        self._record.append(record)
        self._place.append(place)

    def flush(self) -> Iterator[Chunk]:
        """The rows so far as a chunk, if there are any."""
        if not self._rows:
            return
        rows, origin, raw, get = self._rows, self._origin, self._raw, self._get
        record, place = self._record, self._place
        self._rows, self._origin, self._record, self._place = [], [], [], []

        present = set().union(*rows)

        def columns(name: str) -> Sequence[list[Value]]:
            # Of a path the first name is a field of the row; most paths of a mapping are of other feeds.
            if name not in present and FIRST_NAME.split(name, maxsplit=1)[0] not in present:
                return []
            values = [get(row, name) for row in rows]
            known = name in present or any(value is not None for value in values)
            return [values] if known else []

        yield Chunk(len(rows), columns, record, place, lambda i: json_text(raw(origin[i])))


def plain(row: Fields, name: str) -> Value:
    """`get` of rows whose fields are their values."""
    value: Value = row.get(name)
    return value
