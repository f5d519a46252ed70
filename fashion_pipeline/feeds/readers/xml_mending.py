"""What is mended in XML bytes before they are parsed, because nothing can be lost by it.

Blank lines before the declaration, control characters that XML forbids, an `&` that begins no entity of XML
(`AT&T`, `&nbsp;`), and a namespace prefix that nobody declared. Everything else is the parser's to judge.
"""

import re
from collections.abc import Iterator

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.records import Tally

HEAD = 1 << 16
#: An entity or CDATA mark that a chunk's border may cut is shorter than this.
CARRY = 16
CONTROLS = bytes(code for code in range(32) if code not in (9, 10, 13))
FORBIDDEN_REFERENCE = rb"#0*(?:[0-8]|1[124-9]|2\d|3[01]);|#[xX]0*(?:[0-8bcefBCEF]|1[0-9a-fA-F]);"
RAW_AMPERSAND = re.compile(
    rb"&(?:(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});)|(?=" + FORBIDDEN_REFERENCE + rb"))"
)
ROOT = re.compile(rb"<([A-Za-z_][\w.:-]*)([^<>]*)>")
PREFIX = re.compile(rb"</?([A-Za-z_][\w.-]*):")
DECLARED = re.compile(rb"xmlns:([\w.-]+)\s*=")
#: Where each `&` begins one of these, none is raw: counting costs a fraction of a look at each.
COMMON_ENTITIES = (b"&lt;", b"&gt;", b"&amp;", b"&quot;", b"&apos;")
RAW, NEWLINE = "raw & escaped", b"\n"
GOOGLE = b"http://base.google.com/ns/1.0"


def mend(chunks: Iterator[bytes], tally: Tally) -> Iterator[bytes]:
    """UTF-8 bytes of an XML document, mended, in about the same chunks; counts what it did.

    Raises:
        FeedError: the document brings a DTD with declarations of its own.
    """
    return _escape(_declare(_start(chunks, tally), tally), tally)


def _start(chunks: Iterator[bytes], tally: Tally) -> Iterator[bytes]:
    """Chunks without leading blanks and forbidden control characters, the first one at least HEAD long."""
    head = b""
    for chunk in chunks:
        clean = chunk.translate(None, CONTROLS)
        if len(clean) != len(chunk):
            tally.mended("control characters left out", "", len(chunk) - len(clean))
        if head is not None:
            head += clean
            if len(head) < HEAD:
                continue
            clean, head = _stripped(head, tally), None  # type: ignore[assignment]
        yield clean
    if head:
        yield _stripped(head, tally)


def _stripped(head: bytes, tally: Tally) -> bytes:
    start = head.lstrip()
    if len(start) != len(head) and start.startswith(b"<?xml"):
        tally.mended("blanks before the XML declaration", "line 1")
    return start


def _declare(chunks: Iterator[bytes], tally: Tally) -> Iterator[bytes]:
    """Declare at the root those prefixes that the head uses and nobody declares."""
    head = next(chunks, b"")
    doctype = head.find(b"<!DOCTYPE")
    root = ROOT.search(head)
    if doctype >= 0 and (root is None or doctype < root.start()):
        subset = head[doctype : root.start() if root else None]
        if b"[" in subset or b"<!ENTITY" in subset:
            raise FeedError(
                "the XML declares a DTD with entities, which are not read for safety: ask for a plain feed"
            )
    if root is not None:
        declared = set(DECLARED.findall(head))
        used = dict.fromkeys(PREFIX.findall(head[root.start() :]))
        missing = [name for name in used if name not in declared and name != b"xml"]
        if missing:
            for name in missing:
                line = 1 + head[: head.find(b"<" + name + b":")].count(b"\n")
                tally.mended(f"undeclared namespace prefix {name.decode()}:", f"line {line}")
            marks = b"".join(
                b' xmlns:%s="%s"' % (name, GOOGLE if name == b"g" else b"urn:undeclared:" + name)
                for name in missing
            )
            end = root.end(1)
            head = head[:end] + marks + head[end:]
    yield head
    yield from chunks


def _escape(chunks: Iterator[bytes], tally: Tally) -> Iterator[bytes]:
    """Escape an `&` that begins no entity, outside of CDATA."""
    inside, rest, line = False, b"", 1
    for chunk in chunks:
        data = rest + chunk
        out, inside, rest, line = _escape_part(data, inside, line, tally, last=False)
        if out:
            yield out
    if rest:
        yield _escape_part(rest, inside, line, tally, last=True)[0]


def _escape_part(
    data: bytes, inside: bool, line: int, tally: Tally, *, last: bool
) -> tuple[bytes, bool, bytes, int]:
    out, position = [], 0
    while True:
        mark = b"]]>" if inside else b"<![CDATA["
        at = data.find(mark, position)
        end = at if at >= 0 else len(data) if last else max(position, len(data) - CARRY)
        if at < 0 and not last and not inside:
            # Leave an `&` whole for the next round.
            cut = data.rfind(b"&", max(position, end - CARRY), end)
            end = cut if cut >= 0 else end
        part = data[position:end]
        if not inside and part.count(b"&") != sum(map(part.count, COMMON_ENTITIES)):
            before = line

            def escape(found: re.Match[bytes], part: bytes = part, before: int = before) -> bytes:
                known = tally.has_places(RAW)  # counting lines for each of many would be quadratic
                place = "" if known else f"line {before + part.count(NEWLINE, 0, found.start())}"
                tally.mended(RAW, place)
                return b"&amp;"

            # `end` cuts only before an `&` or at a mark, so the lookahead sees all of an entity.
            part = RAW_AMPERSAND.sub(escape, part)
        out.append(part)
        line += data.count(b"\n", position, end)
        position = end
        if at < 0:
            return b"".join(out), inside, data[position:], line
        out.append(mark)
        position += len(mark)
        inside = not inside
