"""Upkeep of vector shards on real parts: verified, merged, collected; nothing lost on the way."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.embeddings.shards import read_shard, read_vectors
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.line import shards as module
from fashion_pipeline.line.live import Wanted, as_target
from fashion_pipeline.line.points import write_points
from fashion_pipeline.line.promotion import prepare_candidate
from fashion_pipeline.line.reconcile import reconcile_store, repair_store
from fashion_pipeline.line.shards import VerifyReport, collect_shards, compact_shards, verify_vectors
from fashion_pipeline_tests.line.conftest import DAY, item
from fashion_pipeline_tests.line.shops import (
    ALIAS,
    Shop,
    copy_sparse,
    jpeg,
    kill_when_stuck,
    other_model_folder,
    sha256,
)

NOW, DAY_LONG = timedelta(0), timedelta(hours=24)


@pytest.fixture
def shop(database: Database, tmp_path: Path, demo_model: str, empty_index: Path) -> Shop:
    copy_sparse(empty_index, tmp_path / "parts" / "qdrant")
    return Shop(database, tmp_path / "parts", model=demo_model)


def stock(shop: Shop, count: int) -> None:
    shop.run(DAY, [item(number, image=shop.picture(number)) for number in range(count)])
    shop.images(DAY)


def vectors(shop: Shop) -> dict[str, np.ndarray]:
    return dict(read_vectors(shop.data, sorted((key, digest) for digest, key in shop.ledger().items())))


def load(ref: str) -> Encoder:
    return load_encoder(ref, device="cpu", precision="fp32")


def verify(shop: Shop, **options: Any) -> VerifyReport:
    return verify_vectors(
        shop.database, shop.data, read_spec(shop.model), load=load, **{"sample": 100} | options
    )


def rewrite(shop: Shop, digest: str, vector: np.ndarray) -> None:
    """Put another vector into the shard of a picture, as a fault would."""
    root = shop.data.local_root
    assert root is not None
    path = root / shop.ledger()[digest]
    table = pq.read_table(path, partitioning=None)
    rows = np.stack(table.column("vector").to_pylist()).astype(np.float32)
    rows[table.column("sha256").to_pylist().index(digest)] = vector
    values = pa.FixedSizeListArray.from_arrays(
        pa.array(rows.reshape(-1)), type=table.schema.field("vector").type
    )
    pq.write_table(table.set_column(1, table.schema.field("vector"), values), path)


def test_a_sample_is_embedded_anew_and_agrees(shop: Shop) -> None:
    stock(shop, 40)
    shop.embed()
    report = verify(shop)
    assert (report.sampled, report.compared, report.right) == (40, 40, True)
    assert report.worst_cosine > 0.99999
    few = verify(shop, sample=7, seed=3)
    assert (few.sampled, few.compared) == (7, 7)
    assert verify(shop, sample=0).right


def test_what_is_wrong_is_named_forgotten_and_embedded_anew_and_its_point_written_again(shop: Shop) -> None:
    stock(shop, 20)
    shop.embed()
    shop.points()
    before = vectors(shop)
    wrong, lost, gone = (sha256(jpeg(number)) for number in (3, 4, 5))
    rewrite(shop, wrong, -before[wrong])
    shop.execute(
        "UPDATE embeddings SET shard_key = 'embeddings/gone.parquet' WHERE image_sha256 = :d", d=lost
    )
    shop.data.delete(next(e.key for e in shop.data.list("images") if e.key.endswith(gone)))

    report = verify(shop)
    assert [digest for digest, _ in report.differing] == [wrong]
    assert {digest for digest, _ in report.unreadable} == {lost, gone}
    assert (report.right, report.forgotten) == (False, 0)
    assert len(shop.ledger()) == 20

    mended = verify(shop, repair=True)
    assert mended.forgotten == 2, "a picture that is gone is no fault of its vector"
    assert set(before) - set(shop.ledger()) == {wrong, lost}
    # Until they are embedded their points are told of, and stay.
    kept = repair_store(shop.database, shop.data, shop.index, shop.name, serving=shop.collection())
    assert (kept.before.counts["stale_vector"], kept.before.differences, kept.removed) == (2, 2, 0)
    assert (kept.points.deleted, kept.after.differences, len(shop.indexed())) == (0, 2, 20)
    assert shop.embed().entered == 2
    after = vectors(shop)
    assert all(np.allclose(after[digest], before[digest], atol=1e-4) for digest in before)
    assert shop.points().vectors_updated == 2
    assert reconcile_store(shop.database, shop.index, shop.name, serving=shop.collection()).agrees
    points = shop.indexed()
    for number in range(20):
        assert np.allclose(points[f"sku-{number}"].vector, before[sha256(jpeg(number))], atol=1e-4)


def test_a_folder_that_is_not_mounted_does_not_have_everything_embedded_anew(shop: Shop) -> None:
    stock(shop, 30)
    shop.collection()
    shop.invent_vectors()
    ledger = shop.ledger()
    folder = shop.parts / "data" / "embeddings"
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(
        module.PermanentError, match=r"30 of 30 vectors differ \(0\) or cannot be read \(30\)"
    ):
        verify(shop, repair=True)
    assert shop.ledger() == ledger
    assert verify(shop, sample=20, repair=True).forgotten == 20, "so few are repaired whatever their share is"
    folder.with_name("elsewhere").rename(folder)
    shop.invent_vectors()
    with pytest.raises(module.PermanentError, match=r"30 of 30 vectors differ \(30\).*--repair-many"):
        verify(shop, repair=True)
    assert len(shop.ledger()) == 30
    assert verify(shop, repair=True, repair_many=True).forgotten == 30
    assert shop.ledger() == {}


def test_what_is_forgotten_of_one_model_leaves_the_points_of_another_alone(
    shop: Shop, demo_model: str, tmp_path: Path
) -> None:
    stock(shop, 4)
    shop.embed()
    shop.points()
    wanted = Wanted(ALIAS, other_model_folder(demo_model, tmp_path), "test")
    other = as_target(prepare_candidate(shop.database, shop.index, wanted))
    shop.invent_vectors(other)
    write_points(shop.database, shop.data, shop.index, shop.name, serving=other)
    wrong = sha256(jpeg(3))
    model = shop.collection().model_id
    before = dict(shop.index.scroll(other.collection, fields=("image_sha256",)))
    shop.execute(
        "UPDATE embeddings SET shard_key = 'embeddings/gone.parquet' WHERE image_sha256 = :d AND model_id = :m",
        d=wrong,
        m=model,
    )
    assert verify(shop, repair=True).forgotten == 1
    # The other model's collection is as it was: nothing to write, nothing that looks like an orphan.
    assert reconcile_store(shop.database, shop.index, shop.name, serving=other).agrees
    written = shop.index.points_written
    write_points(shop.database, shop.data, shop.index, shop.name, serving=other)
    assert shop.index.points_written == written
    assert dict(shop.index.scroll(other.collection, fields=("image_sha256",))) == before
    # This model's row keeps saying which vector its point has, which is written whole.
    serving = shop.collection().collection
    entry = "SELECT payload_hash FROM index_entries WHERE collection = :c AND image_sha256 = :d"
    assert shop.rows(entry, c=serving, d=wrong) == [{"payload_hash": "whole"}]
    assert shop.embed().entered == 1
    assert shop.points().vectors_updated == 1
    assert reconcile_store(shop.database, shop.index, shop.name, serving=shop.collection()).agrees


def test_small_shards_become_one_and_the_old_files_go_later(shop: Shop) -> None:
    stock(shop, 60)
    shop.embed()
    before, old = vectors(shop), shop.shards()
    old_refs = sorted((key, digest) for digest, key in shop.ledger().items())
    assert len(old) >= 3

    report = compact_shards(shop.database, shop.data)
    assert (report.shards_before, report.merged, report.written, report.vectors) == (
        len(old),
        len(old),
        1,
        60,
    )
    (key,) = set(shop.ledger().values())
    (merged,) = read_shard(shop.data, key)
    assert dict(zip(merged.sha256, map(bytes, merged.vectors), strict=True)) == {
        digest: bytes(vector) for digest, vector in before.items()
    }, "not one bit changes"
    assert len(dict(read_vectors(shop.data, old_refs))) == 60, "who knows the old files still reads them"
    assert shop.points().inserted == 60

    waiting = collect_shards(shop.database, shop.data, remove=True)
    assert (waiting.files, waiting.unreferenced, waiting.due, waiting.removed) == (
        len(old) + 1,
        len(old),
        0,
        0,
    )
    told = collect_shards(shop.database, shop.data, age=NOW)
    assert (told.due, told.removed) == (len(old), 0), "a dry run removes nothing"
    done = collect_shards(shop.database, shop.data, age=NOW, remove=True)
    assert done.removed == len(old)
    assert done.removed_bytes > 0
    assert set(shop.shards()) == {key}
    assert shop.rows("SELECT * FROM unreferenced_shards") != []
    collect_shards(shop.database, shop.data)
    assert shop.rows("SELECT * FROM unreferenced_shards") == []
    assert compact_shards(shop.database, shop.data).merged == 0, "one shard is left as it is"
    assert verify(shop).right


def test_what_a_killed_run_left_unfinished_goes_by_its_age(shop: Shop) -> None:
    stock(shop, 8)
    shop.embed()
    (key,) = shop.shards()
    place = shop.parts / "data" / key
    left = place.with_name(".0123.part")
    left.write_bytes(b"half")
    young = collect_shards(shop.database, shop.data, remove=True)
    assert (young.due, young.removed) == (0, 0)
    assert left.exists()
    old = collect_shards(shop.database, shop.data, age=NOW, remove=True)
    assert (old.due, old.removed, old.removed_bytes) == (1, 1, 4)
    assert not left.exists()
    assert place.exists()


def test_merging_is_bounded_and_only_for_small_shards(shop: Shop) -> None:
    stock(shop, 60)
    shop.embed()
    before, sizes = vectors(shop), [len(digests) for digests in shop.shards().values()]
    assert max(sizes) <= 16
    compact_shards(shop.database, shop.data, rows=40)
    rows = [len([1 for each in shop.ledger().values() if each == key]) for key in set(shop.ledger().values())]
    assert max(rows) <= 40
    assert len(rows) < len(sizes)
    again = compact_shards(shop.database, shop.data, rows=20)
    assert all(np.array_equal(vectors(shop)[digest], before[digest]) for digest in before)
    assert again.vectors <= 20


def test_a_vector_that_two_shards_hold_is_kept_where_the_ledger_says(shop: Shop) -> None:
    stock(shop, 30)
    shop.embed()
    ledger = shop.ledger()
    forgotten = sorted(ledger)[:3]
    shop.execute("DELETE FROM embeddings WHERE image_sha256 = ANY(:d)", d=forgotten)
    shop.embed()
    assert {digest: key for digest, key in shop.ledger().items() if digest not in forgotten} == {
        digest: key for digest, key in ledger.items() if digest not in forgotten
    }
    compact_shards(shop.database, shop.data)
    (key,) = set(shop.ledger().values())
    digests = shop.shards()[key]
    assert sorted(digests) == sorted(ledger), "each once"


def test_killed_before_the_ledger_names_it_a_merged_shard_is_an_orphan(shop: Shop) -> None:
    stock(shop, 40)
    shop.embed()
    before, ledger = vectors(shop), shop.ledger()
    kill_when_stuck(shop, "compact", "embeddings")
    assert shop.ledger() == ledger
    (orphan,) = set(shop.shards()) - set(ledger.values())
    assert compact_shards(shop.database, shop.data).vectors == 40
    assert all(np.array_equal(vectors(shop)[digest], before[digest]) for digest in before)
    assert collect_shards(shop.database, shop.data, age=NOW, remove=True).removed >= 1
    assert orphan not in shop.shards()
    assert set(vectors(shop)) == set(before)


def test_an_orphan_waits_for_its_age_and_a_shard_that_is_entered_loses_its_mark(shop: Shop) -> None:
    stock(shop, 8)
    shop.embed()
    (key,) = shop.shards()
    copy = key.replace(".parquet", "-copy.parquet")
    shop.data.write(copy, shop.data.read(key))
    assert collect_shards(shop.database, shop.data, remove=True).removed == 0
    shop.execute("UPDATE unreferenced_shards SET since = since - interval '25 hours'")
    shop.execute("UPDATE embeddings SET shard_key = :copy", copy=copy)
    report = collect_shards(shop.database, shop.data, age=DAY_LONG, remove=True)
    assert (report.unreferenced, report.due) == (1, 0), "now the first file is the one that nothing names"
    shop.execute("UPDATE unreferenced_shards SET since = since - interval '25 hours'")
    assert collect_shards(shop.database, shop.data, remove=True).removed == 1
    assert list(shop.shards()) == [copy]
    assert len(vectors(shop)) == 8


def test_a_missing_or_foreign_shard_ends_the_merge_and_changes_nothing(shop: Shop) -> None:
    stock(shop, 40)
    shop.embed()
    ledger = shop.ledger()
    victim = sorted(set(ledger.values()))[0]
    root = shop.data.local_root
    assert root is not None
    (root / victim).rename(root / "aside")
    with pytest.raises(module.PermanentError, match="was never written there, was pruned"):
        compact_shards(shop.database, shop.data)
    shutil.copy(root / sorted(set(ledger.values()))[1], root / victim)
    with pytest.raises(module.PermanentError, match="lacks"):
        compact_shards(shop.database, shop.data)
    assert shop.ledger() == ledger
    (root / "aside").rename(root / victim)
    assert compact_shards(shop.database, shop.data).vectors == 40
