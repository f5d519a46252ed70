"""The content hash: what makes two states of a product the same.

The hash covers `CONTENT_FIELDS` in their order, as text: amounts with four decimals, times in ISO 8601
in UTC, nulls as nothing, the description as its own hash, which variants share, and the keys of pictures
in place of their URLs, so that a changed `?v=` is no change. Fields are joined by U+001F and list entries
by U+001E, which no cleaned text holds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

from fashion_pipeline.cleaning.schema import CONTENT_FIELDS
from fashion_pipeline.cleaning.urls import image_key

#: Order of the hashed fields. A change of it changes every hash: each product is written once more.
HASHED_FIELDS = tuple(field.name for field in CONTENT_FIELDS)
#: 128 bits: no two states of one product meet by chance, and half the room of SHA-256.
_DIGEST_SIZE = 16


def hash_rows(columns: Mapping[str, Sequence[str]], size: int) -> list[str]:
    """One hash per row, 32 hexadecimal digits.

    `columns` has lists of length `size` in their text form, `""` for null; a missing column is null.
    """
    empty = [""] * size
    prose = columns.get("description", empty)
    digests = {text: _digest(text) if text else "" for text in set(prose)}
    told = {**columns, "description": [digests[text] for text in prose]}
    rows = zip(*(told.get(name, empty) for name in HASHED_FIELDS), strict=True)
    return [_digest("\x1f".join(row)) for row in rows]


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=_DIGEST_SIZE).hexdigest()


def hash_clean_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The content hash of rows of the clean schema, recomputed from their values."""
    for row in rows:
        text = {name: [_as_text(name, row)] for name in HASHED_FIELDS}
        yield hash_rows(text, 1)[0]


def _as_text(name: str, row: Mapping[str, Any]) -> str:
    value = row[name]
    if name == "image_url":
        return row["image_key"] or ""
    if value is None:
        return ""
    if name == "additional_image_urls":
        return "\x1e".join(map(image_key, value))
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
