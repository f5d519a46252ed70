"""`fashion-pipeline index`: another model there and back while a search loop runs; rebuild; delete; reconcile."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.errors import FashionPipelineError
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.search import search
from fashion_pipeline.index.types import Point
from fashion_pipeline_tests.commands.conftest import Said
from fashion_pipeline_tests.line.shops import other_model_folder
from fashion_pipeline_tests.small_world import SECOND, SmallWorld, metadata

Call = Callable[..., Said]


@pytest.fixture
def other_model(demo_model: str, tmp_path: Path) -> str:
    return other_model_folder(demo_model, tmp_path)


@contextmanager
def searching(folder: Path) -> Iterator[list[int]]:
    """Searches through the alias all along, in a thread; the number of hits of each, and no failure."""
    vector = np.eye(1, 768, dtype=np.float32)[0]
    stop, found, failures = threading.Event(), list[int](), list[FashionPipelineError]()

    def loop() -> None:
        store = EdgeStore(folder)
        while not stop.is_set():
            try:
                found.append(len(search(store, "products", vector, limit=5)))
                stop.wait(0.02)
            except FashionPipelineError as error:
                failures.append(error)
                return

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join(60)
    assert failures == []
    assert len(found) > 5
    assert set(found) == {5}


def names(said: Said) -> list[str]:
    return [line for line in said.out.splitlines() if "products-" in line]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_another_model_there_and_back(
    here: SmallWorld, fashion_pipeline: Call, other_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, first = here.vectors(), here.collection()
    closed = fashion_pipeline("index", "promote")
    assert closed.code == 1
    assert "nothing to promote" in closed.error
    assert fashion_pipeline("index", "rollback").code == 1
    monkeypatch.setenv("FASHION_PIPELINE_MODEL", other_model)
    here.environ["FASHION_PIPELINE_MODEL"] = other_model
    early = fashion_pipeline("index", "promote")
    assert early.code == 1
    assert "run fill_candidate" in early.error

    with searching(here.data / "qdrant"):
        part = fashion_pipeline("index", "fill", "--store", "alpha", "--max-pictures", "5")
        assert (part.code, part.error) == (1, ""), "pictures are left"
        candidate = f"products-{read_spec(other_model).image_model_id}"
        assert vectors.count(candidate) == 5
        incomplete = fashion_pipeline("index", "promote")
        assert incomplete.code == 1
        assert "7 products of alpha" in incomplete.error
        assert "7 products of beta" in incomplete.error
        assert here.collection() == first
        filled = fashion_pipeline("index", "fill")
        assert filled.code == 0, filled.error
        assert "100.0% complete" in filled.out

        # A day of the line while both live: the price, the deletion and the new product reach both.
        rows = here.rows("alpha", 12)
        rows[0]["price"] = "99.00 EUR"
        here.feed("alpha", SECOND, [*rows[:11], here.row("alpha", 12, image=rows[3]["image"])])
        result = here.run("line", day=SECOND)
        assert result.success
        found = metadata(result, "product_points")
        assert (found["payloads_updated"], found["deleted"], found["inserted"]) == (1, 1, 1)
        ids = {name: row["id"] for name, row in here.products().items()}
        for name in (first, candidate):
            points = vectors.retrieve(name, list(ids.values()), fields=("price",))
            assert points[ids["alpha-0"]].payload["price"] == 99.0
            assert ids["alpha-11"] not in points
            assert ids["alpha-12"] in points
        collection = metadata(here.run("collection"), "qdrant_collection")
        assert collection["serving_collection"] == first
        assert collection["candidate_waiting"] == 0
        shown = {record.data["collection"]: record.data for record in collection["collections"].records}
        assert (shown[first]["role"], shown[candidate]["role"]) == ("serving", "candidate")
        assert shown[candidate]["what_to_do"] == "promote it"

        promoted = fashion_pipeline("index", "promote", "--margin", "0.1")
        assert promoted.code == 0, promoted.error
        assert "recall@10" in promoted.out
        assert here.collection() == candidate
        assert fashion_pipeline("search", "red striped dress").code == 0
        assert fashion_pipeline("index", "reconcile").code == 0
        serving, old = names(fashion_pipeline("index", "collections"))
        assert candidate in serving
        assert "serving" in serving
        assert f"fashion-pipeline index delete {first}" in old
        assert fashion_pipeline("index", "delete", candidate).code == 1

        back = fashion_pipeline("index", "rollback")
        assert back.code == 0, back.error
        assert here.collection() == first
        assert fashion_pipeline("index", "promote", "--margin", "0.1").code == 0
        assert here.collection() == candidate
        assert fashion_pipeline("index", "delete", first).code == 0
    assert first not in vectors.collections()
    gone = fashion_pipeline("index", "rollback")
    assert gone.code == 1
    assert "was deleted" in gone.error
    assert here.table("SELECT action FROM alias_moves WHERE alias = 'products' ORDER BY created_at") == [
        {"action": action} for action in ("first", "promote", "rollback", "promote")
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_candidate_that_finds_less_is_not_promoted(
    here: SmallWorld, fashion_pipeline: Call, other_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_PIPELINE_MODEL", other_model)
    assert fashion_pipeline("index", "fill").code == 0
    first, vectors = here.collection(), here.vectors()
    candidate = f"products-{read_spec(other_model).image_model_id}"
    # Every picture gets another one's vector: the ids and hashes agree, and the search is worthless.
    ids = [id_ for id_, _ in vectors.scroll(candidate)]
    points = vectors.retrieve(candidate, ids, with_vectors=True)
    pictures = sorted({point.payload["image_sha256"] for point in points.values()})
    taken = {point.payload["image_sha256"]: point.vector for point in points.values()}
    turned = dict(zip(pictures, [-taken[each] for each in pictures], strict=True))
    vectors.upsert(
        candidate,
        [Point(id_, turned[p.payload["image_sha256"]], p.payload) for id_, p in points.items()],
    )
    refused = fashion_pipeline("index", "promote")
    assert refused.code == 1
    assert "the candidate finds less" in refused.error
    assert here.collection() == first


def test_rebuild_needs_no_model_and_never_goes_dark(
    here: SmallWorld, fashion_pipeline: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vectors, first = here.vectors(), here.collection()
    before = dict(vectors.scroll(first, fields=("payload_hash",)))
    monkeypatch.setenv("FASHION_PIPELINE_MODEL", f"local-dir:{tmp_path}/nothing")
    with searching(here.data / "qdrant"):
        said = fashion_pipeline("index", "rebuild")
        assert said.code == 0, said.error
        assert "24 points written" in said.out
    assert here.collection() == f"{first}-r2"
    assert dict(vectors.scroll(f"{first}-r2", fields=("payload_hash",))) == before
    monkeypatch.delenv("FASHION_PIPELINE_MODEL")
    assert fashion_pipeline("index", "reconcile").code == 0
    assert fashion_pipeline("index", "rollback").code == 0
    assert here.collection() == first


def test_points_that_no_store_owns_are_seen_and_mended(here: SmallWorld, fashion_pipeline: Call) -> None:
    vectors, name = here.vectors(), here.collection()
    vector = np.eye(1, 768, dtype=np.float32)[0]
    strays = [
        Point(uuid.uuid4(), vector, {"by": "someone else"}),
        Point(uuid.uuid4(), vector, {"store_id": "left-long-ago", "payload_hash": "0" * 32}),
    ]
    vectors.upsert(name, strays)
    said = fashion_pipeline("index", "reconcile")
    assert said.code == 1
    assert any("(no store)" in line and "--repair" in line for line in said.out.splitlines())
    assert any("left-long-ago" in line and "--repair" in line for line in said.out.splitlines())
    check = here.run("reconcile")
    (evaluation,) = check.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.metadata["foreign"].value == 2
    assert fashion_pipeline("index", "reconcile", "--repair").code == 0
    assert vectors.retrieve(name, [stray.id for stray in strays]) == {}
    (evaluation,) = here.run("reconcile").get_asset_check_evaluations()
    assert evaluation.passed


def test_a_wrong_feeds_file_does_not_empty_the_index(
    here: SmallWorld, fashion_pipeline: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fashion_pipeline.line.reconcile.REMOVE_ALWAYS", 5)
    text = here.feeds_file.read_text()
    here.feeds_file.write_text(text.replace("id: beta", "id: gamma"))
    refused = fashion_pipeline("index", "reconcile", "--repair")
    assert refused.code == 1
    assert "12 of 24 points" in refused.error
    assert "12 of beta" in refused.error
    assert here.points() == 24
    assert fashion_pipeline("index", "reconcile", "--repair", "--remove-many").code == 0
    assert here.points() == 12


def test_a_collection_of_another_name_is_refused(here: SmallWorld, fashion_pipeline: Call) -> None:
    for words in (("delete", "nothing"), ("reconcile", "--collection", "nothing")):
        said = fashion_pipeline("index", *words)
        assert said.code == 1
        assert here.collection() in said.error


def test_what_only_a_server_has_is_refused(
    here: SmallWorld, fashion_pipeline: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_TUNING", "hnsw_m=32,quantization=int8")
    said = fashion_pipeline("index", "reconcile", "--repair")
    assert said.code == 1
    assert "hnsw_m, quantization" in said.error
    monkeypatch.setenv("QDRANT_TUNING", "hnsw_m=one")
    assert "a whole number" in fashion_pipeline("index", "collections").error
