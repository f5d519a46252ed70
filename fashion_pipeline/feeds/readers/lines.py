"""Lines of delimited text: cut out of a stream, numbered, and given back when a quote ran away."""

from collections import deque
from collections.abc import Iterator

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.records import MAX_VALUE

#: A quoted value over more lines than this has a quote too many.
MAX_LINES = 2_000
MAX_LINE = 8 << 20


class RunawayQuoteError(Exception):
    """A quoted value has not ended when the document did, or within what a record may hold."""

    def __init__(self, *, ended: bool) -> None:
        super().__init__()
        self.ended = ended


def split_lines(chunks: Iterator[str], name: str) -> Iterator[str]:
    """Lines with their `\\n`; the last one may have none. A lone `\\r` ends a line only where no `\\n` does.

    Raises:
        FeedError: a line is longer than `MAX_LINE`.
    """
    rest, end = "", ""
    for chunk in chunks:
        data = rest + chunk
        if not end and (len(data) > 2 or not chunk):
            end = "\r" if "\n" not in data and "\r" in data[:-1] else "\n" if "\n" in data else ""
        parts = data.split(end) if end else [data]
        rest = parts.pop()
        if len(rest) > MAX_LINE:
            raise FeedError(f"{name} has a line of more than {MAX_LINE:,} characters: is it delimited text?")
        for line in parts:
            yield _without_returns(line) + "\n"
    if rest:
        yield _without_returns(rest)


def _without_returns(line: str) -> str:
    # The csv module takes a `\r` inside of a line for a broken file.
    return line.rstrip("\r").replace("\r", " ") if "\r" in line else line


class Lines:
    """An iterator of lines for `csv.reader` that knows which lines the record at hand took.

    `taken` are its lines, `first` is the number of the first of them, from 1. A quote that is
    open when the lines end shows in that `csv.reader` asks for one more within a record.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._ahead: deque[str] = deque()
        self.taken: list[str] = []
        self.first = 1
        self.cut = False
        self.at_end = False
        self._size = 0

    def begin(self) -> None:
        """The next line begins a record."""
        if self.taken:
            self.first += len(self.taken)
            self.taken.clear()
            self._size = 0

    def peek(self, count: int) -> list[str]:
        """The next lines, which stay to be read."""
        while len(self._ahead) < count and (line := next(self._lines, None)) is not None:
            self._ahead.append(line)
        return list(self._ahead)[:count]

    def skip(self) -> None:
        """Pass over one line."""
        next(self)
        self.begin()

    def put_back(self, lines: list[str]) -> None:
        """Give lines of the record at hand back; they will be read again."""
        del self.taken[len(self.taken) - len(lines) :]
        self._ahead.extendleft(reversed(lines))
        self.at_end = self.at_end and not lines

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._ahead.popleft() if self._ahead else next(self._lines, None)
        if line is None:
            self.at_end = True
            if self.taken:
                raise RunawayQuoteError(ended=True)
            raise StopIteration
        if self.taken:
            self._size += len(line)
            if len(self.taken) >= MAX_LINES or self._size > MAX_VALUE:
                self._ahead.appendleft(line)
                raise RunawayQuoteError(ended=False)
        self.taken.append(line)
        if not line.endswith("\n"):
            self.cut = True
            self.at_end = True
        return line
