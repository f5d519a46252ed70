"""What kind of feed a file is, told by its content: for a person who adds a store, never for the line itself.

A kind is told by how many of its mapping's fields the file has; where none fits, a mapping is proposed by the
names that feeds commonly use.
"""

import re
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from lxml import etree

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds import encoding as encodings
from fashion_pipeline.feeds.decompress import Document, expand
from fashion_pipeline.feeds.items import ReadReport
from fashion_pipeline.feeds.mapping import (
    PRODUCT_NEEDS,
    SUPPLEMENT_NEEDS,
    Mapping,
    MappingLines,
    known_formats,
    load_mapping,
    normal_name,
)
from fashion_pipeline.feeds.paths import Paths
from fashion_pipeline.feeds.readers.delimited import DELIMITERS, HEADER_ROWS, split_cells
from fashion_pipeline.feeds.readers.html_blocks import LD_JSON
from fashion_pipeline.feeds.readers.json_shapes import HEAD, KEY, find_records, sample_records
from fashion_pipeline.feeds.readers.shopify_csv import old_names
from fashion_pipeline.feeds.readers.woocommerce_headers import english_names
from fashion_pipeline.feeds.readers.xml import RECORD_ELEMENTS
from fashion_pipeline.feeds.readers.xml_mending import mend
from fashion_pipeline.feeds.records import Tally
from fashion_pipeline.feeds.sniff import Kind, html_charset, html_title, kind_of

#: Of equal fit the earlier one: what is told apart only by its delimiter, or is a case of another.
ORDER = (
    "google_xml",
    "google_tsv",
    "google_csv",
    "meta_csv",
    "meta_xml",
    "shopify_csv",
    "woocommerce_csv",
    "awin",
)
#: Readers that know their columns by other names too.
RENAMED = {"woocommerce_csv": english_names, "shopify_csv": old_names}
#: Fields that only one kind has and that no column takes, by format: they tell it from one with the same columns.
OWN_FIELDS = dict.fromkeys(
    ("meta_csv", "meta_xml"),
    frozenset(
        {
            "quantity_to_sell_on_facebook",
            "video[0].url",
            "video[0].tag[0]",
            "image[0].tag[0]",
            "product_tags[0]",
            "internal_label",
            "commerce_tax_category",
            "marked_for_product_launch",
            "disabled_capabilities",
            "applink",
        }
    ),
)
#: Formats for files of no known kind, by reader.
GENERAL = {"delimited": "delimited", "json": "json", "xml": "xml", "parquet": "parquet"}
#: A kind is taken for known when the file has this many of its fields; a supplement has an id and a few columns.
FEW, FEW_OF_SUPPLEMENT = 4, 2
#: What text of shops that is no UTF-8 and says nothing of it mostly is; the first that has all of its bytes.
GUESSES = ("cp1252", "cp932")
XML_HEAD = 1 << 18
XML_DECLARATION = re.compile(r"\A<\?xml[^>]*\?>")
#: A price's field that names its currency: `price_min_usd`.
CURRENCY_IN_NAME = re.compile(
    r"_(usd|eur|gbp|jpy|cad|aud|chf|sek|nok|dkk|pln|inr|brl|cny|krw)$", re.IGNORECASE
)


@dataclass(frozen=True)
class Detection:
    """A proposal: the format, and the store's own mapping lines where the format alone is not enough.

    `fields` are the feed's own field names, as far as its beginning shows them. `encoding` is a guess, where the
    bytes are no UTF-8 and the file names no encoding.
    """

    format: str
    mapping: MappingLines = field(default_factory=MappingLines)
    fields: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    encoding: str | None = None


@cache
def synonyms() -> dict[str, list[str]]:
    """Item column -> names that feeds commonly use for it."""
    source = resources.files("fashion_pipeline.feeds") / "synonyms.yaml"
    return dict(yaml.safe_load(source.read_text(encoding="utf-8")))


def detect(path: Path, needs: tuple[str, ...] = PRODUCT_NEEDS) -> Detection:
    """The kind of the stored file at `path`; `needs` are the columns that it must have.

    Raises:
        FeedError: it is no feed (empty, a web page without products, a PDF, ...), or of no kind that is known.
    """
    with ExitStack() as scratch:
        if not path.is_file() or not path.stat().st_size:
            raise FeedError(f"{path.name} is an empty file: the store sent nothing")
        expansion = expand(path, scratch)
        return _detect(expansion.documents[0], needs)


def _detect(document: Document, needs: tuple[str, ...]) -> Detection:
    with document.open() as stream:
        head = stream.read(HEAD)
    kind = kind_of(head, encodings.Encoding("latin-1"))
    if kind is Kind.PARQUET:
        with document.open() as stream, TemporaryFile() as file:
            # Parquet is read from its end, and this may come out of an archive.
            copyfileobj(stream, file, 1 << 20)
            try:
                names = pq.ParquetFile(file).schema_arrow.names
            except (OSError, pa.ArrowException) as error:
                raise FeedError(
                    f"{document.name} is no whole Parquet file: truncated; fetch it again"
                ) from error
        return _general("parquet", list(names), {normal_name(name) for name in names}, needs)
    if kind in (Kind.EMPTY, Kind.PDF, Kind.PACKED):
        raise FeedError(f"{document.name} looks like {kind.value}: it is no feed")
    encoding, guess = _encoding(document, html_charset(head, kind))
    kind = kind_of(head, encoding)
    if kind is Kind.BINARY:
        raise FeedError(f"{document.name} looks like {kind.value}: it is no feed")
    return replace(_detect_text(document, head, encoding, kind, needs), encoding=guess)


def _encoding(document: Document, charset: str | None) -> tuple[encodings.Encoding, str | None]:
    """The document's encoding, and the fallback that it takes to decode it."""
    for fallback in (None, *GUESSES):
        try:
            return encodings.decide(document.name, document.open, charset=charset, fallback=fallback)[
                0
            ], fallback
        except FeedError:
            continue
    return encodings.Encoding("latin-1"), None


def _detect_text(
    document: Document, head: bytes, encoding: encodings.Encoding, kind: Kind, needs: tuple[str, ...]
) -> Detection:
    text = head[encoding.mark :].decode(encoding.codec, "ignore").lstrip("\ufeff \t\r\n")
    if kind is Kind.HTML:
        return _html(text, head, document.name)
    if kind is Kind.XML:
        return _xml(text, document.name, needs)
    if kind in (Kind.JSON_OBJECT, Kind.JSON_LIST):
        return _json(text, document.name, needs)
    if text.startswith("HDR|"):
        return Detection("rakuten", fields=("positions without names",))
    return _delimited(text, document.name, needs)


def _html(text: str, head: bytes, name: str) -> Detection:
    if re.search(rf"{LD_JSON}|property=[\"']?(?:og|product):price", text, re.IGNORECASE):
        return Detection("jsonld", fields=("JSON-LD",))
    title = html_title(head)
    raise FeedError(
        f"{name} is an HTML page" + (f" titled {title!r}" if title else "") + " that names no product: the "
        "shop shows an error or a login; open the location in a browser"
    )


def _known(readers: tuple[str, ...], needs: tuple[str, ...]) -> list[Mapping]:
    """The mappings of known kinds of feeds, of these readers."""
    names = [name for name in known_formats() if name not in GENERAL.values()]
    names.sort(key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return [mapping for name in names if (mapping := load_mapping(name, needs=needs)).reader in readers]


def _few(needs: tuple[str, ...]) -> int:
    return FEW_OF_SUPPLEMENT if needs == SUPPLEMENT_NEEDS else FEW


def _fit(mapping: Mapping, names: set[str]) -> tuple[int, int]:
    """How many columns of a kind the names fill, and how many names it knows; 0 where they lack what a
    product needs.
    """
    filled = {column for column in mapping.fields if not names.isdisjoint(mapping.candidates(column))}
    if not filled.issuperset(mapping.needs):
        return 0, 0
    known = {name for column in mapping.fields for name in mapping.candidates(column)}
    return len(filled), len((known | OWN_FIELDS.get(mapping.format, frozenset())) & names)


def _general(reader: str, names: list[str], have: set[str], needs: tuple[str, ...]) -> Detection:
    """The general format of a reader with a proposed mapping."""
    fields: dict[str, tuple[str, ...]] = {}
    for column, known in synonyms().items():
        if found := [name for name in known if normal_name(name) in have]:
            fields[column] = tuple(found[:3])
    if "price_low" in fields and "price_high" in fields:
        fields.pop("price", None)
    else:
        fields.pop("price_low", None)
        fields.pop("price_high", None)
    missing = [column for column in needs if column not in fields]
    if not missing and len(fields) < FEW_OF_SUPPLEMENT:
        missing = ["a further column"]
    if missing:
        raise FeedError(
            f"no field of this {reader} file is known to be {' or '.join(missing)}; found: "
            f"{', '.join(names[:30])}; say the fields by `mapping:` in feeds.yaml"
        )
    prices = [name for column in ("price", "price_low") for name in fields.get(column, ())]
    told = next((code.group(1).upper() for name in prices if (code := CURRENCY_IN_NAME.search(name))), None)
    constants = {"currency": told} if told and "currency" not in fields else {}
    lines = MappingLines(fields=dict(fields), constants=constants)
    note = "the mapping is a proposal by common names: read it before you paste it"
    return Detection(GENERAL[reader], lines, tuple(names), (note,))


def propose(format_name: str, names: tuple[str, ...], needs: tuple[str, ...] = PRODUCT_NEEDS) -> Detection:
    """A general format with a mapping proposed for these fields.

    Raises:
        FeedError: none of them is known to be an id or a title.
    """
    reader = next(reader for reader, name in GENERAL.items() if name == format_name)
    return _general(reader, list(names), {normal_name(name) for name in names}, needs)


def _delimited(text: str, name: str, needs: tuple[str, ...]) -> Detection:
    lines = [line for line in text.splitlines()[:HEADER_ROWS] if line.strip()]
    fits: list[tuple[tuple[int, int], int, str, list[str]]] = []
    general: tuple[int, list[str]] = (0, [])
    # Rows of groups of rows are no supplement's.
    grouped = ("shopify_csv", "woocommerce_csv") if needs == PRODUCT_NEEDS else ()
    for line in lines:
        for delimiter in DELIMITERS:
            cells = split_cells(line, delimiter)
            names = {normal_name(cell) for cell in cells if cell.strip()}
            if len(names) < 2:
                continue
            by_name = sum(not names.isdisjoint(map(normal_name, known)) for known in synonyms().values())
            general = max(general, (by_name, cells), key=lambda one: one[0])
            for place, mapping in enumerate(_known(("delimited", *grouped), needs)):
                if mapping.delimiter not in ("auto", delimiter):
                    continue
                fit = _fit(mapping, RENAMED.get(mapping.reader, set)(names))
                if fit[0] >= _few(needs):
                    fits.append((fit, -place, mapping.format, cells))
    if fits:
        fit, _, best, cells = max(fits)
        if fit[0] >= general[0] - 2:
            alike = {name for other, _, name, _ in fits if other == fit}
            return Detection(best, fields=tuple(cells), notes=_alike(best, alike))
    if not general[1]:
        raise FeedError(f"{name} is text without a header of columns: it is no feed of a kind that is known")
    return _general("delimited", general[1], {normal_name(cell) for cell in general[1]}, needs)


def _alike(best: str, alike: set[str]) -> tuple[str, ...]:
    """What a person is told where other kinds have the same fields."""
    others = " and ".join(sorted(alike - {best}))
    return (f"its fields are those of {others} too: it is read alike either way",) if others else ()


def _xml(text: str, name: str, needs: tuple[str, ...]) -> Detection:
    parser = etree.XMLPullParser(
        events=("start", "end"), recover=True, resolve_entities=False, no_network=True
    )
    # The text is decoded already, so what the declaration says of its encoding holds no more.
    plain = XML_DECLARATION.sub("", text[:XML_HEAD], count=1).encode("utf-8", "ignore")
    for chunk in mend(iter([plain]), Tally(ReadReport())):
        parser.feed(chunk)
    counts: dict[str, int] = {}
    children: dict[str, set[str]] = {}
    paths: dict[str, set[str]] = {}
    for event, element in parser.read_events():
        tag = _local_name(element)
        if event == "end" and tag:
            inner = {name for child in element if (name := _local_name(child))}
            if len(inner) >= min(3, _few(needs)):
                counts[tag] = counts.get(tag, 0) + len(inner)
                children.setdefault(tag, set()).update(inner)
                paths.setdefault(tag, set()).update(_xml_paths(element))
    if not counts:
        raise FeedError(
            f"{name} is XML without records that have fields: it is no feed of a kind that is known"
        )
    record = next((tag for tag in RECORD_ELEMENTS if tag in counts), max(counts, key=lambda tag: counts[tag]))
    shown = sorted(children[record])
    names = {normal_name(child) for child in children[record]} | paths[record]
    fits = [
        (fit, -place, mapping.format)
        for place, mapping in enumerate(_known(("xml",), needs))
        if (record == mapping.records if mapping.records else record in RECORD_ELEMENTS)
        and (fit := _fit(mapping, names))[0] >= _few(needs)
    ]
    if fits:
        fit, _, best = max(fits)
        return Detection(
            best, fields=tuple(shown), notes=_alike(best, {name for f, _, name in fits if f == fit})
        )
    proposed = _general("xml", shown, names, needs)
    return Detection(
        "xml", proposed.mapping.model_copy(update={"records": record}), tuple(shown), proposed.notes
    )


def _xml_paths(record: Any) -> set[str]:
    """The attributes of a record's element, and what stands in its children, as mappings name it."""
    found = {f"@{normal_name(name)}" for name in record.attrib}
    for child in record:
        if name := _local_name(child):
            found |= {f"{normal_name(name)}.@{normal_name(attribute)}" for attribute in child.attrib}
            found |= {f"{normal_name(name)}.{normal_name(_local_name(inner))}" for inner in child}
    return found


def _local_name(element: Any) -> str:
    """The element's name without namespace or prefix; "" for comments and instructions."""
    return element.tag.rpartition("}")[2].rpartition(":")[2] if isinstance(element.tag, str) else ""


#: Fields that only one kind of JSON has.
MARKS = {
    "shopify_js": ("compare_at_price_min", "variants", "price_min"),
    "shopify_json": ("variants", "handle", "title"),
    "woocommerce_store": ("prices.currency_minor_unit",),
    "woocommerce_rest": ("permalink", "regular_price", "stock_status"),
    "google_retail": ("priceinfo.price",),
}


def _json(text: str, name: str, needs: tuple[str, ...]) -> Detection:
    paths = Paths()

    def has(record: dict[str, Any], path: str) -> bool:
        fields = paths.fields(record)
        return path in fields or paths.get(fields, path) is not None

    def is_record(record: dict[str, Any]) -> bool:
        return all(any(has(record, known) for known in synonyms()[column]) for column in needs)

    if re.search(r'"@(?:type|graph)"\s*:', text[:XML_HEAD]):
        return Detection("jsonld", fields=("JSON-LD",))
    path = find_records(text, is_record)
    records = sample_records(text, path)
    if not records:
        raise FeedError(f"{name} is JSON without a list of records: it is no feed of a kind that is known")
    shown = tuple(dict.fromkeys(key for record in records for key in record))
    if path == "." and isinstance(records[0].get("product"), dict):
        return Detection("shopify_json", fields=tuple(records[0]["product"]))
    for format_name, marks in MARKS.items():
        if all(any(has(record, mark) for record in records) for mark in marks):
            return Detection(format_name, fields=shown)
    known = {path for names in synonyms().values() for path in names}
    have = {
        normal_name(path)
        for path in known
        if any(paths.get(paths.fields(record), path) for record in records)
    }
    return _general("json", list(shown), have | ({KEY} if path and path.endswith("*") else set()), needs)
