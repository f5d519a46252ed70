"""Rakuten's publisher file: `|` between positions without names, a HDR line before and a TRL line behind.

https://pubhelp.rakutenadvertising.com/hc/en-us/articles/11258487715981
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.encoding import utf8_chunks
from fashion_pipeline.feeds.readers.lines import split_lines
from fashion_pipeline.feeds.readers.rows import RowBatch, plain
from fashion_pipeline.feeds.records import Read, Source, json_text

FIXED = 28
FLAGS = frozenset({"I", "U", "D"})
CATEGORY, SUBCATEGORIES, LINK, STARTS, ENDS, CLASS = 4, 5, 6, 15, 16, 25


def read_rakuten(source: Source) -> Iterator[Read]:
    """Records of one file.

    Raises:
        FeedError: no HDR line, or the TRL line is missing or counts other than there are: a cut transfer.
    """
    batch, tally = RowBatch(source, plain), source.tally
    records, counted = 0, ""
    with source.open() as stream:
        for number, line in enumerate(split_lines(utf8_chunks(stream, source.encoding), source.name), 1):
            text, place = line.rstrip("\n"), source.place(f"line {number}")
            kind = text.partition("|")[0].strip().upper()
            if not text.strip():
                continue
            if number == 1 and kind != "HDR":
                raise FeedError(
                    f"{source.name}: other format than configured: the first line begins with {text[:40]!r} "
                    "instead of `HDR|`; set the right `format:`"
                )
            if counted:
                raise FeedError(f"{source.name}, line {number}: lines behind the TRL line: fetch it again")
            if kind == "HDR":
                tally.context("header")
            elif kind == "TRL":
                tally.context("trailer")
                counted = text.partition("|")[2].strip().strip("|") or "nothing"
                _check_count(source, counted, records)
            else:
                records += 1
                values = text.split("|")
                if len(values) < FIXED:
                    yield from batch.flush()
                    reason = f"{len(values)} values where a record has at least {FIXED}"
                    yield tally.broken(place, reason, json_text({"line": text[:10_000]}))
                    continue
                tally.yielding(1, 1)
                batch.add(_fields(values), values, tally.report.records, place)
                if batch.full:
                    yield from batch.flush()
    if not counted:
        raise FeedError(
            f"{source.name}: no TRL line after {records:,} records: the transfer was cut, truncated; fetch it again"
        )
    yield from batch.flush()


def _check_count(source: Source, counted: str, records: int) -> None:
    if counted.replace(",", "").lstrip("0") != (str(records) if records else ""):
        raise FeedError(
            f"{source.name}: the TRL line counts {counted} records, but there are {records:,}: truncated; "
            "fetch it again"
        )


def _fields(values: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {str(number): value for number, value in enumerate(values[:FIXED], 1)}
    rest = values[FIXED:]
    if rest and rest[-1].strip().upper() in FLAGS:
        row["flag"] = rest.pop().strip()
    for number, value in enumerate(rest, 1):
        row[f"{row[str(CLASS)].strip()}:{number}"] = value
    path = [row[str(CATEGORY)], *row[str(SUBCATEGORIES)].split("~~")]
    row["category"] = " > ".join(level.strip() for level in path if level.strip())
    row["murl"] = _shop_address(row[str(LINK)])
    starts, ends = (_date(row[str(position)]) for position in (STARTS, ENDS))
    row["sale_window"] = f"{starts}/{ends}" if starts or ends else None
    return row


def _shop_address(link: str) -> str | None:
    """What a tracking link leads to."""
    try:
        found = parse_qs(urlsplit(link).query).get("murl")
    except ValueError:
        return None
    return found[0] if found else None


def _date(text: str) -> str:
    """A date of the file, month first, in ISO 8601; what is none stays, so that cleaning says so."""
    for form in ("%m/%d/%Y %H:%M:%S", "%m/%d/%Y"):
        try:
            return dt.datetime.strptime(text.strip(), form).isoformat()  # noqa: DTZ007 - the file says UTC
        except ValueError:
            continue
    return text.strip()
