"""The content hash: what makes two states of a product the same.

The hash covers `CONTENT_FIELDS` in their order, as text: amounts with four decimals, times in ISO 8601
in UTC, nulls as nothing, the description as its own hash, which variants share, and the keys of pictures
in place of their URLs, so that a changed `?v=` is no change. Fields are joined by U+001F and list entries
by U+001E, which no cleaned text holds.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc

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


def hash_clean_batch(batch: pa.RecordBatch) -> list[str]:
    """The content hash of each row of the clean schema, recomputed from their values."""
    columns = {name: _as_text(name, batch) for name in HASHED_FIELDS}
    return hash_rows(columns, batch.num_rows)


def _as_text(name: str, batch: pa.RecordBatch) -> list[str]:
    column = batch.column("image_key" if name == "image_url" else name)
    if column.null_count == len(column):
        return [""] * len(column)
    if pa.types.is_list(column.type):
        return ["\x1e".join(map(image_key, urls)) if urls else "" for urls in column.to_pylist()]
    if pa.types.is_timestamp(column.type):
        return ["" if moment is None else moment.isoformat() for moment in column.to_pylist()]
    texts: list[str] = pc.fill_null(column.cast(pa.string()), "").to_pylist()
    return texts
