"""Vector shards: Parquet files of vectors by image, written once and never changed.

A shard is garbage until its rows stand in the ledger: it is written first, the ledger follows.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fashion_pipeline.embeddings.spec import DIMENSION
from fashion_pipeline.embeddings.vectors import EmbeddedBatch, Provenance, Vectors
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.ids import check_sha256
from fashion_pipeline.storage import DataLocation

_PROVENANCE = ("device", "precision", "decode_mode", "libraries")
_REMEDY = "`fashion-pipeline embeddings verify --repair` has them embedded anew"
_READ_ROWS = 4096  # 12 MB of vectors at a time, however large a compacted shard is
_REFS_AT_ONCE = 50_000  # references grouped by shard at a time: some 10 MB
# Vectors do not compress: byte-stream split and zstd save 8 % and cost more time than the disk.
_PARQUET: dict[str, Any] = {"compression": "zstd", "use_dictionary": ["model_id", *_PROVENANCE]}
_WORD = pa.dictionary(pa.int8(), pa.string())

#: Elements of a stored vector. `float16` halves the file; a cosine then moves by less than 0.001.
VectorType: TypeAlias = Literal["float32", "float16"]


@dataclass(frozen=True)
class ShardRef:
    """A written shard: its key in the data location and how many vectors it holds."""

    key: str
    rows: int


def shard_schema(dtype: VectorType = "float32") -> pa.Schema:
    """Columns of a shard: image digest, vector [768], model id and provenance."""
    element = pa.float16() if dtype == "float16" else pa.float32()
    return pa.schema(
        [
            pa.field("sha256", pa.string(), nullable=False),
            pa.field(
                "vector", pa.list_(pa.field("item", element, nullable=False), DIMENSION), nullable=False
            ),
            pa.field("model_id", _WORD, nullable=False),
            *(pa.field(name, _WORD, nullable=False) for name in _PROVENANCE),
        ]
    )


def shard_folder(model_id: str) -> str:
    """The folder of a model's shards, Hive-style."""
    return f"embeddings/model={model_id}"


def write_shard(data: DataLocation, batch: EmbeddedBatch, *, dtype: VectorType = "float32") -> ShardRef:
    """Write `batch` as a new shard, whole or not at all.

    Raises:
        ValueError: the vectors are not finite unit vectors [n, 768], or do not match the digests.
    """
    _check(batch)
    schema = shard_schema(dtype)
    values = pa.array(batch.vectors.reshape(-1).astype(dtype))
    rows = len(batch.sha256)
    words = {"model_id": batch.model_id, **{n: getattr(batch.provenance, n) for n in _PROVENANCE}}
    columns = [
        pa.array(batch.sha256, pa.string()),
        pa.FixedSizeListArray.from_arrays(values, type=schema.field("vector").type),
        *(pa.array([word] * rows, pa.string()).dictionary_encode().cast(_WORD) for word in words.values()),
    ]
    key = f"{shard_folder(batch.model_id)}/{uuid.uuid4()}.parquet"
    with data.writing(key) as path:
        pq.write_table(
            pa.Table.from_arrays(columns, schema=schema), path, row_group_size=_READ_ROWS, **_PARQUET
        )
    return ShardRef(key, rows)


def merge_shards(data: DataLocation, model_id: str, wanted: Mapping[str, Iterable[str]]) -> ShardRef:
    """Write the wanted vectors of several shards of a model as a new one, in bounded memory.

    The vectors stay as they are: float16 only where all are. Each keeps its provenance.

    Args:
        wanted: images (SHA-256) by shard key; an image stands in one shard only.

    Raises:
        PermanentError: a shard is missing, lacks an image, or is of another model.
    """
    names = ["sha256", "vector", "model_id", *_PROVENANCE]
    schema = shard_schema("float16" if all(_is_half(data, key) for key in wanted) else "float32")
    target = f"{shard_folder(model_id)}/{uuid.uuid4()}.parquet"
    rows = 0
    with data.writing(target) as path, pq.ParquetWriter(path, schema, **_PARQUET) as writer:
        pending: list[pa.Table] = []
        for key, digests in wanted.items():
            missing = set(digests)
            for batch in _batches(data, key, names):
                taken = [digest in missing for digest in batch.column("sha256").to_pylist()]
                table = pa.Table.from_batches([batch]).filter(pa.array(taken)).select(names)
                missing.difference_update(table.column("sha256").to_pylist())
                if {*table.column("model_id").to_pylist()} - {model_id}:
                    raise PermanentError(
                        f"shard {data.describe(key)!r} holds vectors of another model than {model_id}"
                    )
                pending.append(table.cast(schema))
                rows += table.num_rows
                if sum(map(len, pending)) >= _READ_ROWS:
                    writer.write_table(pa.concat_tables(pending))
                    pending = []
            if missing:
                raise _lacks(data, key, missing)
        if pending:
            writer.write_table(pa.concat_tables(pending))
    return ShardRef(target, rows)


def _is_half(data: DataLocation, key: str) -> bool:
    with data.open(key) as stream, _readable(data, key), pq.ParquetFile(stream) as file:
        return bool(file.schema_arrow.field("vector").type.value_type == pa.float16())


def read_shard(data: DataLocation, key: str) -> list[EmbeddedBatch]:
    """All vectors of a shard: one batch per model and provenance found in it (a merged shard has several).

    Raises:
        PermanentError: there is no such shard, or it cannot be read.
    """
    groups: dict[tuple[str, ...], tuple[list[str], list[Vectors]]] = {}
    names = ["sha256", "vector", "model_id", *_PROVENANCE]
    for batch in _batches(data, key, names):
        digests, vectors = batch.column("sha256").to_pylist(), _vectors(batch)
        words = list(zip(*(batch.column(n).to_pylist() for n in names[2:]), strict=True))
        for word in dict.fromkeys(words):
            rows = [row for row, other in enumerate(words) if other == word]
            taken, parts = groups.setdefault(word, ([], []))
            taken.extend(digests[row] for row in rows)
            parts.append(vectors[rows])
    return [
        EmbeddedBatch(tuple(taken), np.concatenate(parts), word[0], Provenance(*word[1:]))
        for word, (taken, parts) in groups.items()
    ]


def read_vectors(data: DataLocation, refs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, Vectors]]:
    """Vectors by (shard key, image SHA-256): (SHA-256, float32 [768]) in the order of the shards.

    Give the references ordered by shard: each shard is then opened once. Memory is bounded, however many
    references there are and however large the shards.

    Raises:
        PermanentError: a shard is missing or does not hold what the ledger says.
    """
    iterator = iter(refs)
    while window := list(islice(iterator, _REFS_AT_ONCE)):
        wanted: dict[str, set[str]] = {}
        for key, digest in window:
            wanted.setdefault(key, set()).add(digest)
        for key, digests in wanted.items():
            yield from _read_some(data, key, digests)


def _read_some(data: DataLocation, key: str, digests: set[str]) -> Iterator[tuple[str, Vectors]]:
    for batch in _batches(data, key, ["sha256", "vector"]):
        found = [
            (row, digest)
            for row, digest in enumerate(batch.column("sha256").to_pylist())
            if digest in digests
        ]
        if found:
            vectors = _vectors(batch)
            for row, digest in found:
                digests.discard(digest)
                yield digest, vectors[row]
        if not digests:
            return
    raise _lacks(data, key, digests)


def _lacks(data: DataLocation, key: str, digests: set[str]) -> PermanentError:
    return PermanentError(
        f"shard {data.describe(key)!r} lacks {len(digests)} vectors that the ledger places there, such as "
        f"that of image {min(digests)}: {_REMEDY}"
    )


def _batches(data: DataLocation, key: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with data.open(key) as stream, _readable(data, key), pq.ParquetFile(stream) as file:
        yield from file.iter_batches(batch_size=_READ_ROWS, columns=columns)


@contextmanager
def _readable(data: DataLocation, key: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise PermanentError(f"shard {data.describe(key)!r} cannot be read ({error}): {_REMEDY}") from error


def _vectors(batch: pa.RecordBatch) -> Vectors:
    column = batch.column("vector")
    flat = column.flatten().to_numpy(zero_copy_only=False)
    vectors: Vectors = flat.astype(np.float32, copy=False).reshape(-1, DIMENSION)
    return vectors


def _check(batch: EmbeddedBatch) -> None:
    rows = len(batch.sha256)
    if rows == 0 or batch.vectors.shape != (rows, DIMENSION):
        raise ValueError(f"{rows} digests with vectors of shape {batch.vectors.shape}")
    for digest in batch.sha256:
        check_sha256(digest)
    if len(set(batch.sha256)) != rows:
        raise ValueError("an image stands twice in one shard")
    norms = np.linalg.norm(batch.vectors, axis=1)
    if not np.all(np.abs(norms - 1.0) < 1e-3):
        raise ValueError("a vector is not finite or not of unit length")
