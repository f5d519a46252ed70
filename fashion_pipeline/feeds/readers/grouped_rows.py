"""Rows of delimited exports in which one row depends on others: what their readers share."""

from collections.abc import Iterator
from dataclasses import dataclass

from fashion_pipeline.feeds.items import BrokenRecord
from fashion_pipeline.feeds.readers.delimited import read_delimited
from fashion_pipeline.feeds.records import Source


@dataclass(frozen=True)
class Row:
    """One data row: its cells by normalized name, and where it stood."""

    cells: dict[str, str]
    record: int
    place: str

    def cell(self, name: str) -> str:
        """The text of a cell; "" where there is none."""
        return self.cells.get(name, "").strip()

    def said(self) -> dict[str, str]:
        """The cells that are not blank."""
        return {name: cell for name, cell in self.cells.items() if cell.strip()}


def rows_of(source: Source) -> Iterator[Row | BrokenRecord]:
    """The data rows of a delimited document. Each has been counted as yielding one item."""
    for read in read_delimited(source):
        if isinstance(read, BrokenRecord):
            yield read
            continue
        columns = [(name, read.columns(name)[0]) for name in read.names]
        for index, (record, place) in enumerate(zip(read.record, read.place, strict=True)):
            yield Row({name: str(column[index] or "") for name, column in columns}, record, place)
