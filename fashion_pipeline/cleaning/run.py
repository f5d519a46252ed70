"""A feed in, Parquet files out, in bounded memory, with an account that adds up."""

import gc
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fashion_pipeline.cleaning.cleaner import CLEANING_VERSION, CleanedBatch, Cleaner
from fashion_pipeline.cleaning.duplicates import Mask, Registry
from fashion_pipeline.cleaning.reasons import Reason
from fashion_pipeline.cleaning.rejections import RejectedItem, rejected_batch
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA, CONTENT_FIELDS, DELETION_SCHEMA, REJECTED_SCHEMA
from fashion_pipeline.feeds.items import BrokenRecord, ItemReader, Recovery

Progress: TypeAlias = Callable[[int, int | None], None]

logger = logging.getLogger(__name__)

#: Rows of a row group: enough for columns to compress and be skipped, few enough to hold in memory.
ROW_GROUP_ROWS = 20_000
#: A row group is written earlier when its rows are long (descriptions of 10,000 characters).
_ROW_GROUP_BYTES = 32 << 20
#: Columns whose values do not repeat: a dictionary of them is tried in vain.
_UNIQUE = frozenset({"external_id", "product_url", "content_hash", "record", "place", "detail", "raw"})
#: Unknown values that are remembered by column while counting; shops have some hundred colours.
_UNKNOWN_VALUES = 2_000
#: Unknown values per column that a report shows.
_UNKNOWN_SHOWN = 20


@dataclass(frozen=True)
class CleanReport:
    """The account of one feed.

    Records are what the file counts: `records == yielding + sum(context) + broken`. Items are what
    they yield: `items == clean + rejected + duplicates + deletions`. `reasons` counts reasons, of which
    a rejected item may have several, broken records included; `rejected_without_id` counts rejected
    items whose id could not be read. `fill` is the share of clean rows with a value, by content
    column; `unknown` counts values without a normalized form, before duplicates are dropped, with the
    most frequent in `unknown_values`. `currencies` and `warnings` count clean rows.
    """

    records: int
    yielding: int
    context: dict[str, int]
    broken: int
    items: int
    clean: int
    rejected: int
    duplicates: int
    deletions: int
    reasons: dict[str, int]
    rejected_without_id: int
    fill: dict[str, float]
    warnings: dict[str, int]
    currencies: dict[str, int]
    unknown: dict[str, int]
    unknown_values: dict[str, tuple[str, ...]]
    recoveries: tuple[Recovery, ...]
    seconds: float
    cleaning_version: int
    items_read: int = field(repr=False)
    #: As the reader counts them, see `ReadReport`.
    supplements: dict[str, dict[str, int]] = field(default_factory=dict)

    def accounting_error(self) -> str | None:
        """What does not add up, in words; None where every record and item is accounted for."""
        errors = []
        context = sum(self.context.values())
        if self.records != self.yielding + context + self.broken:
            errors.append(
                f"{self.records:,} records, but {self.yielding:,} yielding + {context:,} context + "
                f"{self.broken:,} broken"
            )
        if self.items != self.clean + self.rejected + self.duplicates + self.deletions:
            errors.append(
                f"{self.items:,} items, but {self.clean:,} clean + {self.rejected:,} rejected + "
                f"{self.duplicates:,} duplicates + {self.deletions:,} deletions"
            )
        if self.items != self.items_read:
            errors.append(f"the reader gave {self.items:,} items and reports {self.items_read:,}")
        return "; ".join(errors) or None


def clean_feed(
    reader: ItemReader,
    cleaner: Cleaner,
    *,
    clean_path: Path,
    rejected_path: Path,
    deletions_path: Path | None = None,
    progress: Progress | None = None,
) -> CleanReport:
    """Clean what `reader` gives into `clean_path` (CLEAN_SCHEMA) and `rejected_path` (REJECTED_SCHEMA).

    Both files are always written, `deletions_path` (DELETION_SCHEMA) only where the feed has delete
    records. Items that share an id are settled after the last one: of equal ones the first is kept,
    conflicting ones go to the rejected file with their canonical content as `raw`, because what the
    feed said of a row that was clean is no longer at hand. `progress` is called with items done.

    Raises:
        FeedError: from the reader; the files are then incomplete and must not be used.
        ValueError: the feed has delete records and `deletions_path` is None.
    """
    started = time.monotonic()
    run = _Run(clean_path, rejected_path, deletions_path)
    with run, _rare_collections():
        for part in reader:
            if isinstance(part, BrokenRecord):
                run.add_broken(part)
            else:
                run.add(cleaner.clean(part), part.size)
                if progress is not None:
                    progress(run.items, None)
        run.settle()
    source = reader.report
    rows = run.clean.rows
    report = CleanReport(
        records=source.records,
        yielding=source.yielding,
        context=dict(source.context),
        broken=run.broken,
        items=run.items,
        clean=rows,
        rejected=run.rejected.rows - run.broken,
        duplicates=run.duplicates,
        deletions=run.deletions.rows,
        reasons=dict(run.reasons),
        rejected_without_id=run.without_id,
        fill={name: (run.clean.filled[name] / rows if rows else 0.0) for name in _CONTENT},
        warnings=dict(run.clean.warnings),
        currencies=dict(run.clean.currencies),
        unknown={name: sum(counts.values()) for name, counts in run.unknown.items()},
        unknown_values={
            name: tuple(value for value, _ in counts.most_common(_UNKNOWN_SHOWN))
            for name, counts in run.unknown.items()
        },
        recoveries=tuple(source.recoveries),
        seconds=time.monotonic() - started,
        cleaning_version=CLEANING_VERSION,
        items_read=source.items,
        supplements=dict(source.supplements),
    )
    logger.info(
        "store %s: %d items, %d clean, %d rejected, %d duplicates, %d deletions, %d records broken, %.1f s",
        cleaner.store_id, report.items, report.clean, report.rejected, report.duplicates, report.deletions,
        report.broken, report.seconds,
    )  # fmt: skip
    return report


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Collect cyclic garbage rarely: a batch makes a million objects and no cycle, and looking costs a tenth."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


_CONTENT = tuple(column.name for column in CONTENT_FIELDS)


class _Sink:
    """A Parquet file that grows by row groups and is created with its first row, or on closing."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self._schema = schema
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        self.rows += batch.num_rows
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        self._waiting_bytes += batch.nbytes
        if self._waiting_rows >= ROW_GROUP_ROWS or self._waiting_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            repeating = [name for name in self._schema.names if name not in _UNIQUE]
            self._writer = pq.ParquetWriter(
                self.path, self._schema, compression="zstd", use_dictionary=repeating
            )
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, schema=self._schema)
            self._writer.write_table(table, row_group_size=table.num_rows)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    def close(self) -> None:
        """Write what waits and the footer; an empty file has the schema and no rows."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def abandon(self) -> None:
        """Close the file as it is; nothing happens where it is closed already."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _CleanSink(_Sink):
    """The clean file, and what its rows hold."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, CLEAN_SCHEMA)
        self.filled: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.currencies: Counter[str] = Counter()

    def write(self, batch: pa.RecordBatch) -> None:
        super().write(batch)
        for name in _CONTENT:
            self.filled[name] += batch.num_rows - batch.column(name).null_count
        self.warnings.update(pc.list_flatten(batch.column("warnings")).to_pylist())
        for entry in pc.value_counts(batch.column("currency")).to_pylist():
            self.currencies[entry["values"]] += entry["counts"]


class _Run:
    """What is open and counted while a feed is cleaned."""

    def __init__(self, clean_path: Path, rejected_path: Path, deletions_path: Path | None) -> None:
        self.clean = _CleanSink(clean_path)
        self.rejected = _Sink(rejected_path, REJECTED_SCHEMA)
        self.deletions = _Sink(deletions_path or clean_path.with_suffix(".deletions"), DELETION_SCHEMA)
        self._deletions_wanted = deletions_path is not None
        self._rows = Registry()
        self._deleted = Registry()
        self.items = self.broken = self.duplicates = self.without_id = 0
        self.reasons: Counter[str] = Counter()
        self.unknown: dict[str, Counter[str]] = {}

    def __enter__(self) -> "_Run":
        return self

    def __exit__(self, *_: object) -> None:
        for sink in (self.clean, self.rejected, self.deletions):
            sink.abandon()

    def add(self, cleaned: CleanedBatch, items: int) -> None:
        self.items += items
        self.clean.write(cleaned.rows)
        self._rows.add(
            cleaned.rows.column("external_id").to_pylist(), cleaned.rows.column("content_hash").to_pylist()
        )
        self._reject(cleaned.rejected)
        if cleaned.deletions.num_rows:
            if not self._deletions_wanted:
                raise ValueError("the feed has delete records: clean_feed needs a deletions_path for them")
            self.deletions.write(cleaned.deletions)
            self._deleted.add(cleaned.deletions.column("external_id").to_pylist(), None)
        for name, counts in cleaned.unknown.items():
            known = self.unknown.setdefault(name, Counter())
            known.update(counts)
            if len(known) > _UNKNOWN_VALUES:
                self.unknown[name] = _shortened(known)

    def add_broken(self, record: BrokenRecord) -> None:
        self.broken += 1
        item = RejectedItem(
            None, record.record, record.place, (Reason.BROKEN_RECORD,), record.reason, record.raw
        )
        self._reject(rejected_batch([item]), with_ids=False)

    def _reject(self, batch: pa.RecordBatch, *, with_ids: bool = True) -> None:
        self.rejected.write(batch)
        self.reasons.update(pc.list_flatten(batch.column("reasons")).to_pylist())
        if with_ids:
            self.without_id += batch.column("external_id").null_count

    def settle(self) -> None:
        """Take duplicates and conflicts out of the files, then close them."""
        rows = len(self._rows)
        self._rows.extend(self._deleted)
        verdict = self._rows.judge() if len(self._rows) else None
        self.clean.close()
        if self.deletions.rows:
            self.deletions.close()
        if verdict is not None:
            duplicate, conflict = verdict
            self.duplicates = int(duplicate.sum())
            self.clean = self._rewrite(
                self.clean, _CleanSink(_aside(self.clean.path)), duplicate[:rows], conflict[:rows]
            )
            if self.deletions.rows:
                target = _Sink(_aside(self.deletions.path), DELETION_SCHEMA)
                self.deletions = self._rewrite(self.deletions, target, duplicate[rows:], conflict[rows:])
                if not self.deletions.rows:
                    self.deletions.path.unlink()
        self.rejected.close()

    def _rewrite(self, source: Any, target: Any, duplicate: Mask, conflict: Mask) -> Any:
        """`source` again without the marked rows, in `target`, which then takes its place."""
        if not (duplicate.any() or conflict.any()):
            return source
        start = 0
        with pq.ParquetFile(source.path) as file:
            for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS // 4):
                stop = start + batch.num_rows
                dropped = duplicate[start:stop] | conflict[start:stop]
                target.write(batch.filter(pa.array(~dropped)))
                if conflict[start:stop].any():
                    self._reject(_conflicts(batch.filter(pa.array(conflict[start:stop]))))
                start = stop
        target.close()
        os.replace(target.path, source.path)
        target.path = source.path
        return target


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".settled")


def _shortened(counts: Counter[str]) -> Counter[str]:
    """The more frequent half, and the rest under one name, so that the sum stays right."""
    kept = Counter(dict(counts.most_common(_UNKNOWN_VALUES // 2)))
    kept["…"] += counts.total() - kept.total()
    return kept


def _conflicts(batch: pa.RecordBatch) -> pa.RecordBatch:
    return rejected_batch([_conflict(row) for row in batch.to_pylist()])


def _conflict(row: dict[str, Any]) -> RejectedItem:
    content = {name: row[name] for name in _CONTENT if row.get(name) is not None}
    if row.get("raw_attributes"):
        content["raw_attributes"] = json.loads(row["raw_attributes"])
    if "content_hash" not in row:
        content["action"] = "delete"
    return RejectedItem(
        row["external_id"],
        row["record"],
        row["place"],
        (Reason.ID_CONFLICT,),
        f"id {row['external_id']!r} stands in the feed with different contents",
        json.dumps(content, ensure_ascii=False, default=_json),
    )


def _json(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON form for {type(value).__name__}")
