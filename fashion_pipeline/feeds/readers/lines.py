"""Lines of delimited text: cut out of a stream, numbered, and given back when a quote ran away."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.records import MAX_VALUE

#: A quoted value over more lines than this has a quote too many.
MAX_LINES = 2_000
MAX_LINE = 8 << 20
BLOCK = 1 << 19


class RunawayQuoteError(Exception):
    """A quoted value has not ended when the document did, or within what a record may hold."""

    def __init__(self, *, ended: bool) -> None:
        super().__init__()
        self.ended = ended


def split_lines(chunks: Iterator[bytes], name: str) -> Iterator[str]:
    """Lines of UTF-8 with their `\\n`; the last may have none. A lone `\\r` ends a line only where no `\\n` does.

    Raises:
        FeedError: a line is longer than `MAX_LINE`.
    """
    return map(without_returns, chain.from_iterable(map(lines_of, line_blocks(chunks, name))))


def line_blocks(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """What `split_lines` takes in blocks of whole lines of about `BLOCK` bytes, `\\r\\n` as it is."""
    waiting: list[bytes] = []
    size, end = 0, b""
    for chunk in chain(chunks, [None]):
        if chunk:
            waiting.append(chunk)
            size += len(chunk)
        if not waiting or (chunk is not None and size < BLOCK):
            continue
        data = b"".join(waiting)
        end = end or (b"\n" if b"\n" in data else b"\r" if b"\r" in data[:-1] else b"")
        if end == b"\r":
            data = data.replace(b"\r", b"\n")
        cut = data.rfind(b"\n") + 1 if chunk is not None else len(data)
        waiting, size = [data[cut:]], len(data) - cut
        if size > MAX_LINE:
            raise FeedError(f"{name} has a line of more than {MAX_LINE:,} bytes: is it delimited text?")
        if cut:
            yield data[:cut]


def lines_of(block: bytes) -> list[str]:
    """The lines of a block with their `\\n`."""
    *whole, last = block.decode("utf-8", "surrogatepass").split("\n")
    lines = [line + "\n" for line in whole]
    return [*lines, last] if last else lines


def without_returns(line: str) -> str:
    """A line that ends with `\\n` alone: the csv module takes a `\\r` inside of one for a broken file."""
    if "\r" not in line:
        return line
    end = "\n" if line.endswith("\n") else ""
    return line.rstrip("\r\n").replace("\r", " ") + end


class Lines:
    """An iterator of lines for `csv.reader` that knows which lines the record at hand took.

    `taken` are its lines, `first` is the number of the first of them, from 1. A quote that is
    open when the lines end shows in that `csv.reader` asks for one more within a record.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
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
        while len(self._ahead) < count and self._fill():
            pass
        return list(map(without_returns, islice(self._ahead, count)))

    def take_block(self) -> bytes:
        """Whole lines at hand as UTF-8, taken; empty at the end. `begin` has ended the record before."""
        if not self._ahead:
            return next(self._blocks, b"")
        block = "".join(self._ahead).encode("utf-8", "surrogatepass")
        self._ahead.clear()
        return block

    def settle_block(self, lines: int, rest: Sequence[str] = ()) -> None:
        """Of the block that `take_block` gave, `lines` lines were read and `rest` was not."""
        self.first += lines
        self._ahead.extendleft(reversed(rest))

    def _fill(self) -> bool:
        block = next(self._blocks, b"")
        self._ahead.extend(lines_of(block))
        return bool(block)

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
        if not self._ahead and not self._fill():
            self.at_end = True
            if self.taken:
                raise RunawayQuoteError(ended=True)
            raise StopIteration
        line = without_returns(self._ahead.popleft())
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
