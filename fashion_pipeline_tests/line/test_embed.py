"""`image_embeddings`: each distinct picture once by the serving model, and nothing lost by `kill -9`."""

import random
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path
from subprocess import DEVNULL, Popen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.embeddings.decode import decode_image
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.embeddings.shards import read_vectors
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.embeddings.vectors import Vectors
from fashion_pipeline.errors import ModelError
from fashion_pipeline.line.embed import embed_by_model
from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.line.conftest import DAY, item
from fashion_pipeline_tests.line.shops import SMALL, Shop, by_name, copy_sparse, jpeg, kill_when_stuck, sha256


@pytest.fixture
def shop(database: Database, tmp_path: Path, demo_model: str, empty_index: Path) -> Shop:
    copy_sparse(empty_index, tmp_path / "parts" / "qdrant")
    return Shop(database, tmp_path / "parts", model=demo_model)


def must_not_load(reference: str) -> Encoder:
    raise AssertionError(f"{reference} was loaded although nothing is due")


def stock(shop: Shop, count: int, first: int = 0) -> list[dict[str, str]]:
    return [item(number, image=shop.picture(number)) for number in range(first, first + count)]


def vectors_in_shards(shop: Shop) -> dict[str, Vectors]:
    return dict(read_vectors(shop.data, sorted((key, digest) for digest, key in shop.ledger().items())))


def encoded_anew(model: str, pictures: list[bytes]) -> dict[str, Vectors]:
    encoder = load_encoder(model, device="cpu", precision="fp32")
    try:
        pixels = [decode_image(each, read_spec(model).preprocessing) for each in pictures]
        vectors = encoder.encode_images(np.stack(pixels))
    finally:
        encoder.close()
    return {sha256(each): vector for each, vector in zip(pictures, vectors, strict=True)}


def test_new_pictures_are_embedded_once_and_the_model_is_not_loaded_for_nothing(shop: Shop) -> None:
    rows = stock(shop, 20)
    shop.run(DAY, rows)
    assert shop.embed(must_not_load).due == 0, "no bytes are known yet"
    shop.images(DAY)
    report = shop.embed()
    assert (report.due, report.entered, report.embedded_before, report.failures) == (20, 20, 0, ())
    assert report.model_id == read_spec(shop.model).image_model_id
    assert sorted(digest for shard in shop.shards().values() for digest in shard) == sorted(shop.ledger())
    wanted = encoded_anew(shop.model, [jpeg(number) for number in range(20)])
    found = vectors_in_shards(shop)
    assert set(found) == set(wanted)
    assert all(np.allclose(found[digest], wanted[digest], atol=1e-4) for digest in wanted)

    shards = shop.shards()
    again = shop.embed(must_not_load)
    assert (again.due, again.entered, again.embedded_before, again.pipeline) == (0, 0, 20, None)
    assert shop.shards() == shards

    next_day = DAY + timedelta(days=1)
    shop.run(next_day, [*rows, *stock(shop, 2, first=20)])
    shop.images(next_day)
    third = shop.embed()
    assert (third.due, third.entered, third.embedded_before) == (2, 2, 20)
    assert {key: shop.shards()[key] for key in shards} == shards, "a shard never changes"


def test_a_picture_of_two_urls_or_two_stores_is_embedded_once(shop: Shop) -> None:
    same = [shop.picture("a", jpeg(1)), shop.picture("b", jpeg(1))]
    shop.run(DAY, [item(1, image=same[0]), item(2, image=same[1]), item(3, image=shop.picture(3))])
    shop.images(DAY)
    assert shop.embed().entered == 2
    other = Shop(shop.database, shop.parts, "other", model=shop.model)
    other.run(DAY, [item(7, image=shop.picture("c", jpeg(1))), item(8, image=same[0])])
    other.images(DAY)
    report = other.embed(must_not_load)
    assert (report.due, report.embedded_before) == (0, 1)
    assert sorted(digest for shard in shop.shards().values() for digest in shard) == sorted(
        [sha256(jpeg(1)), sha256(jpeg(3))]
    )


def test_a_bad_picture_costs_itself_and_is_not_tried_again(shop: Shop) -> None:
    # The header is right and the end is there, so that only decoding finds out.
    whole = jpeg(4, size=200)
    middle = len(whole) // 2
    broken = whole[:middle] + b"\xff\xc0" + bytes(40) + whole[middle + 42 :]
    rows = [*stock(shop, 3), item(4, image=shop.picture("broken", broken))]
    shop.run(DAY, rows)
    images = shop.images(DAY)
    assert images.known == 4, images.fetch
    report = shop.embed()
    assert (report.due, report.entered) == (4, 3)
    (failure,) = report.failures
    assert (failure.sha256, failure.permanent) == (sha256(broken), True)
    assert shop.image_rows()["broken.jpg"]["decode_error"] == failure.error
    assert shop.embed(must_not_load).due == 0
    # Other bytes behind the same address get their chance.
    shop.picture("broken", jpeg(5))
    later = DAY + timedelta(days=30)
    shop.images(later)
    assert shop.image_rows()["broken.jpg"]["decode_error"] is None
    assert shop.embed().entered == 1


def test_shards_hold_half_precision_where_the_settings_say_so(shop: Shop) -> None:
    shop.run(DAY, stock(shop, 5))
    shop.images(DAY)
    embed_by_model(
        shop.database,
        shop.data,
        shop.name,
        model_id=read_spec(shop.model).image_model_id,
        find=lambda: read_spec(shop.model),
        load=lambda ref: load_encoder(ref, device="cpu", precision="fp32"),
        options=SMALL,
        vector_type="float16",
    )
    (key,) = set(shop.ledger().values())
    with shop.data.local_copy(key) as path:
        assert pq.read_schema(path).field("vector").type.value_type == pa.float16()
    wanted, found = encoded_anew(shop.model, [jpeg(number) for number in range(5)]), vectors_in_shards(shop)
    assert all(float(found[digest] @ wanted[digest]) > 0.999 for digest in wanted)


def test_what_decoding_found_of_a_picture_stands_in_the_ledger(shop: Shop) -> None:
    shop.run(
        DAY, [item(1, image=shop.picture("a", jpeg(1, size=40))), item(2, image=shop.picture("b", jpeg(2)))]
    )
    shop.images(DAY)
    shop.execute("UPDATE images SET width = NULL, height = 7 WHERE url LIKE '%a.jpg'")
    shop.embed()
    sizes = {name: (row["width"], row["height"]) for name, row in shop.image_rows().items()}
    assert sizes == {"a.jpg": (40, 40), "b.jpg": (48, 48)}


def test_the_model_folder_is_read_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from fashion_pipeline.line import points

    shop.run(DAY, stock(shop, 2))
    shop.images(DAY)
    serving, read = shop.collection(), list[str]()
    monkeypatch.setattr(points, "read_spec", lambda ref: read.append(ref) or read_spec(ref))
    assert shop.embed().entered == 2
    assert read == [serving.model_ref]


def test_a_fault_of_the_store_is_no_fault_of_the_picture(shop: Shop) -> None:
    shop.run(DAY, stock(shop, 3))
    shop.images(DAY)
    lost = next(entry for entry in shop.data.list("images") if entry.key.endswith(sha256(jpeg(1))))
    content = shop.data.read(lost.key)
    shop.data.delete(lost.key)
    report = shop.embed()
    assert (report.due, report.entered) == (3, 2)
    assert [(each.error, each.permanent) for each in report.failures] == [("read_failed", False)]
    assert shop.image_rows()["1.jpg"]["decode_error"] is None
    asked = shop.images(DAY)
    assert (asked.due, asked.new_pictures) == (1, (sha256(jpeg(1)),))
    assert shop.data.read(lost.key) == content
    assert shop.embed().entered == 1


def test_the_serving_model_is_found_where_it_is_and_no_other_takes_its_place(
    shop: Shop, tmp_path: Path
) -> None:
    first, moved, other = (tmp_path / name for name in ("first", "moved", "other"))
    shutil.copytree(shop.model.removeprefix("local-dir:"), first)
    shop.model = f"local-dir:{first}"
    shutil.rmtree(shop.parts / "qdrant")
    rows = stock(shop, 2)
    shop.run(DAY, rows[:1])
    shop.images(DAY)
    serving = shop.collection()
    shutil.copytree(first, other)
    config = other / "open_clip_config.json"
    config.write_text(config.read_text().replace('"mean"', '"mean": [0.1, 0.1, 0.1], "was"'))

    # The settings name a candidate: the serving model comes from where it was.
    shop.model = f"local-dir:{other}"
    assert read_spec(shop.model).image_model_id != serving.model_id
    asked = []

    def load(reference: str) -> Encoder:
        asked.append(reference)
        return load_encoder(reference, device="cpu", precision="fp32")

    assert shop.embed(load).entered == 1
    assert asked == [f"local-dir:{first}"]

    # Its folder is gone, and nothing but the other model is left.
    first.rename(moved)
    shop.run(DAY + timedelta(days=1), rows)
    shop.images(DAY + timedelta(days=1))
    with pytest.raises(ModelError, match="does not exist"):
        shop.embed(must_not_load)
    shutil.copytree(other, first)
    with pytest.raises(ModelError, match="Put that model's folder back"):
        shop.embed(must_not_load)
    assert len(shop.ledger()) == 1

    # The settings say where it lies now.
    shop.model = f"local-dir:{moved}"
    assert shop.embed(load).entered == 1
    assert asked[1:] == [f"local-dir:{moved}"]
    assert shop.collection().model_id == serving.model_id


def start_and_kill(shop: Shop, *, after_rows: int, delay: float = 0.0) -> int:
    """Kill -9 an embedding process when so many vectors stand in the ledger; how many stand then."""
    command = [sys.executable, "-m", "fashion_pipeline_tests.line.worker", "embed"]
    arguments = [shop.database.url.render_as_string(hide_password=False), str(shop.parts), shop.name]
    with Popen([*command, *arguments, shop.model], cwd=ROOT, stdout=DEVNULL) as child:
        deadline = time.monotonic() + 120
        while len(shop.ledger()) < after_rows and child.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(delay)
        child.kill()
    return len(shop.ledger())


def check_complete(shop: Shop, pictures: dict[str, bytes], kills: int) -> None:
    ledger, shards = shop.ledger(), shop.shards()
    assert by_name(ledger, pictures) == set(pictures)
    for digest, key in ledger.items():
        assert shards[key].count(digest) == 1
    # What a killed run wrote without entering it is at most one batch a kill.
    written = [digest for shard in shards.values() for digest in shard]
    assert len(written) - len(ledger) <= 16 * kills
    wanted = encoded_anew(shop.model, list(pictures.values()))
    found = vectors_in_shards(shop)
    assert set(found) == set(wanted)
    assert all(np.allclose(found[digest], wanted[digest], atol=1e-4) for digest in wanted)
    assert shop.embed(must_not_load).due == 0


def test_killed_with_a_shard_that_is_not_entered(shop: Shop) -> None:
    count = 96
    pictures = {str(number): jpeg(number) for number in range(count)}
    shop.run(DAY, stock(shop, count))
    shop.images(DAY)
    kill_when_stuck(shop, "embed", "embeddings", entered=16)
    entered = shop.ledger()
    assert 16 <= len(entered) < count
    (garbage,) = set(shop.shards()) - set(entered.values())
    report = shop.embed()
    rest = count - len(entered)
    assert (report.embedded_before, report.due, report.entered) == (len(entered), rest, rest)
    assert {digest: shop.ledger()[digest] for digest in entered} == entered, "embedded twice"
    assert garbage not in shop.ledger().values()
    check_complete(shop, pictures, kills=1)


@pytest.mark.slow
def test_killed_again_and_again_at_any_moment(shop: Shop) -> None:
    count, kills = 400, 6
    pictures = {str(number): jpeg(number) for number in range(count)}
    shop.run(DAY, stock(shop, count))
    shop.images(DAY)
    draw = random.Random(7)
    kept = 0
    for _ in range(kills):
        kept = start_and_kill(shop, after_rows=kept + 16, delay=draw.uniform(0, 0.5))
    shop.embed()
    check_complete(shop, pictures, kills)
