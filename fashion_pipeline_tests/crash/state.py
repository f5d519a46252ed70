"""What the line has made, in a form that two independent data folders can be compared by.

Rows are keyed by store, external id, day and hash; ids, times and names of files are left out, and what a file holds
stands in place of its name.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sqlalchemy import text

from fashion_pipeline import parts
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.embeddings.shards import read_vectors
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.line.points import serving_collection
from fashion_pipeline.line.reconcile import reconcile_all
from fashion_pipeline.settings import Settings
from fashion_pipeline.storage import DataLocation

#: Two encodings of one picture may differ by this much, by the batch that they were in.
TOLERANCE = 1e-4
SHOWN = 12

LEFT_OUT = {"id", "created_at", "updated_at"}
IMAGE_COLUMNS = (
    "status, checked_on, http_status, error, etag, sha256, size_bytes, width, height, format, decode_error"
)
SNAPSHOT_COLUMNS = (
    "file_sha256, size_bytes, cleaning, account, verdict, findings, failure, accepted_reason, outcome, "
    "skipped_reason"
)


@dataclass(frozen=True)
class State:
    """`facts` are compared for equality, `vectors` within `TOLERANCE`; both by a name of what they are."""

    facts: dict[str, str]
    vectors: dict[str, np.ndarray]


def observe(settings: Settings, stores: tuple[str, ...]) -> State:
    """Read everything; PostgreSQL has to run."""
    database = Database(parts.catalog_url(settings))
    try:
        return _Observer(database, parts.open_data(settings), parts.open_vectors(settings)).state(
            settings.alias, stores
        )
    finally:
        database.dispose()


def differences(expected: State, found: State) -> list[str]:
    """What differs, a line each; empty where nothing does."""
    told = []
    for kind, before, after in (
        ("", expected.facts, found.facts),
        ("vector of ", expected.vectors, found.vectors),
    ):
        for name in sorted({*before, *after}):
            if name not in after:
                told.append(f"{kind}{name}: missing")
            elif name not in before:
                told.append(f"{kind}{name}: too much")
            elif kind:
                distance = float(np.abs(before[name] - after[name]).max())
                if not distance <= TOLERANCE:
                    told.append(f"{kind}{name}: differs by {distance:.2g}")
            elif before[name] != after[name]:
                told.append(f"{name}: {after[name]} instead of {before[name]}")
    return told


def shown(told: list[str]) -> str:
    """The first differences, for a message."""
    more = f"\n  ... and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return "\n".join(f"  {line[:1000]}" for line in told[:SHOWN]) + more


class _Observer:
    def __init__(self, database: Database, data: DataLocation, vectors: VectorStore) -> None:
        self._database, self._data, self._vectors = database, data, vectors

    def state(self, alias: str, stores: tuple[str, ...]) -> State:
        self.facts: dict[str, str] = {}
        self.stored: dict[str, np.ndarray] = {}
        self._products()
        self._snapshots()
        self._pictures()
        self._points(alias, stores)
        return State(self.facts, self.stored)

    def _rows(self, statement: str) -> list[Mapping[str, Any]]:
        with self._database.connection() as connection:
            return list(connection.execute(text(statement)).mappings())

    def _products(self) -> None:
        self._names = {}
        for row in self._rows("SELECT * FROM products"):
            name = f"{row['store_id']}/{row['external_id']}"
            self._names[row["id"]] = name
            self._tell("product", name, {key: row[key] for key in row if key not in LEFT_OUT})
        for row in self._rows(
            "SELECT store_id, applied_through, applied_sha256, applied_cleaning FROM stores"
        ):
            self._tell("store", row["store_id"], row)

    def _snapshots(self) -> None:
        keys = "file_key, clean_key, rejected_key, deletions_key"
        for row in self._rows(
            f"SELECT store_id, day, sha256, {keys}, {SNAPSHOT_COLUMNS} FROM feed_snapshots"
        ):
            name = f"{row['store_id']}/{row['day']}/{row['sha256'][:12]}"
            told = {key: row[key] for key in row if not key.endswith("_key")}
            if told["account"] is not None:
                told["account"] = {key: told["account"][key] for key in told["account"] if key != "seconds"}
            self._tell("snapshot", name, told)
            raw = hashlib.sha256(self._data.read(row["file_key"])).hexdigest()
            self._tell("file", f"feed {name}", raw)
            for kind in ("clean", "rejected", "deletions"):
                key = row[f"{kind}_key"]
                self._tell("file", f"{kind} {name}", None if key is None else self._table(key))
        counted = Counter(
            str({key: row[key] for key in row if key not in LEFT_OUT | {"snapshot_id"}})
            for row in self._rows("SELECT * FROM rejected_products")
        )
        for item, count in counted.items():
            self._tell("rejected", item, count)

    def _table(self, key: str) -> str:
        with self._data.local_copy(key) as path:
            rows = pq.read_table(path).to_pylist()
        return f"{len(rows)} rows, {hashlib.sha256(repr(rows).encode()).hexdigest()}"

    def _pictures(self) -> None:
        for row in self._rows(f"SELECT url, {IMAGE_COLUMNS} FROM images"):
            self._tell("image", row["url"], row)
            if row["sha256"] is not None:
                content = self._data.read(f"images/{row['sha256'][:2]}/{row['sha256']}")
                self._tell("file", f"picture {row['url']}", hashlib.sha256(content).hexdigest())
        ledger: dict[str, list[tuple[str, str]]] = {}
        for row in self._rows("SELECT model_id, image_sha256, shard_key FROM embeddings ORDER BY shard_key"):
            ledger.setdefault(row["model_id"], []).append((row["shard_key"], row["image_sha256"]))
        for model_id, refs in ledger.items():
            for sha256, vector in read_vectors(self._data, refs):
                self.stored[f"picture {sha256} by {model_id}"] = vector

    def _points(self, alias: str, stores: tuple[str, ...]) -> None:
        for row in self._rows("SELECT collection, product_id, payload_hash, image_sha256 FROM index_entries"):
            name = self._names.get(row["product_id"], f"unknown {row['product_id']}")
            entry = {key: row[key] for key in ("payload_hash", "image_sha256")}
            self._tell("entry", f"{name} of {row['collection']}", entry)
        serving = serving_collection(self._vectors, alias)
        collection = serving.collection
        self._tell("alias", alias, collection)
        with self._vectors.session(collection):
            ids = [id_ for id_, _ in self._vectors.scroll(collection)]
            found = self._vectors.retrieve(collection, ids, with_vectors=True)
        for id_, point in found.items():
            name = self._names.get(id_, f"unknown {id_}")
            # Where a product has no group, its own id stands for one.
            self._tell("point", name, str(point.payload).replace(str(id_), "its own id"))
            self.stored[f"point {name}"] = np.asarray(point.vector)
        report = reconcile_all(self._database, self._vectors, serving, stores)
        self._tell("reconciled", collection, report.agrees)

    def _tell(self, kind: str, name: str, what: object) -> None:
        key = f"{kind} {name}"
        assert key not in self.facts, f"{key} stands twice"
        self.facts[key] = what if isinstance(what, str) else repr(_plain(what))


def _plain(value: object) -> object:
    return {str(key): _plain(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def unfinished_files(data: DataLocation) -> Iterator[str]:
    """Parts of files anywhere in the data location that killed runs left."""
    for folder in ("raw", "clean", "rejected", "deletions", "images", "embeddings"):
        for entry in data.leftovers(folder):
            yield entry.key
