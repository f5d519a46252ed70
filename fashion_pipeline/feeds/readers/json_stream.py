"""The elements of one long list, or object, in a JSON document, one by one, in bounded memory.

`json.JSONDecoder.raw_decode` parses a value where it stands in a buffer, so the list is never held whole,
also when the document is one line. Numbers stay the text that they are in the document.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.records import MAX_RECORD

SPACE = re.compile(r"[ \t\r\n]*")
TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
#: Keys beside the list that are kept, for what they may tell of an error.
KEYS_KEPT = 20
TRAILING = "commas before the end of the JSON list passed over"
CUT = "the JSON ends early: truncated; fetch it again"


def _nothing(_: str) -> None:
    """NaN and Infinity are not JSON; as a value they say that there is none."""


# strict=False: a raw line break inside a string loses nothing.
DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_nothing, strict=False)


@dataclass(frozen=True)
class Element:
    """One element: its number from 1, its line, and the value, or why it cannot be read.

    `key` is its name, where the elements are the values of an object; `own_line` says that it is one of
    the lines of the document.
    """

    number: int
    line: int
    value: Any
    problem: str = ""
    text: str = ""
    key: str = ""
    own_line: bool = False


class JsonList:
    """Iterates the elements of the document's list.

    The list is the document itself, or stands in the document's object at `path`: names with dots between
    them; a last `*` means the values of the object there, `.` the document itself as the one element.
    A comma before the end of the list is passed over, and told to `mended` with its place.
    `found` says afterwards whether there was one. What stands beside it is in `outside`, for what it may tell.
    """

    def __init__(
        self, chunks: Iterator[str], name: str, path: str, mended: Callable[[str, str], None]
    ) -> None:
        self._chunks, self._name, self._mended = chunks, name, mended
        self._path = ["."] if path == "." else path.split(".")
        self._buffer, self._at, self._line, self._ended = "", 0, 1, False
        self.found = False
        self.outside: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Element]:
        opening = self._peek()
        if opening == "[":
            self.found = True
            yield from self._elements()
        elif opening == "{" and self._path == ["."]:
            self.found = True
            yield self._element(1)
        elif opening == "{":
            yield from self._object(self._path)
        else:
            raise self._error("is no JSON object or list: set the right `format:`")
        if self._peek():
            raise self._error("goes on after the JSON value has ended: fetch it again, or look at the file")

    def _object(self, path: list[str]) -> Iterator[Element]:
        self._at += 1
        number = 0
        while True:
            mark = self._peek()
            if mark == "}":
                self._at += 1
                self.found = self.found or path == ["*"]
                return
            if number:
                self._expect(",")
                if self._trailing("}"):
                    continue
            number += 1
            try:
                if not self._peek():
                    raise self._error(CUT)
                name = str(self._value())
                self._expect(":")
                if path == ["*"]:
                    self._peek()
                    yield self._element(number, name)
                elif name == path[0] and len(path) == 1 and self._peek() == "[":
                    self.found = True
                    yield from self._elements()
                elif name == path[0] and len(path) > 1 and self._peek() == "{":
                    yield from self._object(path[1:])
                elif len(self.outside) < KEYS_KEPT:
                    self.outside[name[:100]] = self._value()
                else:
                    self._value()
            except _MalformedError as error:
                raise self._error(f"is not well-formed JSON: {error}") from error

    def _elements(self) -> Iterator[Element]:
        self._at += 1
        number = 0
        while True:
            mark = self._peek()
            if mark == "]":
                self._at += 1
                return
            if number:
                self._expect(",")
                if self._trailing("]"):
                    continue
            number += 1
            yield self._element(number)

    def _trailing(self, end: str) -> bool:
        """Whether the list or object ends after the comma that was just read: nothing is lost by that."""
        if self._peek() != end:
            return False
        self._mended(TRAILING, f"line {self._line}")
        return True

    def _element(self, number: int, key: str = "") -> Element:
        line = self._line
        try:
            return Element(number, line, self._value(), key=key)
        except _MalformedError as error:
            start = self._at
            self._pass_over()
            text = self._buffer[start : self._at]
            return Element(number, line, None, str(error), text[:10_000], key)

    def _more(self) -> bool:
        """Take in as much again as waits, so that a value over many chunks is not tried for each."""
        waiting = [self._buffer[self._at :]]
        self._at, size = 0, 0
        if len(waiting[0]) > MAX_RECORD:
            raise self._error(f"has a value of more than {MAX_RECORD:,} characters: it is not read")
        while size <= len(waiting[0]):
            chunk = next(self._chunks, None)
            if chunk is None:
                self._ended = True
                break
            waiting.append(chunk)
            size += len(chunk)
        self._buffer = "".join(waiting)
        return size > 0

    def _peek(self) -> str:
        """The next character that is not blank, without taking it; "" at the end."""
        while True:
            found = SPACE.match(self._buffer, self._at)
            end = found.end() if found else self._at
            if end < len(self._buffer):
                self._advance(end)
                return self._buffer[end]
            self._advance(end)
            if self._ended or not self._more():
                return ""

    def _advance(self, end: int) -> None:
        self._line += self._buffer.count("\n", self._at, end)
        self._at = end

    def _expect(self, mark: str) -> None:
        found = self._peek()
        if found != mark:
            raise self._error(f"is not well-formed JSON: {mark!r} missing") if found else self._error(CUT)
        self._at += 1

    def _value(self) -> Any:
        if not self._peek():
            raise self._error(CUT)
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._buffer) - 8
                if cut and not self._ended:
                    self._more()
                    continue
                if cut and (error.msg.startswith("Unterminated string") or not self._closed()):
                    raise self._error(CUT) from error
                raise _MalformedError(error.msg) from error
            except RecursionError as error:
                raise _MalformedError("nested too deep") from error
            # A number at the buffer's end may go on in the next chunk.
            if end == len(self._buffer) and not self._ended:
                self._more()
                continue
            self._advance(end)
            return value

    def _closed(self) -> int:
        """Where the value that begins here ends by its brackets; 0 where it does not, as far as is read."""
        depth = 0
        for token in TOKEN.finditer(self._buffer, self._at):
            mark = token.group()
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(mark, 0)
            if depth <= 0 and mark in "}]":
                return token.end()
        return 0

    def _pass_over(self) -> None:
        """Pass over an element that is not well-formed, by its brackets."""
        while True:
            if end := self._closed():
                self._advance(end)
                return
            if self._ended:
                raise self._error(CUT)
            self._more()

    def _error(self, what: str) -> FeedError:
        return FeedError(f"{self._name}, line {self._line}: {what}")


class _MalformedError(Exception):
    """A value that cannot be parsed though it is all there."""
