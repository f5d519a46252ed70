"""What the first bytes of a document look like, so that a wrong one is refused with the right words."""

import re
from enum import StrEnum
from typing import Any

import orjson

from fashion_pipeline.feeds.encoding import Encoding


class Kind(StrEnum):
    """Kinds of documents that can be told apart by how they begin."""

    EMPTY = "an empty file"
    HTML = "an HTML page"
    XML = "XML"
    JSON_OBJECT = "a JSON object"
    JSON_LIST = "a JSON list"
    PARQUET = "a Parquet file"
    PDF = "a PDF"
    PACKED = "an archive of a kind that is not read (xz, bzip2, 7z, rar)"
    BINARY = "binary data"
    TEXT = "text"


#: Which `format:` a person should think of.
ADVICE = {
    Kind.XML: "google_xml",
    Kind.JSON_OBJECT: "shopify_json, google_retail, woocommerce_store or json",
    Kind.JSON_LIST: "woocommerce_store, shopify_json or json",
    Kind.HTML: "jsonld",
    Kind.PARQUET: "parquet",
    Kind.TEXT: "google_tsv, google_csv, meta_csv, awin or delimited",
}
EXPECTED = {
    "xml": (Kind.XML,),
    "delimited": (Kind.TEXT,),
    "shopify_csv": (Kind.TEXT,),
    "woocommerce_csv": (Kind.TEXT,),
    "rakuten": (Kind.TEXT,),
    "jsonld": (Kind.HTML, Kind.JSON_OBJECT, Kind.JSON_LIST),
    "shopify": (Kind.JSON_OBJECT, Kind.JSON_LIST),
    "json": (Kind.JSON_OBJECT, Kind.JSON_LIST, Kind.TEXT),
    "woocommerce_rest": (Kind.JSON_OBJECT, Kind.JSON_LIST, Kind.TEXT),
    "parquet": (Kind.PARQUET,),
}
HTML = re.compile(
    r"^(?:<!--.*?-->|<\?xml[^>]*>|\s)*<(?:!doctype\s+html|html|head|body|title|script|h1|center)\b",
    re.IGNORECASE | re.DOTALL,
)
PACKED = (b"\xfd7zXZ", b"BZh", b"7z\xbc\xaf", b"Rar!")
NAMES = frozenset({"title", "name", "handle", "sku"})
ERROR_KEYS = ("error", "errors", "message", "fault", "code", "status", "detail")


def kind_of(head: bytes, encoding: Encoding) -> Kind:
    """What a document looks like that begins with `head` (some thousand bytes)."""
    if head.startswith(b"PAR1"):
        return Kind.PARQUET
    if head.startswith(b"%PDF"):
        return Kind.PDF
    if head.startswith(PACKED):
        return Kind.PACKED
    text = head[encoding.mark :].decode(encoding.codec, "replace").lstrip("\ufeff \t\r\n\x00")
    if not text:
        return Kind.BINARY if head.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n") else Kind.EMPTY
    if HTML.match(text):
        return Kind.HTML
    if text.startswith("<"):
        return Kind.XML
    if text.startswith("{"):
        return Kind.JSON_OBJECT
    if text.startswith("[") and text[1:].lstrip()[:1] in ("{", "]", "["):
        return Kind.JSON_LIST
    return Kind.BINARY if text.count("\x00") > len(text) // 100 else Kind.TEXT


def html_title(head: bytes) -> str:
    """The title of an HTML page, for the error that names it."""
    found = re.search(rb"<title[^>]*>(.*?)</title>", head, re.IGNORECASE | re.DOTALL)
    return " ".join(found.group(1).decode("utf-8", "replace").split())[:120] if found else ""


def html_charset(head: bytes, kind: Kind) -> str | None:
    """The encoding that an HTML page names in its head."""
    found = re.search(rb"<meta[^>]+charset\s*=\s*[\"']?([a-zA-Z0-9_-]+)", head, re.IGNORECASE)
    return found.group(1).decode("ascii") if found and kind is Kind.HTML else None


def json_error(head: bytes) -> str:
    """What a small JSON object says went wrong; "" when it is no error message."""
    try:
        value = orjson.loads(head)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(value, dict) or _holds_records(value):
        return ""
    said = [f"{key}: {str(value[key])[:150]}" for key in ERROR_KEYS if key in value]
    return ", ".join(said)


def _holds_records(value: dict[str, Any]) -> bool:
    """Whether an object is a product, or has a list of objects, so that its `status` is no error's."""
    if not NAMES.isdisjoint(value):
        return True
    inner = [part for key, part in value.items() if key not in ("error", "errors")]
    inner += [part for outer in inner if isinstance(outer, dict) for part in outer.values()]
    return any(isinstance(part, list) and part and isinstance(part[0], dict) for part in inner)
