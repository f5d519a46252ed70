"""What is tuned: read from one line, sent at creation, applied to the live collection or refused; bulk loads."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from fashion_pipeline.errors import CollectionError, PermanentError, SettingsError, TransientError
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.server import ServerStore
from fashion_pipeline.index.server_tuning import changes, creation_arguments, search_params
from fashion_pipeline.index.tuning import Tuning, read_tuning
from fashion_pipeline_tests.index.making import point, points, spec, vector_of


def test_a_line_is_read() -> None:
    line = (
        "hnsw_m=32, hnsw_ef_construct=200,quantization=int8,oversampling=1.5,"
        "on_disk_vectors=true,shards=6,replicas=2"
    )
    assert read_tuning(line) == Tuning(
        hnsw_m=32,
        hnsw_ef_construct=200,
        quantization="int8",
        oversampling=1.5,
        on_disk_vectors=True,
        shards=6,
        replicas=2,
    )
    assert read_tuning(None) == read_tuning(" ") == Tuning()
    assert Tuning().given() == {}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hnsw=3", "nothing that is tuned"),
        ("hnsw_m", "a whole number from 2"),
        ("hnsw_m=0", "a whole number from 2"),
        ("shards=2,shards=3", "twice"),
        ("quantization=int4", "one of none, int8, binary"),
        ("on_disk_vectors=maybe", "true or false"),
        ("oversampling=nan", "a number from 1 to 100"),
        ("write_consistency=2", "no write would ever succeed"),
    ],
)
def test_a_line_that_cannot_be_is_refused(line: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_tuning(line)


def live(**config: Any) -> models.CollectionInfo:
    """A collection as a server describes it."""
    client = QdrantClient(":memory:")
    params = models.VectorParams(size=768, distance=models.Distance.COSINE)
    client.create_collection("c", vectors_config=params)
    info = client.get_collection("c")
    client.close()
    info.config.params.shard_number = config.pop("shards", 1)
    info.config.params.replication_factor = config.pop("replicas", 1)
    info.config.params.write_consistency_factor = 1
    info.config.hnsw_config.m = config.pop("m", 16)
    info.config.quantization_config = config.pop("quantization", None)
    assert not config
    return info


def test_what_differs_is_changed_and_nothing_else() -> None:
    everything = read_tuning(
        "hnsw_m=32,hnsw_ef_construct=200,hnsw_on_disk=true,on_disk_vectors=true,quantization=int8,replicas=3,"
        "write_consistency=2"
    )
    found = changes(live(), everything, name="c", keep_deferred=False)
    assert found["hnsw_config"] == models.HnswConfigDiff(m=32, ef_construct=200, on_disk=True)
    assert found["vectors_config"] == {"": models.VectorParamsDiff(on_disk=True)}
    assert found["quantization_config"].scalar.type is models.ScalarType.INT8
    assert found["collection_params"] == models.CollectionParamsDiff(
        replication_factor=3, write_consistency_factor=2
    )
    assert changes(live(), Tuning(), name="c", keep_deferred=False) == {}
    quantized = live(quantization=found["quantization_config"])
    assert changes(quantized, read_tuning("quantization=int8"), name="c", keep_deferred=False) == {}
    assert changes(quantized, read_tuning("quantization=none"), name="c", keep_deferred=False) == {
        "quantization_config": models.Disabled.DISABLED
    }
    other = changes(quantized, read_tuning("quantization=binary"), name="c", keep_deferred=False)
    assert isinstance(other["quantization_config"], models.BinaryQuantization)


def test_a_put_off_index_is_turned_on() -> None:
    off = live(m=0)
    assert changes(off, Tuning(), name="c", keep_deferred=True) == {}
    assert changes(off, Tuning(), name="c", keep_deferred=False) == {
        "hnsw_config": models.HnswConfigDiff(m=16)
    }
    assert changes(off, Tuning(hnsw_m=24), name="c", keep_deferred=False) == {
        "hnsw_config": models.HnswConfigDiff(m=24)
    }
    assert creation_arguments(Tuning(hnsw_m=24), deferred=True)["hnsw_config"].m == 0
    assert creation_arguments(Tuning(hnsw_m=24), deferred=False)["hnsw_config"].m == 24


def test_the_number_of_shards_is_refused_with_what_to_do() -> None:
    with pytest.raises(CollectionError, match="index fill"):
        changes(live(shards=1), Tuning(shards=6), name="c", keep_deferred=False)


def test_searches_over_quantized_vectors_are_rescored() -> None:
    assert search_params(Tuning(), exact=False) is None
    found = search_params(read_tuning("quantization=binary,oversampling=3,hnsw_ef=256"), exact=False)
    assert found == models.SearchParams(
        hnsw_ef=256, quantization=models.QuantizationSearchParams(rescore=True, oversampling=3.0)
    )
    assert search_params(Tuning(quantization="int8"), exact=True) == models.SearchParams(exact=True)


def test_the_embedded_engine_refuses_what_it_does_not_have(edge: EdgeStore) -> None:
    with pytest.raises(CollectionError, match="hnsw_m, replicas"):
        edge.ensure_collection(spec("c", tuning=Tuning(hnsw_m=32, replicas=2)))


class Playing(QdrantClient):
    """The `:memory:` client with a server's states: it keeps what was changed, and works for some questions."""

    states: Iterator[models.CollectionStatus]
    changed: list[dict[str, Any]]

    def __init__(self, *states: models.CollectionStatus) -> None:
        super().__init__(":memory:")
        self.states = itertools.chain(states, itertools.repeat(models.CollectionStatus.GREEN))
        self.changed = []

    def get_collection(self, collection_name: str, **kwargs: Any) -> models.CollectionInfo:
        info = super().get_collection(collection_name, **kwargs)
        for change in self.changed:
            if "hnsw_config" in change:
                info.config.hnsw_config.m = change["hnsw_config"].m
        info.status = next(self.states)
        return info

    def update_collection(self, collection_name: str, **kwargs: Any) -> bool:
        kwargs.pop("timeout")
        self.changed.append(kwargs)
        return True

    def create_payload_index(self, *args: Any, **kwargs: Any) -> Any:
        return None


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr("fashion_pipeline.index.server_collections.time.sleep", waits.append)
    return waits


def server(client: QdrantClient) -> ServerStore:
    store = ServerStore(client, where="test", in_flight=1)
    store.ensure_collection(spec("c", payload_indexes={}))
    return store


STATUS = models.CollectionStatus


def test_a_bulk_load_puts_indexing_off_and_waits_for_green(polled: list[float]) -> None:
    client = Playing()
    store = server(client)
    client.states = itertools.chain(
        [STATUS.GREEN] * 2, [STATUS.GREEN, STATUS.YELLOW, STATUS.GREY], itertools.repeat(STATUS.GREEN)
    )
    with store.bulk("c"):
        assert client.changed == [{"hnsw_config": models.HnswConfigDiff(m=0)}]
        store.upsert("c", points(3))
    assert client.changed[1] == {"hnsw_config": models.HnswConfigDiff(m=16)}
    assert client.changed[2:] == [{"optimizers_config": models.OptimizersConfigDiff()}], "grey is nudged"
    assert len(polled) >= 4, "green counts when it stays"
    client.close()


def test_a_bulk_load_that_fails_turns_indexing_on(polled: list[float]) -> None:
    client = Playing()
    store = server(client)
    with pytest.raises(CollectionError), store.bulk("c"):
        store.upsert("c", [point(1, vector=vector_of(1)[:12])])
    assert [change["hnsw_config"].m for change in client.changed] == [0, 16]
    client.close()


def test_red_and_never_green_are_told(polled: list[float]) -> None:
    client = Playing()
    store = server(client)
    client.states = itertools.repeat(STATUS.YELLOW)
    with pytest.raises(TransientError, match="still yellow after 0 s"):
        store.settle("c", timeout=0)
    client.states = itertools.repeat(STATUS.RED)
    with pytest.raises(PermanentError, match="is red"):
        store.settle("c")
    client.close()
