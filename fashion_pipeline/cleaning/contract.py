"""The contract of a clean file, checked on the file as it lies on disk.

Cleaning makes files that keep it; this reads them back, so that a file that was altered, cut or made
by another version is found before it is applied.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fashion_pipeline.cleaning.content import hash_clean_batch
from fashion_pipeline.cleaning.currencies import currencies
from fashion_pipeline.cleaning.duplicates import Registry
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA, PRICE

#: Rows in memory at once.
_BATCH_ROWS = 8_192
#: Examples that a violation names.
_EXAMPLES = 3
_HASH = "^[0-9a-f]{32}$"
_COUNTED = ("records", "yielding", "broken", "items", "clean", "rejected", "duplicates", "deletions")


@dataclass
class _Violation:
    count: int = 0
    examples: list[str] = field(default_factory=list)


def check_clean_file(path: Path, expected_rows: int) -> list[str]:
    """Re-read `path` and say what breaks the contract; empty where nothing does.

    Checked: the schema, the number of rows, no null in a required column, unique ids, prices above
    zero, sale prices above zero and below the price, ISO 4217 codes, sale windows that end after they
    start, content hashes that fit their rows. Each violation says how often and gives examples.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        return [f"the file cannot be read as Parquet: {error}"]
    with file:
        wrong = list(_schema_violations(file.schema_arrow))
        rows = file.metadata.num_rows
        if rows != expected_rows:
            wrong.append(f"{rows:,} rows, expected {expected_rows:,}")
        if len(wrong) > (rows != expected_rows):
            return wrong
        try:
            return wrong + _row_violations(file)
        except (OSError, pa.ArrowException) as error:
            return [*wrong, f"the rows cannot be read: {error}"]


def recount(clean: Path, rejected: Path, deletions: Path | None) -> dict[str, int]:
    """What the files on disk hold, against which an account can be held.

    `refused` counts rejected items and broken records together; `records` the distinct source records that
    a row of any file names.
    """
    records = {
        name: pa.chunked_array([], pa.int64()) if path is None else _record_column(path)
        for name, path in (("clean", clean), ("refused", rejected), ("deletions", deletions))
    }
    counts = {name: len(column) for name, column in records.items()}
    all_records = pa.chunked_array([chunk for column in records.values() for chunk in column.chunks])
    return counts | {"records": len(pc.unique(all_records))}


def _record_column(path: Path) -> pa.ChunkedArray:
    # `read_table` would import pyarrow's whole dataset machinery.
    with pq.ParquetFile(path) as file:
        return file.read(columns=["record"]).column("record")


def account_problems(account: dict[str, Any], found: dict[str, int], refused_rows: int) -> list[str]:
    """Where an account, its files and the table of rejected items do not say the same.

    Args:
        found: see `recount`.
        refused_rows: rows of the table of rejected items for this snapshot.
    """
    number = {name: int(account[name]) for name in _COUNTED}
    refused = number["rejected"] + number["broken"]
    settled = found["clean"] + found["refused"] - number["broken"] + found["deletions"] + number["duplicates"]
    named = number["yielding"] + number["broken"]
    claims = (
        (
            "records",
            number["records"],
            named + sum(account["context"].values()),
            "yielding, context or broken",
        ),
        ("items", number["items"], settled, "in the files or counted as duplicates"),
        ("clean items", number["clean"], found["clean"], "in the clean file"),
        ("rejected or broken", refused, found["refused"], "in the rejected file"),
        ("rejected or broken", refused, refused_rows, "in the table of rejected items"),
        ("deletions", number["deletions"], found["deletions"], "in the file of deletions"),
    )
    problems = [
        f"{told:,} {what} in the account, {counted:,} {where}"
        for what, told, counted, where in claims
        if told != counted
    ]
    # A record whose items are all duplicates is in no file.
    if not named - number["duplicates"] <= found["records"] <= named:
        problems.append(
            f"{found['records']:,} source records in the files, of {named:,} that yield items or are broken"
        )
    return problems


def _schema_violations(found: pa.Schema) -> Iterator[str]:
    for column in CLEAN_SCHEMA:
        at = found.get_field_index(column.name)
        if at < 0:
            yield f"column {column.name!r} is missing"
        elif not _same_type(found.field(at).type, column.type):
            yield f"column {column.name!r} is {found.field(at).type}, expected {column.type}"
    for name in found.names:
        if name not in CLEAN_SCHEMA.names:
            yield f"column {name!r} is not part of the schema"


def _same_type(found: pa.DataType, expected: pa.DataType) -> bool:
    """Equal up to the name of a list's entry, which Parquet writers choose."""
    if pa.types.is_list(found) and pa.types.is_list(expected):
        return bool(found.value_type == expected.value_type)
    return bool(found == expected)


def _row_violations(file: pq.ParquetFile) -> list[str]:
    found: dict[str, _Violation] = {}
    registry = Registry()
    for batch in file.iter_batches(batch_size=_BATCH_ROWS):
        ids, places = batch.column("external_id"), batch.column("place")
        named = pc.fill_null(ids, "").to_pylist()
        registry.add(named, ["0" * 16] * len(named))
        for what, wrong in _broken_rules(batch):
            rows = np.flatnonzero(pc.fill_null(wrong, False).to_numpy(zero_copy_only=False))
            if len(rows):
                violation = found.setdefault(what, _Violation())
                violation.count += len(rows)
                violation.examples += [
                    f"{ids[row].as_py()!r} ({places[row].as_py()})" for row in rows.tolist()[:_EXAMPLES]
                ]
    messages = [
        f"{what}: {entry.count:,} rows, e.g. {', '.join(entry.examples[:_EXAMPLES])}"
        for what, entry in found.items()
    ]
    verdict = registry.judge() if len(registry) else None
    if verdict is not None:
        messages.append(f"external_id is not unique: {int(verdict[0].sum()):,} rows repeat an earlier id")
    return messages


def _broken_rules(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.BooleanArray]]:
    """Each rule with a mask of the rows that break it, null where it says nothing of a row."""
    for column in CLEAN_SCHEMA:
        if not column.nullable:
            yield f"null in required column {column.name!r}", pc.is_null(batch.column(column.name))
    price, sale = batch.column("price"), batch.column("sale_price")
    nothing = pa.scalar(0, PRICE)
    yield "price is not above zero", pc.less_equal(price, nothing)
    outside = pc.or_kleene(pc.less_equal(sale, nothing), pc.greater_equal(sale, price))
    yield "sale_price is not between zero and price", outside
    codes = pa.array(sorted(currencies()))
    currency = batch.column("currency")
    unknown = pc.and_(pc.is_valid(currency), pc.invert(pc.is_in(currency, codes)))
    yield "currency is no ISO 4217 code", unknown
    ends = pc.less_equal(batch.column("sale_ends_at"), batch.column("sale_starts_at"))
    yield "sale window ends before it starts", ends
    told = batch.column("content_hash")
    other = pc.not_equal(told, pa.array(hash_clean_batch(batch), pa.string()))
    shaped = pc.match_substring_regex(told, _HASH)
    yield "content_hash does not fit the content", pc.and_(other, shaped)
    yield "content_hash is no hash", pc.and_(other, pc.invert(shaped))
