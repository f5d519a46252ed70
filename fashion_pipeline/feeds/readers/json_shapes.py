"""How records lie in JSON: one per line, in a list, in a list or object further inside, or alone.

Where the mapping says nothing the beginning of the document decides: of what it holds, the first that
looks like a list of records is taken.
"""

import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.encoding import text_chunks
from fashion_pipeline.feeds.readers.json_stream import DECODER, Element, JsonList
from fashion_pipeline.feeds.readers.lines import split_lines
from fashion_pipeline.feeds.records import MAX_RECORD, Source

#: Characters by which the shape is told: the longest record that was seen has 200,000.
HEAD = 1 << 20
#: `records:` where the document is one record, and where the values of an object are the records.
ITSELF, VALUES = ".", "*"
#: Field with the name under which a record stands, where records are keyed.
KEY = "_key"
MAX_DEPTH = 5

IsRecord = Callable[[dict[str, Any]], bool]


def json_elements(source: Source, is_record: IsRecord) -> Iterator[Element]:
    """The records of a JSON document, whatever its shape.

    Raises:
        FeedError: no JSON, cut, or nothing in it looks like records.
    """
    with source.open() as stream:
        chunks = text_chunks(stream, source.encoding)
        head, whole = beginning(chunks)
        if in_lines(head):
            yield from json_lines(whole, source)
            return
        path = source.mapping.records or find_records(head, is_record)
        if path is None:
            raise FeedError(
                f"{source.name}: other format than configured: nothing in the JSON looks like a list of "
                f"records; found: {_shown(head)}; say where they are by `mapping: {{records: ...}}`, or set "
                "the right `format:`"
            )
        elements = JsonList(whole, source.name, path, source.mended)
        yield from elements
        if not elements.found:
            raise FeedError(
                f"{source.name}: other format than configured: no records at {path!r} in the JSON, found: "
                f"{', '.join(list(elements.outside)[:12]) or 'nothing'}; set the right `format:`, or "
                "`mapping: {records: ...}`"
            )


def beginning(chunks: Iterator[str]) -> tuple[str, Iterator[str]]:
    """The first characters of a document, by which its shape is told, and all of it."""
    taken, size = [], 0
    while size < HEAD and (chunk := next(chunks, None)) is not None:
        taken.append(chunk)
        size += len(chunk)
    head = "".join(taken)
    return head, chain([head], chunks)


def _shown(head: str) -> str:
    value = _tolerant(head)
    return ", ".join(list(value)[:12]) if isinstance(value, dict) else " ".join(head[:80].split())


def in_lines(head: str) -> bool:
    """Whether each line of a document that begins with `head` is a JSON value of its own."""
    text = head.lstrip()
    if text.startswith("["):
        return False
    lines = [line for line in text[:HEAD].split("\n", 3)[:3] if line.strip()]
    if len(lines) < 2:
        return not text.startswith("{")
    # A broken first line must not hide that the second is a record.
    return any(_is_object(line) for line in lines[:2]) or not text.startswith("{")


def _is_object(line: str) -> bool:
    try:
        return isinstance(DECODER.decode(_without_comma(line)), dict)
    except (json.JSONDecodeError, RecursionError):
        return False


def _without_comma(line: str) -> str:
    """A line without the comma that may stand behind its value: lines out of the middle of a list."""
    return line.rstrip().removesuffix(",")


def json_lines(chunks: Iterator[str], source: Source) -> Iterator[Element]:
    """The values of a document of lines."""
    number = 0
    encoded = (chunk.encode("utf-8", "surrogatepass") for chunk in chunks)
    for at, line in enumerate(split_lines(encoded, source.name), 1):
        if not line.strip():
            continue
        number += 1
        if len(line) > MAX_RECORD:
            yield Element(number, at, None, "too long", line[:10_000], own_line=True)
            continue
        try:
            plain = _without_comma(line)
            value, problem = DECODER.decode(plain), ""
            if plain != line.rstrip():
                source.mended("commas behind the JSON values of lines passed over", f"line {at}")
        except json.JSONDecodeError as error:
            if not line.endswith("\n"):
                raise FeedError(
                    f"{source.name}, line {at}: the last line is no whole JSON value: truncated; fetch it again"
                ) from error
            value, problem = None, f"no JSON: {error.msg}"
        except RecursionError:
            value, problem = None, "nested too deep"
        yield Element(number, at, value, problem, line[:10_000] if problem else "", own_line=True)


def find_records(head: str, is_record: IsRecord) -> str | None:
    """Where the records are in a document that begins with `head`, in the words of `records:`."""
    value = _tolerant(head)
    if isinstance(value, list):
        return ""
    if not isinstance(value, dict):
        return None
    if is_record(value):
        return ITSELF
    found = list(_candidates(value, "", 0))
    sure = [path for path, records in found if any(is_record(record) for record in records)]
    lists = [path for path, _ in found if not path.endswith(VALUES)]
    return next(iter(sure or lists), None)


def _candidates(value: dict[str, Any], path: str, depth: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Lists of objects and objects of objects, the outer ones first."""
    inner = []
    for name, part in value.items():
        at = f"{path}{name}"
        if isinstance(part, list) and part and isinstance(part[0], dict):
            yield at, [one for one in part[:5] if isinstance(one, dict)]
        elif isinstance(part, dict):
            inner.append((at, part))
    if value and len(inner) == len(value):
        yield f"{path}{VALUES}", [{KEY: at, **part} for at, part in inner[:5]]
    if depth < MAX_DEPTH:
        for at, part in inner:
            yield from _candidates(part, f"{at}.", depth + 1)


def sample_records(head: str, path: str | None) -> list[dict[str, Any]]:
    """Some records of a document that begins with `head`, for a look at their fields."""
    if in_lines(head):
        values: Any = []
        for line in head.split("\n")[:50]:
            if _is_object(line):
                values.append(DECODER.decode(_without_comma(line)))
    else:
        values = _tolerant(head)
        for name in (path or "").split("."):
            if name == VALUES and isinstance(values, dict):
                values = list(values.values())
            elif name and isinstance(values, dict):
                values = values.get(name)
    values = [values] if isinstance(values, dict) else values
    return [one for one in (values or [])[:50] if isinstance(one, dict)]


def _tolerant(text: str) -> Any:
    """The JSON value that `text` begins with, as far as it goes before it is cut or broken."""
    try:
        return DECODER.raw_decode(text, len(text) - len(text.lstrip()))[0]
    except (json.JSONDecodeError, RecursionError):
        return _Tolerant(text).value(0)


class _Tolerant:
    """Reads a value and keeps what it had where the text ends."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def _mark(self) -> str:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1
        return self.text[self.at : self.at + 1]

    def value(self, depth: int) -> Any:
        mark = self._mark()
        if mark and mark in "{[" and depth < 8:
            try:
                value, self.at = DECODER.raw_decode(self.text, self.at)
            except (json.JSONDecodeError, RecursionError):
                self.at += 1
                return self._object(depth) if mark == "{" else self._list(depth)
            return value
        try:
            value, self.at = DECODER.raw_decode(self.text, self.at)
        except (json.JSONDecodeError, RecursionError):
            self.at = len(self.text)
            return None
        return value

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._mark() == '"':
            name = self.value(depth + 1)
            if self._mark() != ":":
                break
            self.at += 1
            found[str(name)] = self.value(depth + 1)
            if self._mark() != ",":
                break
            self.at += 1
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while self._mark() not in ("", "]"):
            found.append(self.value(depth + 1))
            if self._mark() != ",":
                break
            self.at += 1
        return found
