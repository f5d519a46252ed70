"""What the first bytes of a document look like, so that a wrong one is refused with the right words."""

import re
from enum import StrEnum

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
    Kind.JSON_OBJECT: "shopify_json",
    Kind.JSON_LIST: "shopify_json",
    Kind.PARQUET: "parquet",
    Kind.TEXT: "google_tsv, google_csv, meta_csv, awin or delimited",
}
EXPECTED = {
    "xml": (Kind.XML,),
    "delimited": (Kind.TEXT,),
    "shopify": (Kind.JSON_OBJECT, Kind.JSON_LIST),
    "json": (Kind.JSON_OBJECT, Kind.JSON_LIST, Kind.TEXT),
    "parquet": (Kind.PARQUET,),
}
HTML = re.compile(
    r"^(?:<!--.*?-->|<\?xml[^>]*>|\s)*<(?:!doctype\s+html|html|head|body|title|script|h1|center)\b",
    re.IGNORECASE | re.DOTALL,
)
PACKED = (b"\xfd7zXZ", b"BZh", b"7z\xbc\xaf", b"Rar!")
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


def json_error(head: bytes) -> str:
    """What a small JSON object says went wrong; "" when it is no error message."""
    try:
        value = orjson.loads(head)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(value, dict):
        return ""
    said = [f"{key}: {str(value[key])[:150]}" for key in ERROR_KEYS if key in value]
    return ", ".join(said)
