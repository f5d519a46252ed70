"""Parquet: row groups in batches, every value as the text that a person would write for it."""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.items import Value
from fashion_pipeline.feeds.mapping import normal_name
from fashion_pipeline.feeds.records import Chunk, Read, Source, json_text

#: Columns whose numbers are names: 8.0 means "8", and a float from 2**53 on may have lost digits.
IDENTIFIERS = ("external_id", "item_group_id", "gtin", "mpn")
EXACT_INTEGERS = 2**53
MAX_COLUMNS = 4_000
#: One row group is decoded as a whole; larger ones are an attack or a mistake.
MAX_ROW_GROUP = 4 << 30


def read_parquet(source: Source) -> Iterator[Read]:
    """Records of one Parquet document; `source.open` must give a real file (it is read from its end).

    Raises:
        FeedError: no Parquet, cut, a row group that is too large, or the mapped columns are not there.
    """
    with source.open() as stream, _parquet_file(stream, source.name) as file:
        names = file.schema_arrow.names
        if len(names) > MAX_COLUMNS:
            raise FeedError(
                f"{source.name} has {len(names):,} columns: no more than {MAX_COLUMNS:,} are read"
            )
        mapping = source.mapping
        have = {normal_name(name) for name in names}
        for column in mapping.needs:
            if have.isdisjoint(mapping.candidates(column)):
                raise FeedError(
                    f"{source.name}: other format than configured: {mapping.format} needs a column for "
                    f"{column} ({' or '.join(mapping.fields[column])}); found: {', '.join(names[:30])}; "
                    "set the right `format:`, or say the columns by `mapping:`"
                )
        for group in range(file.metadata.num_row_groups):
            if file.metadata.row_group(group).total_byte_size > MAX_ROW_GROUP:
                raise FeedError(f"{source.name}: row group {group} holds more than {MAX_ROW_GROUP:,} bytes")
        used = {name for column in mapping.fields for name in mapping.candidates(column)}
        ids = {name for column in IDENTIFIERS for name in mapping.candidates(column)}
        first = 1
        for batch in file.iter_batches(batch_size=source.batch_size, use_threads=False):
            yield from _read_batch(source, batch, first, used, ids)
            first += batch.num_rows


def _parquet_file(stream: BinaryIO, name: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(stream)
    except pa.ArrowInvalid as error:
        raise FeedError(
            f"{name} is no whole Parquet file ({str(error)[:60]}): truncated; fetch it again"
        ) from error


def _read_batch(
    source: Source, batch: pa.RecordBatch, first: int, used: set[str], ids: set[str]
) -> Iterator[Read]:
    texts: dict[str, list[list[Value]]] = {}
    lost: dict[int, str] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        normal = normal_name(name)
        if normal not in used:
            continue
        if normal in ids and pa.types.is_floating(column.type):
            texts.setdefault(normal, []).append(_identifiers(name, column, lost))
        else:
            texts.setdefault(normal, []).append(_texts(column))
    keep = [i for i in range(batch.num_rows) if i not in lost]
    tally = source.tally
    for i, problem in sorted(lost.items()):
        yield tally.broken(source.place(f"row {first + i}"), problem, json_text(_row(batch, i)))
    if not keep:
        return
    if lost:
        texts = {name: [[c[i] for i in keep] for c in columns] for name, columns in texts.items()}
    record = tally.report.records + 1
    tally.yielding(len(keep), len(keep))
    yield Chunk(
        size=len(keep),
        columns=lambda name: texts.get(name, []),
        record=list(range(record, record + len(keep))),
        place=[source.place(f"row {first + i}") for i in keep],
        raw=lambda i: json_text(_row(batch, keep[i])),
    )


def _row(batch: pa.RecordBatch, index: int) -> dict[str, Any]:
    return {
        name: _text(column[index].as_py())
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def _identifiers(name: str, column: pa.Array, lost: dict[int, str]) -> list[Value]:
    given: list[Value] = []
    for index, number in enumerate(column.to_pylist()):
        if number is None or math.isnan(number):
            given.append(None)
        elif not float(number).is_integer() or abs(number) >= EXACT_INTEGERS:
            lost[index] = f"{name} is stored as a binary float and may have lost digits: {number!r}"
            given.append(None)
        else:
            given.append(str(int(number)))
    return given


def _texts(column: pa.Array) -> list[Value]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return list(column.to_pylist())
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        # The shortest text that gives this float again in its own precision: 28.99, not 28.989999771.
        return [_float(str(v)) if v is not None else None for v in _single(column)]
    return [_text(value) for value in column.to_pylist()]


def _single(column: pa.Array) -> list[Any]:
    numbers = column.to_numpy(zero_copy_only=False).astype(np.float32)
    return [number if ok else None for number, ok in zip(numbers, column.is_valid().to_pylist(), strict=True)]


def _float(written: str) -> str | None:
    number = Decimal(written)
    return format(number, "f") if number.is_finite() else None


def _text(value: Any) -> Value:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(repr(value))
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        parts = (_text(part) for part in value)
        return [part if isinstance(part, str) else json_text(part) for part in parts if part is not None]
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return json_text(value) if isinstance(value, dict) else str(value)
