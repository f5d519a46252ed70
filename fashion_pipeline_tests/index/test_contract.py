"""One body of tests for every engine: what `VectorStore` guarantees."""

import uuid
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from fashion_pipeline.errors import CollectionError
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.tuning import read_tuning
from fashion_pipeline.index.types import PAYLOAD_INDEXES, IdRange, SearchFilter, Taste, Vector
from fashion_pipeline_tests.index.making import id_of, near, point, points, spec, vector_of


def fresh() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


def assert_near(found: Vector | None, expected: Vector | None) -> None:
    assert found is not None
    assert expected is not None
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert float(np.abs(found - expected).max()) < 1e-6


def test_is_a_vector_store(store: VectorStore) -> None:
    assert isinstance(store, VectorStore)
    health = store.health()
    assert health.ok
    assert health.version


# -- collections


def test_ensure_creates_once(store: VectorStore) -> None:
    name = fresh()
    assert name not in store.collections()
    assert store.ensure_collection(spec(name)) is True
    created_at = store.describe(name).metadata["created_at"]
    assert store.metadata(name) == store.describe(name).metadata
    store.upsert(name, points(3))
    assert store.ensure_collection(spec(name, pipeline_version="0.2.0", model_ref="elsewhere")) is False
    info = store.describe(name)
    assert (info.name, info.dimension, info.distance, info.points) == (name, 768, "cosine", 3)
    assert info.metadata == {
        "model_id": "demo-0123456789ab",
        "model_ref": "local-dir:demo",
        "pipeline_version": "0.1.0",
        "created_at": created_at,
    }
    assert name in store.collections()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dimension": 512}, ["dimension is 768, wanted 512"]),
        ({"model_id": "other-model"}, ["model is demo-0123456789ab, wanted other-model"]),
        ({"dimension": 32, "model_id": "x"}, ["dimension is 768, wanted 32", "model is"]),
    ],
)
def test_another_shape_or_model_is_refused(
    store: VectorStore, name: str, change: dict[str, Any], words: list[str]
) -> None:
    store.upsert(name, points(1))
    with pytest.raises(CollectionError) as caught:
        store.ensure_collection(spec(name, **change))
    assert name in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert store.count(name) == 1


def test_another_distance_is_refused(store: VectorStore, name: str) -> None:
    with pytest.raises(CollectionError, match="distance is cosine, wanted dot"):
        store.ensure_collection(spec(name, distance="dot"))


def test_drop(store: VectorStore, name: str) -> None:
    store.upsert(name, points(2))
    store.drop_collection(name)
    assert name not in store.collections()
    with pytest.raises(CollectionError, match=name):
        store.count(name)
    store.drop_collection(name)
    assert store.ensure_collection(spec(name)) is True
    assert store.count(name) == 0


def test_what_is_missing_is_named(store: VectorStore) -> None:
    name = fresh()
    for ask in (
        lambda: store.describe(name),
        lambda: store.metadata(name),
        lambda: store.count(name),
        lambda: store.upsert(name, points(1)),
        lambda: list(store.scroll(name)),
        lambda: store.query(name, vector_of(1), limit=1),
        lambda: store.set_alias("test-alias", name),
        lambda: store.set_payload(name, {id_of(1): {}}),
        lambda: store.delete(name, [id_of(1)]),
    ):
        with pytest.raises(CollectionError, match=name):
            ask()
    assert store.alias("test-alias") is None


@pytest.mark.parametrize("bad", ["", "../up", ".hidden", "a/b", "_x", "ü", "a" * 129])
def test_bad_names_are_refused(store: VectorStore, bad: str) -> None:
    with pytest.raises(CollectionError, match="name"):
        store.ensure_collection(spec(bad))
    with pytest.raises(CollectionError, match="name"):
        store.count(bad)
    with pytest.raises(CollectionError, match="name"):
        store.alias(bad)


# -- aliases


def test_alias_moves_and_is_followed(store: VectorStore, name: str) -> None:
    alias, other = fresh(), fresh()
    store.ensure_collection(spec(other))
    store.upsert(name, points(2))
    assert store.alias(alias) is None
    store.set_alias(alias, name)
    store.set_alias(alias, name)
    assert store.alias(alias) == name
    assert store.describe(alias).name == name
    assert store.count(alias) == 2
    store.upsert(alias, [point(7)])
    assert store.count(name) == 3
    store.set_alias(alias, other)
    assert store.aliases()[alias] == other
    assert store.count(alias) == 0
    assert store.count(name) == 3


def test_alias_guards(store: VectorStore, name: str) -> None:
    alias, other = fresh(), fresh()
    store.ensure_collection(spec(other))
    store.set_alias(alias, name)
    with pytest.raises(CollectionError, match=alias):
        store.drop_collection(name)
    with pytest.raises(CollectionError, match=alias):
        store.drop_collection(alias)
    with pytest.raises(CollectionError, match="another alias"):
        store.set_alias(other, name)
    with pytest.raises(CollectionError, match="is an alias"):
        store.ensure_collection(spec(alias))
    assert store.aliases()[alias] == name
    assert {name, other} <= set(store.collections())


# -- points


def test_points_come_back_as_they_went_in(store: VectorStore, name: str) -> None:
    sent = points(30)
    assert store.upsert(name, iter(sent)) == 30
    assert store.count(name) == 30
    found = store.retrieve(name, [p.id for p in sent] + [id_of(999)], with_vectors=True)
    assert set(found) == {p.id for p in sent}
    for p in sent:
        assert found[p.id].payload == p.payload
        assert isinstance(found[p.id].id, UUID)
        assert_near(found[p.id].vector, p.vector)
    plain = store.retrieve(name, [sent[0].id], fields=["title"])
    assert plain[sent[0].id].vector is None
    assert plain[sent[0].id].payload == {"title": "Robe d'été n° 0 夏のドレス 👗"}


def test_unicode_and_nulls_in_payloads(store: VectorStore, name: str) -> None:
    payload = {"title": "“Ærø” \u202e😀\U0010ffff", "none": None, "list": ["ß", "ss"], "zero": "a\x00b"[:1]}
    store.upsert(name, [point(1)])
    store.set_payload(name, {id_of(1): payload})
    assert store.retrieve(name, [id_of(1)])[id_of(1)].payload == payload


def test_upsert_replaces_whole_points(store: VectorStore, name: str) -> None:
    store.upsert(name, [point(1)])
    replaced = point(1, vector=vector_of(77), title="Other")
    del replaced.payload["brand"]
    store.upsert(name, [replaced])
    found = store.retrieve(name, [id_of(1)], with_vectors=True)[id_of(1)]
    assert found.payload == replaced.payload
    assert_near(found.vector, vector_of(77))
    assert store.count(name) == 1


def test_nothing_written_is_counted_as_nothing(store: VectorStore, name: str) -> None:
    assert store.upsert(name, []) == 0
    assert store.set_payload(name, {}) == []
    store.delete(name, [])
    assert store.points_written == 0
    store.upsert(name, points(5))
    store.set_payload(name, {id_of(1): {"a": 1}})
    store.delete(name, [id_of(1), id_of(2)])
    assert store.points_written == 8


def test_set_payload_replaces_and_tells_what_is_missing(store: VectorStore, name: str) -> None:
    store.upsert(name, points(4))
    missing = store.set_payload(name, {id_of(1): {"only": "this"}, id_of(50): {"x": 1}, id_of(2): {"y": 2}})
    assert missing == [id_of(50)]
    found = store.retrieve(name, [id_of(n) for n in (0, 1, 2, 50)], with_vectors=True)
    assert found[id_of(1)].payload == {"only": "this"}
    assert found[id_of(2)].payload == {"y": 2}
    assert found[id_of(0)].payload == point(0).payload
    assert_near(found[id_of(1)].vector, vector_of(1))
    assert id_of(50) not in found


def test_delete_ignores_what_is_not_there(store: VectorStore, name: str) -> None:
    store.upsert(name, points(6))
    store.delete(name, iter([id_of(1), id_of(4), id_of(404)]))
    assert {id_ for id_, _ in store.scroll(name)} == {id_of(n) for n in (0, 2, 3, 5)}


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        (np.ones(12, np.float32), "768"),
        (np.full(768, np.nan, np.float32), "NaN"),
        (np.ones((1, 768), np.float32), "768"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(
    store: VectorStore, name: str, vector: np.ndarray[Any, np.dtype[np.float32]], words: str
) -> None:
    with pytest.raises(CollectionError, match=words):
        store.upsert(name, [point(1, vector=vector)])
    assert store.count(name) == 0


def test_a_query_of_another_dimension_is_refused(store: VectorStore, name: str) -> None:
    store.upsert(name, points(3))
    with pytest.raises(CollectionError):
        store.query(name, np.ones(12, np.float32), limit=1)


# -- reading


def test_scroll_is_sorted_paged_and_narrow(store: VectorStore, name: str) -> None:
    sent = points(25)
    store.upsert(name, sent)
    found = list(store.scroll(name, fields=["payload_hash", "image_sha256"], batch=7))
    assert [id_ for id_, _ in found] == sorted((p.id for p in sent), key=lambda id_: id_.bytes)
    payloads = {p.id: p.payload for p in sent}
    for id_, payload in found:
        assert payload == {key: payloads[id_][key] for key in ("payload_hash", "image_sha256")}
    assert [payload for _, payload in store.scroll(name, batch=25)] == [{}] * 25
    assert {id_ for id_, _ in store.scroll(name, filter=SearchFilter(store="store-1"))} == {
        id_of(n) for n in range(25) if n % 3 == 1
    }
    assert list(store.scroll(name, filter=SearchFilter(store="nowhere"))) == []


def test_a_part_of_the_ids_is_scrolled(store: VectorStore, name: str) -> None:
    sent = points(25)
    store.upsert(name, sent)
    ids = sorted(p.id for p in sent)
    some = IdRange(ids[3], ids[11])
    assert [id_ for id_, _ in store.scroll(name, ids=some, batch=4)] == ids[3:12]
    of_one = [p.id for p in sent if p.payload["store_id"] == "store-1" and ids[3] <= p.id <= ids[11]]
    found = [id_ for id_, _ in store.scroll(name, ids=some, filter=SearchFilter(store="store-1"), batch=2)]
    assert found == sorted(of_one)
    parts = [id_ for number in range(7) for id_, _ in store.scroll(name, ids=IdRange.part(number, 7))]
    assert parts == ids


FILTERS: list[tuple[SearchFilter, set[int]]] = [
    (SearchFilter(), {0, 1, 2, 3, 4, 5}),
    (SearchFilter(store="store-1"), {1, 4}),
    (SearchFilter(store=["store-0", "store-2"]), {0, 2, 3, 5}),
    (SearchFilter(store=["store-0"], brand="Brand 3"), {3}),
    (SearchFilter(category="Dresses"), {0, 1, 2, 3, 4}),
    (SearchFilter(category="Apparel > Dresses"), {0, 1, 2, 3, 4}),
    (SearchFilter(category=("Bags", "Dresses")), {0, 1, 2, 3, 4, 5}),
    (SearchFilter(category="Dress"), set()),
    (SearchFilter(color="грязно-белый"), {5}),
    (SearchFilter(gender="male"), {5}),
    (SearchFilter(availability=("out_of_stock", "preorder")), {5}),
    (SearchFilter(currency="USD"), {5}),
    (SearchFilter(price_min=1.5), {1, 2, 3, 4}),
    (SearchFilter(price_max=1.5), {0, 1}),
    (SearchFilter(price_min=1.51, price_max=3.5, store="store-0"), {3}),
    (SearchFilter(exclude_ids=frozenset({id_of(0), id_of(5), id_of(77)})), {1, 2, 3, 4}),
    (SearchFilter(exclude_groups=frozenset({"store-2/bags"}), store="store-2"), {2}),
]


def test_filters_mean_the_same_everywhere(store: VectorStore, name: str) -> None:
    odd = point(
        5,
        product_type="Bags",
        color="грязно-белый",
        gender="male",
        availability="preorder",
        currency="USD",
        price=None,
        item_group_id="bags",
    )
    store.upsert(name, [*points(5), odd])
    for asked, expected in FILTERS:
        ids = {id_of(n) for n in expected}
        with store.session(name):
            assert store.count(name, asked) == len(ids), asked
            assert {id_ for id_, _ in store.scroll(name, filter=asked)} == ids, asked
            assert {hit.id for hit in store.query(name, vector_of(0), limit=10, filter=asked)} == ids, asked


def test_query_orders_by_cosine(store: VectorStore, name: str) -> None:
    base = vector_of(1)
    distances = [0.0, 0.1, 0.3, 0.6, 1.0]
    store.upsert(name, [point(n, vector=near(base, d, n)) for n, d in enumerate(distances)])
    hits = store.query(name, base, limit=3)
    assert [hit.id for hit in hits] == [id_of(0), id_of(1), id_of(2)]
    for hit, distance, number in zip(hits, distances, range(3), strict=False):
        assert hit.score == pytest.approx(float(np.dot(base, near(base, distance, number))), abs=1e-5)
        assert hit.payload == point(number).payload
    exact = store.query(name, base * 3, limit=9, exact=True, fields=["title", "absent"])
    assert [hit.id for hit in exact] == [id_of(n) for n in range(5)]
    assert exact[0].payload == {"title": point(0).payload["title"]}
    assert store.query(name, base, limit=2, fields=())[0].payload == {}


def grouped_points(sizes: list[int]) -> list[Any]:
    """Groups one after the other by distance from `vector_of(1)`; group i has `sizes[i]` points."""
    made, number = [], 0
    for group, size in enumerate(sizes):
        for _ in range(size):
            near_base = near(vector_of(1), 0.01 * (number + 1), seed=1)
            made.append(point(number, vector=near_base, item_group_id=f"g{group}", store_id="s"))
            number += 1
    return made


GROUPS: list[tuple[list[int], int, int]] = [
    ([1, 1, 1], 10, 3),  # fewer groups than asked
    ([1, 1, 1], 3, 3),  # exactly as many
    ([60, 1, 1], 3, 3),  # one group crowds out several fetches
    ([1, 60, 1], 3, 3),  # a crowd in the middle
    ([30, 30, 30, 1], 4, 4),
    ([60], 5, 1),  # everything in one group
    ([4, 4, 4, 4], 2, 2),  # more groups than asked
    ([8, 8], 1, 1),
]


def test_grouping_finds_the_best_of_each_group(store: VectorStore, name: str) -> None:
    for sizes, limit, groups in GROUPS:
        made = grouped_points(sizes)
        with store.session(name):
            store.delete(name, [id_ for id_, _ in store.scroll(name)])
            store.upsert(name, made)
            hits = store.query(name, vector_of(1), limit=limit, group_by="item_group_id")
        starts = np.cumsum([0, *sizes])
        assert [hit.id for hit in hits] == [made[starts[group]].id for group in range(groups)], sizes
        assert [hit.payload["item_group_id"] for hit in hits] == [f"s/g{group}" for group in range(groups)]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_grouping_with_filter_fields_and_points_without_a_group(store: VectorStore, name: str) -> None:
    made = grouped_points([10, 10, 1])
    for stray in made[:10]:
        del stray.payload["item_group_id"]
    store.upsert(name, made)
    hits = store.query(name, vector_of(1), limit=2, group_by="item_group_id", fields=["title"])
    assert [hit.id for hit in hits] == [made[10].id, made[20].id]
    assert hits[0].payload == {"title": made[10].payload["title"]}
    narrow = SearchFilter(price_min=12, exclude_groups=frozenset({"s/g2"}))
    hits = store.query(name, vector_of(1), limit=5, group_by="item_group_id", filter=narrow)
    assert [hit.id for hit in hits] == [made[12].id]
    assert (
        store.query(name, vector_of(1), limit=5, group_by="item_group_id", filter=SearchFilter(store="x"))
        == []
    )


def test_no_group_is_lumped_with_another(store: VectorStore, name: str) -> None:
    same = vector_of(1)
    store.upsert(
        name,
        [
            point(1, vector=same, item_group_id=None),
            point(2, vector=same, item_group_id=None),
            point(3, vector=same, item_group_id="7", store_id="a"),
            point(4, vector=same, item_group_id="7", store_id="b"),
            point(5, vector=same, item_group_id="7", store_id="b"),
        ],
    )
    hits = store.query(name, same, limit=10, group_by="item_group_id")
    assert len(hits) == 4
    assert {hit.payload["store_id"] for hit in hits if hit.payload["item_group_id"].endswith("/7")} == {
        "a",
        "b",
    }


def test_a_taste_draws_and_repels(store: VectorStore, name: str) -> None:
    liked, disliked = vector_of(1), vector_of(2)
    store.upsert(
        name,
        [
            point(1, vector=near(liked, 0.2, 1)),
            point(2, vector=near(disliked, 0.2, 2)),
            point(3, vector=vector_of(3)),
        ],
    )
    hits = store.query(name, Taste(like=[liked], unlike=[disliked]), limit=3)
    assert hits[0].id == id_of(1)
    assert hits[-1].id == id_of(2)
    only = store.query(name, Taste(like=[], unlike=[disliked]), limit=3)
    assert only[-1].id == id_of(2)
    grouped = store.query(name, Taste(like=[liked]), limit=2, group_by="item_group_id")
    assert grouped[0].id == id_of(1)
    assert len(grouped) == 2


def test_session_is_only_a_hint(store: VectorStore, name: str) -> None:
    with store.session(name):
        store.upsert(name, points(3))
        with store.session(name):
            assert store.count(name) == 3
        store.delete(name, [id_of(0)])
        assert len(list(store.scroll(name, batch=1))) == 2
    assert store.count(name) == 2


# -- facts that only some engines have


def test_engine_facts(store: VectorStore) -> None:
    name = fresh()
    store.ensure_collection(spec(name, payload_indexes={"store_id": "keyword"}))
    store.ensure_collection(spec(name, payload_indexes=PAYLOAD_INDEXES))
    store.upsert(name, points(40))
    info, facts = store.describe(name), store.facts()
    checks: dict[str, Callable[[], bool]] = {
        "on_disk_payload": lambda: info.on_disk_payload is True,
        "payload_indexes": lambda: dict(info.payload_indexes) == dict(PAYLOAD_INDEXES),
        "status": lambda: info.status in ("green", "yellow", "grey"),
        "hnsw": lambda: info.indexed_vectors >= 0,
    }
    for fact, check in checks.items():
        if getattr(facts, fact):
            assert check(), (facts.engine, fact, info)
        else:
            print(f"UNTESTED on {facts.engine}: {fact}")


def test_a_bulk_load_ends_settled(store: VectorStore) -> None:
    name = fresh()
    store.ensure_collection(spec(name, deferred=True))
    with store.bulk(name):
        store.upsert(name, points(300))
    info = store.settle(name)
    assert (info.points, info.status) == (300, "green")
    assert store.query(name, vector_of(7), limit=1)[0].id == id_of(7)


def test_what_is_tuned_is_applied_to_the_live_collection_or_refused(store: VectorStore) -> None:
    name = fresh()
    store.ensure_collection(spec(name))
    store.upsert(name, points(20))
    tuned = read_tuning("hnsw_m=24,hnsw_ef_construct=128,quantization=int8,on_disk_vectors=true")
    if store.facts().processes and not store.facts().status:
        with pytest.raises(CollectionError, match="QDRANT_TUNING"):
            store.ensure_collection(spec(name, tuning=tuned))
        return
    assert store.ensure_collection(spec(name, tuning=tuned)) is False
    assert store.query(name, vector_of(7), limit=1)[0].id == id_of(7)
    if not store.facts().status:
        print(f"UNTESTED on {store.facts().engine}: tuning")
        return
    client: Any = store.client  # type: ignore[attr-defined]
    config = client.get_collection(name).config
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (24, 128)
    assert config.quantization_config.scalar.type.value == "int8"
    assert config.params.vectors.on_disk is True
    with pytest.raises(CollectionError, match="shards"):
        store.ensure_collection(spec(name, tuning=read_tuning("shards=7")))
    store.ensure_collection(spec(name, tuning=read_tuning("quantization=none")))
    assert client.get_collection(name).config.quantization_config is None
    assert store.settle(name).status == "green"
