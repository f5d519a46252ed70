"""Which encoding a document is in, and its text as a stream.

The order (feeds.md, transport): byte order mark, then what the bytes themselves prove, then the document's
declaration, the transport's charset, the configured fallback. Valid UTF-8 with multi-byte sequences is UTF-8
whatever the declaration says: no other text looks so by chance. The document is read once for this, in
chunks, before any of its rows is.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fashion_pipeline.errors import FeedError

CHUNK = 1 << 18
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
XML_DECLARATION = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")
# Text in these is ASCII bytes too, so only the declaration can tell.
SEVEN_BIT = ("iso2022", "hz", "utf_7")


@dataclass(frozen=True)
class Encoding:
    """A decided encoding: the codec's name, bytes of the mark to skip, and what was declared wrongly."""

    codec: str
    mark: int = 0
    mended: str = ""

    @property
    def is_utf8(self) -> bool:
        """Whether the bytes after the mark are UTF-8 as they are."""
        return self.codec == "utf-8"


def decide(
    name: str,
    open_document: Callable[[], BinaryIO],
    *,
    charset: str | None = None,
    fallback: str | None = None,
) -> tuple[Encoding, int]:
    """The encoding of a document, and its size in bytes.

    Raises:
        FeedError: it has bytes that no named encoding explains; says where the first one is.
    """
    with open_document() as stream:
        head = stream.read(1024)
    for mark, marked in BOMS:
        if head.startswith(mark):
            return _strict(name, open_document, Encoding(marked, len(mark)))
    if guessed := _without_mark(head):
        return _strict(name, open_document, Encoding(guessed, mended="UTF-16 without a byte order mark"))
    declaration = XML_DECLARATION.match(head)
    declared = [("declared", declaration.group(1).decode("ascii"))] if declaration else []
    named = [(how, codec) for how, label in (*declared, ("charset", charset), ("fallback", fallback))
             if label and (codec := _codec(label)) is not None]  # fmt: skip
    for _, codec in named[:1]:
        if codec.startswith(SEVEN_BIT):
            return _strict(name, open_document, Encoding(codec))
    survey = _survey(open_document, "utf-8", 0)
    if survey.bad_at is None:
        wrong = [f"{codec} {how}, is UTF-8" for how, codec in named if how != "fallback" and codec != "utf-8"]
        return Encoding("utf-8", mended=wrong[0] if wrong and not survey.ascii_only else ""), survey.size
    for how, codec in named:
        if codec == "utf-8":
            continue
        # By the WHATWG encoding standard latin-1 means windows-1252; the C1 range is never meant.
        for attempt in ("cp1252", "latin-1") if codec in ("iso8859-1", "ascii") else (codec,):
            other = _survey(open_document, attempt, 0)
            if other.bad_at is None:
                said_utf8 = how == "fallback" and any(said == "utf-8" for _, said in named)
                mended = f"utf-8 declared, is {attempt}" if said_utf8 else ""
                return Encoding(attempt, mended=mended), other.size
    raise _undecodable(name, "utf-8", survey)


def _strict(name: str, open_document: Callable[[], BinaryIO], encoding: Encoding) -> tuple[Encoding, int]:
    survey = _survey(open_document, encoding.codec, encoding.mark)
    if survey.bad_at is not None:
        raise _undecodable(name, encoding.codec, survey)
    return encoding, survey.size


@dataclass
class _Survey:
    size: int = 0
    lines: int = 1
    bad_at: int | None = None
    bad_byte: int = 0
    ascii_only: bool = True


def _survey(open_document: Callable[[], BinaryIO], codec: str, mark: int) -> _Survey:
    found, decoder = _Survey(), codecs.getincrementaldecoder(codec)()
    with open_document() as stream:
        found.size = len(stream.read(mark)) if mark else 0
        while True:
            chunk = stream.read(CHUNK)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                start = getattr(error, "start", 0)
                at = max(0, start - pending)
                found.bad_at = found.size + start - pending
                found.bad_byte = chunk[at] if at < len(chunk) else 0
                found.lines += chunk[:at].count(b"\n")
                return found
            if not chunk:
                return found
            found.size += len(chunk)
            found.lines += chunk.count(b"\n")
            found.ascii_only = found.ascii_only and chunk.isascii()


def _undecodable(name: str, codec: str, survey: _Survey) -> FeedError:
    return FeedError(
        f"{name} is not {codec}: byte 0x{survey.bad_byte:02x} at offset {survey.bad_at} (line {survey.lines})"
        "; if the file is whole, say its encoding by `encoding_fallback`, for example cp1252"
    )


def text_codec(label: str) -> str | None:
    """Python's name of a text encoding; None where there is none ("hex" is a codec, but no text)."""
    try:
        name = codecs.lookup(label.strip()).name
        # Empty bytes would not be looked up.
        b"    ".decode(name, "replace")
    except (LookupError, ValueError):
        return None
    return name


def _codec(label: str) -> str | None:
    name = text_codec(label)
    if name is None:
        return None
    # UTF-16 and -32 are told by mark or zero bytes, which were looked for before.
    return None if name.startswith(("utf-16", "utf-32")) else "utf-8" if name == "utf-8-sig" else name


def _without_mark(head: bytes) -> str | None:
    sample = head[: len(head) // 2 * 2][:64]
    if len(sample) < 4:
        return None
    even, odd = sample[::2], sample[1::2]
    if even.count(0) == 0 and odd.count(0) > len(odd) * 0.9:
        return "utf-16-le"
    return "utf-16-be" if odd.count(0) == 0 and even.count(0) > len(even) * 0.9 else None


def text_chunks(stream: BinaryIO, encoding: Encoding) -> Iterator[str]:
    """The document's text in chunks of about `CHUNK` bytes, without its mark."""
    decoder = codecs.getincrementaldecoder(encoding.codec)()
    stream.read(encoding.mark)
    while chunk := stream.read(CHUNK):
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def utf8_chunks(stream: BinaryIO, encoding: Encoding) -> Iterator[bytes]:
    """The document as UTF-8 bytes in chunks, without its mark; what is UTF-8 passes through."""
    if encoding.is_utf8:
        stream.read(encoding.mark)
        while chunk := stream.read(CHUNK):
            yield chunk
        return
    for text in text_chunks(stream, encoding):
        yield text.encode("utf-8", "replace")
