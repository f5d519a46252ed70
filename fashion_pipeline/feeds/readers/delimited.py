"""Delimited text: CSV, TSV, pipes, and what shops make of them.

Quoting is that of RFC 4180 whatever the delimiter, since real TSV files are written by CSV writers. A short
row is padded and counted, a long one is broken, a stray quote costs nothing where its line reads well
without quoting.
"""

import csv
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.encoding import utf8_chunks
from fashion_pipeline.feeds.items import Value
from fashion_pipeline.feeds.mapping import Mapping, normal_name
from fashion_pipeline.feeds.readers.lines import (
    Lines,
    RunawayQuoteError,
    line_blocks,
    lines_of,
    without_returns,
)
from fashion_pipeline.feeds.records import MAX_VALUE, Chunk, Read, Source, json_text

#: Rows in which the header is looked for: vendors put comment rows before it (Meta's template has one).
HEADER_ROWS = 10
MAX_COLUMNS = 4_000
DELIMITERS = (",", "\t", ";", "|")
#: A file with more stray quotes than this is not quoted at all: a person should say so.
MAX_STRAY = 1_000
_RETURN, _NEWLINE = b"\r\n"
SHORT, STRAY, ESCAPED = "short rows padded", "stray quotes read as text", "quotes escaped by backslashes"
BACKSLASH = '\\"'


def read_delimited(source: Source) -> Iterator[Read]:
    """Records of one delimited document.

    Raises:
        FeedError: no header with the mapped columns, cut within a row, or quotes that do not balance.
    """
    if csv.field_size_limit() < MAX_VALUE:
        csv.field_size_limit(MAX_VALUE)
    with source.open() as stream:
        lines = Lines(line_blocks(utf8_chunks(stream, source.encoding), source.name))
        header, delimiter = _find_header(lines, source)
        yield from _Rows(source, lines, header, delimiter).read()


def split_cells(line: str, delimiter: str, *, quoting: bool = True) -> list[str]:
    """The cells of one line by itself."""
    bare = line.rstrip("\r\n")
    if not quoting or '"' not in bare:
        return bare.split(delimiter)
    try:
        return next(csv.reader([bare], delimiter=delimiter), [])
    except csv.Error:  # a value beyond the limit: no header, and no row either
        return [bare]


def _find_header(lines: Lines, source: Source) -> tuple[list[str], str]:
    """Reads up to the header; gives it and the delimiter."""
    mapping = source.mapping
    wanted = {name for column in mapping.fields for name in mapping.candidates(column)}
    head = lines.peek(HEADER_ROWS)
    tries = DELIMITERS if mapping.delimiter == "auto" else (mapping.delimiter,)
    best: tuple[int, int, int, str, list[str]] | None = None
    for number, line in enumerate(head):
        for delimiter in tries:
            cells = split_cells(line, delimiter, quoting=mapping.quoting)
            names = {normal_name(cell) for cell in cells}
            score = len(names & wanted)
            if _has_key_columns(names, mapping) and (best is None or (score, len(cells)) > best[:2]):
                best = score, len(cells), number, delimiter, cells
    if best is None:
        raise FeedError(_no_header(head, source))
    _, count, number, delimiter, cells = best
    if count > MAX_COLUMNS:
        raise FeedError(f"{source.name} has {count:,} columns: more than {MAX_COLUMNS:,} are not read")
    for line in head[:number]:
        lines.skip()
        if line.strip():
            source.tally.context("comment")
    lines.skip()
    return cells, delimiter


def _has_key_columns(names: set[str], mapping: Mapping) -> bool:
    return all(not names.isdisjoint(mapping.candidates(column)) for column in mapping.needs)


def _no_header(head: list[str], source: Source) -> str:
    mapping = source.mapping
    first = next((line for line in head if line.strip()), "")
    by_count = max(DELIMITERS, key=first.count)
    found = [cell.strip()[:40] for cell in split_cells(first, by_count, quoting=True)[:12]]
    wanted = "; ".join(f"{column} ({' or '.join(mapping.fields[column])})" for column in mapping.needs)
    told = f"{source.name}: other format than configured: {mapping.format} needs columns for {wanted}"
    if mapping.delimiter not in ("auto", by_count) and first.count(by_count):
        told += f" between {mapping.delimiter!r}, but the first line is separated by {by_count!r}"
    return f"{told}; found: {', '.join(found)}; set the right `format:`, or say the columns by `mapping:`"


def _longest(column: pa.ChunkedArray) -> int:
    """Bytes of the longest value."""
    return pc.max(pc.binary_length(column)).as_py() or 0


class _Rows:
    def __init__(self, source: Source, lines: Lines, header: list[str], delimiter: str) -> None:
        self.source, self.lines, self.header, self.delimiter = source, lines, header, delimiter
        self.quoting = source.mapping.quoting
        self.width = len(header)
        self.indexes: dict[str, list[int]] = {}
        for index, name in enumerate(header):
            self.indexes.setdefault(normal_name(name), []).append(index)
        self.cells: list[list[str]] = [[] for _ in header]
        self.at: list[int] = []
        self.short_before, self.stray = False, 0
        names = [str(index) for index in range(self.width)]
        self._reading = pa_csv.ReadOptions(column_names=names, use_threads=False)
        self._converting = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))

    def read(self) -> Iterator[Read]:
        while block := self.lines.take_block():
            if not self._take_plain(block):
                lines = list(map(without_returns, lines_of(block)))
                stop = self.lines.first + len(lines)
                taken = self._take_well_formed(lines)
                self.lines.settle_block(taken, lines[taken:])
                if taken < len(lines):
                    yield from self._one_by_one(stop)
            while len(self.at) >= self.source.batch_size:
                yield from self._flush()
        yield from self._flush()

    def _take_plain(self, block: bytes) -> bool:
        """Take a block in which each line is a row of the right width, or nothing of it.

        Such rows read alike one by one, at a multiple of the cost.
        """
        if not block.endswith(b"\n") or not self.delimiter.isascii() or BACKSLASH.encode() in block:
            return False
        # Arrow ends a row at a lone `\r`, and a quote that nothing closes at the end: then as many rows as
        # lines would prove nothing.
        units = np.frombuffer(block, np.uint8)
        if (units[np.flatnonzero(units == _RETURN) + 1] != _NEWLINE).any():
            return False
        lines = int(np.count_nonzero(units == _NEWLINE))
        self._reading.block_size = len(block) + 1
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(block),
                read_options=self._reading,
                parse_options=pa_csv.ParseOptions(
                    delimiter=self.delimiter,
                    quote_char='"' if self.quoting else False,
                    newlines_in_values=self.quoting,
                ),
                convert_options=self._converting,
            )
        except pa.ArrowInvalid:
            return False
        if table.num_rows != lines or any(_longest(column) > MAX_VALUE for column in table.columns):
            return False
        if table.columns[-1][-1].as_py().endswith("\n"):
            return False
        for cells, column in zip(self.cells, table.columns, strict=True):
            cells.extend(column.to_pylist())
        self.at.extend(range(self.lines.first, self.lines.first + lines))
        self.lines.settle_block(lines)
        return True

    def _take_well_formed(self, lines: list[str]) -> int:
        """Take the rows at the beginning that raise no question, also those over several lines.

        Gives the number of lines that they have.
        """
        width, taken = self.width, 0
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE,
            strict=True,
        )
        try:
            for row in reader:
                if len(row) != width:
                    break
                self._take(row, self.lines.first + taken)
                taken = reader.line_num
        except csv.Error:
            pass  # `_one_by_one` finds out what is wrong
        return taken

    def _take(self, row: list[str], at: int) -> None:
        for cells, cell in zip(self.cells, row, strict=True):
            cells.append(cell)
        self.at.append(at)

    def _one_by_one(self, stop: int) -> Iterator[Read]:
        """Read row by row up to line `stop`, and to the end of the record that stands there."""
        lines, width = self.lines, self.width
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoting else csv.QUOTE_NONE,
        )
        while True:
            lines.begin()
            if lines.first >= stop:
                break
            try:
                row = next(reader)
            except StopIteration:
                break
            except RunawayQuoteError as error:
                # Chunks keep the order of records, so what was read goes first.
                broken = self._stray(error.ended)
                if broken is not None:
                    yield from self._flush()
                    yield self._broken(broken)
                continue
            except csv.Error as error:
                yield from self._flush()
                yield self._broken(f"cannot be split into cells: {error}")
                continue
            if len(row) != width or len(lines.taken) > 1 or BACKSLASH in lines.taken[0]:
                if not row or (len(row) == 1 and not row[0].strip()):
                    continue
                problem = self._fit(row)
                if problem is not None:
                    yield from self._flush()
                    yield self._broken(problem)
                    continue
                if not row:
                    continue
            self._take(row, lines.first)
            if len(self.at) >= self.source.batch_size:
                yield from self._flush()

    def _fit(self, row: list[str]) -> str | None:
        """Make a row as wide as the header; says what is wrong where that is not safe.

        Empties `row` where a line with a stray quote was taken instead of it.
        """
        if not self._well_quoted() and self._take_escaped():
            row.clear()
            return None
        extra = len(row) - self.width
        if len(self.lines.taken) > 1 and (extra or not self._well_quoted()) and self._take_first_line():
            row.clear()
            return None
        if extra > 0:
            if any(cell.strip() for cell in row[self.width :]):
                return f"{len(row)} cells where the header has {self.width}"
            del row[self.width :]
        elif extra < 0:
            place = f"line {self.lines.first}"
            if self.lines.cut and not self.short_before and self.lines.at_end:
                raise FeedError(
                    f"{self.source.name}, {place}: the last row has {len(row)} of {self.width} cells and no "
                    "end of line: truncated; fetch it again"
                )
            self.short_before = True
            self.source.tally.mended(SHORT, self.source.place(place))
            row.extend([""] * -extra)
        return None

    def _well_quoted(self) -> bool:
        """Whether the lines of the record are quoted as RFC 4180 says.

        A stray quote that the next one ends gives a row of the right width, but text behind that next one.
        """
        try:
            next(csv.reader(self.lines.taken, delimiter=self.delimiter, strict=True))
        except csv.Error:
            return False
        return True

    def _stray(self, ended: bool) -> str | None:
        """A quote that nothing closes: reads its line without quoting, or says why that is not safe."""
        if self._take_escaped() or self._take_first_line():
            return None
        # Where the next line reads as a row, the file goes on and only this line is wrong.
        after = self.lines.taken[1] if len(self.lines.taken) > 1 else ""
        if ended and len(split_cells(after, self.delimiter, quoting=False)) != self.width:
            raise FeedError(
                f"{self.source.name}, line {self.lines.first}: a quoted value does not end before the file "
                "does: truncated; fetch it again"
            )
        self.lines.put_back(self.lines.taken[1:])
        return "a quote that nothing closes"

    def _take_escaped(self) -> bool:
        """Take the first line as MySQL and PHP write it, where that makes it a row."""
        line = self.lines.taken[0]
        if not self.quoting or BACKSLASH not in line:
            return False
        try:
            cells = next(csv.reader([line], delimiter=self.delimiter, escapechar="\\", strict=True))
        except csv.Error:
            return False
        if len(cells) != self.width:
            return False
        self.source.tally.mended(ESCAPED, self.source.place(f"line {self.lines.first}"))
        self._take(cells, self.lines.first)
        self.lines.put_back(self.lines.taken[1:])
        return True

    def _take_first_line(self) -> bool:
        line = self.lines.taken[0]
        cells = split_cells(line, self.delimiter, quoting=False)
        if len(cells) != self.width:
            return False
        self.stray += 1
        if self.stray > MAX_STRAY:
            raise FeedError(
                f"{self.source.name}, line {self.lines.first}: more than {MAX_STRAY} rows have quotes that "
                "do not balance: if the file does not quote, set `mapping: {quoting: false}`"
            )
        self.source.tally.mended(STRAY, self.source.place(f"line {self.lines.first}"))
        self._take(cells, self.lines.first)
        self.lines.put_back(self.lines.taken[1:])
        return True

    def _broken(self, reason: str) -> Read:
        raw = "".join(self.lines.taken)[:10_000]
        place = self.source.place(f"line {self.lines.first}")
        return self.source.tally.broken(place, reason, json_text({"line": raw}))

    def _flush(self) -> Iterator[Chunk]:
        if not self.at:
            return
        size, header, indexes = self.source.batch_size, self.header, self.indexes
        cells, at = [column[:size] for column in self.cells], self.at[:size]
        self.cells, self.at = [column[size:] for column in self.cells], self.at[size:]
        first = self.source.tally.report.records + 1
        self.source.tally.yielding(len(at), len(at))

        def columns(name: str) -> list[list[Value]]:
            return [list(cells[index]) for index in indexes.get(name, ())]

        several = self.source.documents > 1
        yield Chunk(
            size=len(at),
            columns=columns,
            record=list(range(first, first + len(at))),
            place=[self.source.place(f"line {n}") for n in at] if several else [f"line {n}" for n in at],
            raw=lambda i: json_text({name: column[i] for name, column in zip(header, cells, strict=True)}),
            names=tuple(indexes),
            plain=True,
        )
