from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_pipeline.embeddings.shards import read_shard, read_vectors, shard_schema, write_shard
from fashion_pipeline.embeddings.vectors import EmbeddedBatch, Provenance
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.ids import sha256_bytes
from fashion_pipeline.storage import DataLocation

PROVENANCE = Provenance("cpu", "fp32", "full", "torch=2")


def batch(rows: int, seed: int = 0) -> EmbeddedBatch:
    vectors = np.random.default_rng(seed).normal(size=(rows, 768)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = tuple(sha256_bytes(f"{seed}/{row}".encode()) for row in range(rows))
    return EmbeddedBatch(names, vectors, "model-1", PROVENANCE)


@pytest.fixture
def data(tmp_path: Path) -> DataLocation:
    return DataLocation(str(tmp_path))


def test_round_trip(data: DataLocation) -> None:
    written = batch(10_000)
    ref = write_shard(data, written)
    assert ref.rows == 10_000
    assert ref.key.startswith("embeddings/model=model-1/")
    (read,) = read_shard(data, ref.key)
    assert read.sha256 == written.sha256
    assert (read.model_id, read.provenance) == ("model-1", PROVENANCE)
    np.testing.assert_array_equal(read.vectors, written.vectors)


def test_file_is_what_the_contract_says(data: DataLocation, tmp_path: Path) -> None:
    ref = write_shard(data, batch(3))
    table = pq.read_table(tmp_path / ref.key, partitioning=None)
    assert table.schema.field("vector").type == pa.list_(pa.field("item", pa.float32(), nullable=False), 768)
    assert table.column_names == shard_schema().names
    assert table.column("precision").to_pylist() == ["fp32"] * 3
    assert [entry.key for entry in data.list("embeddings")] == [ref.key]


def test_half_precision_by_setting(data: DataLocation, tmp_path: Path) -> None:
    written = batch(50)
    ref = write_shard(data, written, dtype="float16")
    assert pq.read_schema(tmp_path / ref.key).field("vector").type.value_type == pa.float16()
    (read,) = read_shard(data, ref.key)
    assert read.vectors.dtype == np.float32
    assert np.min(np.sum(read.vectors * written.vectors, axis=1)) > 0.999
    assert not np.array_equal(read.vectors, written.vectors)


def test_vectors_by_reference(data: DataLocation) -> None:
    first, second = batch(9_000, 1), batch(20, 2)
    keys = [write_shard(data, first).key, write_shard(data, second).key]
    wanted = {first.sha256[8_999]: first.vectors[8_999], first.sha256[0]: first.vectors[0]}
    wanted[second.sha256[7]] = second.vectors[7]
    refs = [(keys[0], first.sha256[8_999]), (keys[1], second.sha256[7]), (keys[0], first.sha256[0])]
    found = list(read_vectors(data, refs))
    assert sorted(name for name, _ in found) == sorted(wanted)
    for name, vector in found:
        np.testing.assert_array_equal(vector, wanted[name])
    assert list(read_vectors(data, [])) == []


def test_each_shard_is_opened_once(data: DataLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    written = batch(100)
    key = write_shard(data, written).key
    opened: list[str] = []
    real = data.open
    monkeypatch.setattr(data, "open", lambda name: opened.append(name) or real(name))
    assert len(list(read_vectors(data, ((key, name) for name in written.sha256)))) == 100
    assert opened == [key]


def test_missing_vectors_and_shards_are_named(data: DataLocation, tmp_path: Path) -> None:
    key = write_shard(data, batch(5)).key
    absent = "a" * 64
    with pytest.raises(PermanentError, match=absent):
        list(read_vectors(data, [(key, absent)]))
    with pytest.raises(PermanentError, match="gone"):
        list(read_vectors(data, [("embeddings/gone.parquet", absent)]))
    (tmp_path / key).write_bytes((tmp_path / key).read_bytes()[:-9])
    with pytest.raises(PermanentError, match="cannot be read"):
        read_shard(data, key)


def test_merged_shard_keeps_each_provenance(data: DataLocation, tmp_path: Path) -> None:
    one, other = batch(4, 1), batch(3, 2)
    other = EmbeddedBatch(other.sha256, other.vectors, "model-1", Provenance("gpu", "bf16", "draft", "t=3"))
    tables = [
        pq.read_table(tmp_path / write_shard(data, part).key, partitioning=None) for part in (one, other)
    ]
    merged = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    with data.writing("embeddings/merged.parquet") as path:
        pq.write_table(merged, path)
    parts = read_shard(data, "embeddings/merged.parquet")
    assert [part.provenance for part in parts] == [PROVENANCE, other.provenance]
    assert [part.sha256 for part in parts] == [one.sha256, other.sha256]
    np.testing.assert_array_equal(parts[1].vectors, other.vectors)


@pytest.mark.parametrize("spoil", [np.nan, np.inf, 0.0, 2.0])
def test_a_bad_vector_is_not_written(data: DataLocation, spoil: float) -> None:
    vectors = batch(3).vectors.copy()
    vectors[1] *= spoil
    with pytest.raises(ValueError, match="unit length"):
        write_shard(data, EmbeddedBatch(batch(3).sha256, vectors, "model-1", PROVENANCE))
    assert list(data.list("embeddings")) == []


def test_a_misshapen_batch_is_not_written(data: DataLocation) -> None:
    good = batch(3)
    for names, vectors in (
        ((), good.vectors[:0]),
        (good.sha256[:2], good.vectors),
        (good.sha256, good.vectors[:, :512]),
        ((good.sha256[0],) * 3, good.vectors),
        (("x", *good.sha256[1:]), good.vectors),
    ):
        with pytest.raises(ValueError, match=r".+"):
            write_shard(data, EmbeddedBatch(names, vectors, "model-1", PROVENANCE))
    assert list(data.list("embeddings")) == []


def test_a_write_that_breaks_leaves_nothing(data: DataLocation, monkeypatch: pytest.MonkeyPatch) -> None:
    import fashion_pipeline.embeddings.shards as module

    def breaks(table: pa.Table, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(module.pq, "write_table", breaks)
    with pytest.raises(OSError, match="disk full"):
        write_shard(data, batch(3))
    assert list(data.list("embeddings")) == []
    assert list(Path(data.local_root or "").rglob("*.part")) == []
