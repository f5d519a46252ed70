from pathlib import Path

import numpy as np
import pytest

from fashion_pipeline.errors import CollectionError, PermanentError, SettingsError
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.open import close_stores, open_store
from fashion_pipeline.index.search import recommend, search, search_like
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import SearchFilter, Taste
from fashion_pipeline_tests.index.making import id_of, near, point, points, spec, vector_of


@pytest.fixture
def filled(store: VectorStore, name: str) -> str:
    """Three dresses in a row from `vector_of(1)`, the first with a variant of its own, and two others."""
    base = vector_of(1)
    store.upsert(
        name,
        [
            point(0, vector=base, item_group_id="first"),
            point(3, vector=base, item_group_id="first"),
            point(1, vector=near(base, 0.2, 1)),
            point(2, vector=near(base, 0.4, 2)),
            point(4, vector=vector_of(4), color="blue"),
            point(5, vector=vector_of(5), color="blue"),
        ],
    )
    return name


def test_search_shows_one_variant_unless_told(store: VectorStore, filled: str) -> None:
    hits = search(store, filled, vector_of(1), limit=3)
    assert hits[0].id in (id_of(0), id_of(3))
    assert [hit.id for hit in hits[1:]] == [id_of(1), id_of(2)]
    every = search(store, filled, vector_of(1), limit=3, group=False)
    assert {hit.id for hit in every[:2]} == {id_of(0), id_of(3)}
    blue = search(store, filled, vector_of(1).tolist(), filter=SearchFilter(color="blue"), fields=["color"])
    assert {hit.id for hit in blue} == {id_of(4), id_of(5)}
    assert blue[0].payload == {"color": "blue"}


def test_search_like_leaves_out_itself_and_its_variants(store: VectorStore, filled: str) -> None:
    assert [hit.id for hit in search_like(store, filled, id_of(0), limit=2)] == [id_of(1), id_of(2)]
    flat = search_like(store, filled, id_of(0), limit=2, group=False)
    assert [hit.id for hit in flat] == [id_of(3), id_of(1)]
    blue = search_like(store, filled, id_of(4), filter=SearchFilter(color="blue"))
    assert [hit.id for hit in blue] == [id_of(5)]
    with pytest.raises(PermanentError, match=str(id_of(99))):
        search_like(store, filled, id_of(99))


def test_recommend(store: VectorStore, filled: str) -> None:
    hits = recommend(store, filled, like=[id_of(0), id_of(99)], unlike=[id_of(4)], limit=10)
    assert [hit.id for hit in hits][:2] == [id_of(1), id_of(2)]
    assert {hit.id for hit in hits} == {id_of(1), id_of(2), id_of(5)}
    only = recommend(store, filled, like=[], unlike=[id_of(0)], limit=10)
    assert {id_of(0), id_of(3)}.isdisjoint({hit.id for hit in only})
    with pytest.raises(PermanentError, match="none of the 1 liked"):
        recommend(store, filled, like=[id_of(99)])
    with pytest.raises(ValueError, match="at least one"):
        Taste(like=[])


def test_what_search_refuses(edge: EdgeStore) -> None:
    edge.ensure_collection(spec("c"))
    edge.upsert("c", points(1))
    with pytest.raises(ValueError, match="limit"):
        search(edge, "c", vector_of(1), limit=0)
    with pytest.raises(ValueError, match="one finite vector"):
        search(edge, "c", np.ones((2, 768), np.float32))
    with pytest.raises(ValueError, match="one finite vector"):
        search(edge, "c", np.full(768, np.inf, np.float32))
    with pytest.raises(CollectionError, match="768"):
        search(edge, "c", np.ones(5, np.float32))
    with pytest.raises(CollectionError, match="no collection 'serving'"):
        search(edge, "serving", vector_of(1))
    with pytest.raises(ValueError, match="brand is an empty list"):
        SearchFilter(brand=[])


def test_one_store_per_process(tmp_path: Path) -> None:
    one = open_store(folder=tmp_path / "a")
    try:
        assert open_store(folder=tmp_path / "a") is one
        assert open_store(folder=tmp_path / "b") is not one
        server = open_store(url="http://127.0.0.1:1")
        assert open_store(url="http://127.0.0.1:1") is server
        assert open_store(url="http://127.0.0.1:1", timeout=5) is not server
        assert not (tmp_path / "a").exists()
        for nothing in (None, ""):
            with pytest.raises(SettingsError, match="neither"):
                open_store(url=nothing)
        with pytest.raises(SettingsError, match="both"):
            open_store(url="http://127.0.0.1:1", folder=tmp_path)
    finally:
        close_stores()
    assert open_store(folder=tmp_path / "a") is not one
