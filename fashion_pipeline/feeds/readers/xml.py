"""XML feeds: Google Merchant RSS 2.0 and Atom, and any file that repeats one element.

A field is a direct child of the record's element, known by its local name, with or without `g:`; a child of
a child (`g:shipping/g:price`) is one only where the mapping names its path: `price.buynow`, and for attributes
`@id`, `price.@curr`. The parser loads no DTD, resolves no entity, opens no address.
"""

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.encoding import utf8_chunks
from fashion_pipeline.feeds.items import Value
from fashion_pipeline.feeds.mapping import normal_name
from fashion_pipeline.feeds.readers.xml_mending import mend
from fashion_pipeline.feeds.records import MAX_RECORD, Chunk, Read, Source, json_text

GOOGLE = "http://base.google.com/ns/1.0"
#: Where a field stands in several namespaces: Google's is meant, then the feed's own, then any other's
#: (`media:title` names a picture).
FOREIGN, OWN, GOOGLES = range(3)
OWN_NAMESPACES = frozenset({"", "http://www.w3.org/2005/Atom", "http://purl.org/rss/1.0/"})
NAMESPACE_MARKS = re.compile(r'\sxmlns(?::\w+)?="[^"]*"')
RECORD_ELEMENTS = ("item", "entry")

Record = dict[str, str | list[str]]


def read_xml(source: Source) -> Iterator[Read]:
    """Records of one XML document.

    Raises:
        FeedError: not well-formed, cut before its end, with a DTD of its own, or a record is too large.
    """
    elements = (source.mapping.records,) if source.mapping.records else RECORD_ELEMENTS
    # recover: an undeclared prefix alone must not end the read; every other error does, see _check.
    parser = etree.XMLPullParser(
        events=("end",),
        tag=[f"{{*}}{name}" for name in elements],
        recover=True,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        encoding="utf-8",
    )
    batch, since = _Batch(source), 0
    with source.open() as stream:
        for data in mend(utf8_chunks(stream, source.encoding), source.tally):
            parser.feed(data)
            since += len(data)
            _check(parser, source)
            for _, element in parser.read_events():
                batch.add(element)
                _forget(element)
                since = 0
                if len(batch.records) >= source.batch_size:
                    yield batch.flush()
            if since > MAX_RECORD:
                raise FeedError(
                    f"{source.name}: {since:,} bytes without a further <{elements[0]}>: a record that large "
                    "is not read; is this the right `format:`?"
                )
    try:
        root = parser.close()
    except etree.XMLSyntaxError as error:
        raise FeedError(f"{source.name} is no XML document: {error.msg}; look at the file") from error
    _check(parser, source, ended=True)
    if batch.records:
        yield batch.flush()
    elif not source.tally.report.records and _split(root.tag)[1].lower() not in ("rss", "feed", "rdf"):
        raise FeedError(
            f"{source.name}: other format than configured: no <{'> or <'.join(elements)}> in the XML (root "
            f"<{root.tag}>); set the right `format:`, or say the element by `mapping: {{records: ...}}`"
        )


#: Errors that say what is wrong also where they are found at the end of the document.
NOT_CUT = frozenset({etree.ErrorTypes.ERR_TAG_NAME_MISMATCH, etree.ErrorTypes.ERR_DOCUMENT_END})


def _check(parser: Any, source: Source, *, ended: bool = False) -> None:
    log = parser.feed_error_log
    for entry in log:
        if entry.type == etree.ErrorTypes.NS_ERR_UNDEFINED_NAMESPACE and len(log) < 1000:
            continue
        where = f"{source.name}, line {entry.line}"
        if ended and entry.type not in NOT_CUT:
            raise FeedError(f"{where}: the XML ends before its closing tag: truncated; fetch it again")
        raise FeedError(f"{where}: not well-formed XML ({entry.message}): ask the store to mend its feed")


def _forget(element: Any) -> None:
    """Free a record and what stood before it, so that the tree does not grow with the file."""
    element.clear(keep_tail=True)
    parent = element.getparent()
    if parent is not None:
        while (before := element.getprevious()) is not None:
            parent.remove(before)


def _value(child: Any) -> str:
    if len(child):
        # Markup that was not escaped: keep it as text, so that cleaning sees the tags.
        inner = [child.text or "", *(etree.tostring(part, encoding="unicode") for part in child)]
        return NAMESPACE_MARKS.sub("", "".join(inner))
    return child.text or child.get("href") or ""


def _put(fields: Record, name: str, value: str) -> None:
    """Add a value; a field that stands several times becomes a list."""
    if name in fields:
        _repeat(fields, name, value)
    else:
        fields[name] = value


def _repeat(fields: Record, name: str, value: str) -> None:
    before = fields[name]
    if isinstance(before, list):
        before.append(value)
    else:
        fields[name] = [before, value]


def _split(tag: str) -> tuple[str, str]:
    """A tag's namespace, or its prefix where that was never declared, and its local name."""
    namespace, brace, name = tag.rpartition("}")
    if brace:
        return namespace[1:], name
    prefix, _, name = tag.rpartition(":")
    return GOOGLE if prefix == "g" else prefix, name


class _Batch:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.records: list[Record] = []
        self.places: list[str] = []
        self.names: dict[str, tuple[int, str]] = {}
        self.own = OWN_NAMESPACES
        mapping = source.mapping
        candidates = {path for column in mapping.fields for path in mapping.candidates(column)}
        #: Paths that the mapping asks for, and the elements on the way there.
        self.paths = frozenset(path for path in candidates if "." in path or path.startswith("@"))
        self.branches = frozenset(
            path[:at] for path in self.paths for at, mark in enumerate(path) if mark == "."
        )

    def add(self, element: Any) -> None:
        ranked: tuple[Record, Record, Record] = ({}, {}, {})
        names = self.names
        if not names:
            self.own |= {_split(element.tag)[0]}
        for child in element:
            tag = child.tag
            known = names.get(tag) or self._name(tag)
            if known is None:
                continue
            rank, name = known
            if name == "link" and child.get("rel") not in (None, "alternate"):
                continue  # Atom: links to itself, to comments, to an edit page
            fields = ranked[rank]
            if name in fields:
                _repeat(fields, name, _value(child))
            else:
                fields[name] = _value(child)
        foreign, own, google = ranked
        if self.paths:
            self._add_inner(own, element, "")
        self.records.append({**foreign, **own, **google} if foreign or own else google)
        number = self.source.tally.report.records + len(self.records)
        self.places.append(self.source.place(f"item {number} (line {element.sourceline})"))

    def _add_inner(self, fields: Record, element: Any, prefix: str) -> None:
        """Add what stands at the mapping's paths; `prefix` is the way from the record to this element."""
        for attribute, value in element.attrib.items():
            path = f"{prefix}@{normal_name(_split(attribute)[1])}"
            if path in self.paths:
                _put(fields, path, value)
        for child in element:
            known = self.names.get(child.tag) or self._name(child.tag)
            if known is None:
                continue
            path = prefix + known[1]
            if prefix and path in self.paths:
                _put(fields, path, _value(child))
            if path in self.branches:
                self._add_inner(fields, child, f"{path}.")

    def _name(self, tag: Any) -> tuple[int, str] | None:
        """Whose a child's tag is, and its normalized name; None where it is no element."""
        if not isinstance(tag, str):
            return None
        namespace, local = _split(tag)
        rank = GOOGLES if namespace == GOOGLE else OWN if namespace in self.own else FOREIGN
        known = rank, normal_name(local)
        if len(self.names) < 10_000:
            self.names[tag] = known
        return known

    def flush(self) -> Chunk:
        records, places, tally = self.records, self.places, self.source.tally
        self.records, self.places = [], []
        first = tally.report.records + 1
        tally.yielding(len(records), len(records))
        names = set().union(*records)

        def columns(name: str) -> list[list[Value]]:
            return [[record.get(name) for record in records]] if name in names else []

        return Chunk(
            size=len(records),
            columns=columns,
            record=list(range(first, first + len(records))),
            place=places,
            raw=lambda i: json_text(records[i]),
        )
