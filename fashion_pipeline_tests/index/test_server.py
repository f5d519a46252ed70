"""The server adapter: retries, batches, older servers, the async client, and servers that are not there."""

import http.server
import json
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from fashion_pipeline.errors import CollectionError, PermanentError, SettingsError, TransientError
from fashion_pipeline.index.search import (
    recommend,
    recommend_async,
    search,
    search_async,
    search_like,
    search_like_async,
)
from fashion_pipeline.index.server import ServerStore, connect
from fashion_pipeline.index.types import SearchFilter
from fashion_pipeline_tests.index.making import id_of, point, points, spec, vector_of


def answer(status: int, text: str = "no") -> UnexpectedResponse:
    return UnexpectedResponse(status, "reason", text.encode(), httpx.Headers())


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited between tries; nobody really waits."""
    found: list[float] = []
    monkeypatch.setattr("fashion_pipeline.index.retry.time.sleep", found.append)
    return found


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    opened = QdrantClient(":memory:")
    yield opened
    opened.close()


@pytest.fixture
def memory(client: QdrantClient) -> ServerStore:
    store = ServerStore(client, where="test", local=True)
    store.ensure_collection(spec("c"))
    return store


def failing(times: int, error: Exception, then: Callable[..., Any]) -> Callable[..., Any]:
    left = [times]

    def method(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return then(*args, **kwargs)

    return method


# -- retries


@pytest.mark.parametrize(
    "error",
    [
        answer(503),
        answer(500),
        ResponseHandlingException(httpx.ConnectError("refused")),
        ResponseHandlingException(httpx.ReadTimeout("slow")),
    ],
)
def test_passing_failures_are_tried_again_with_growing_waits(
    memory: ServerStore, monkeypatch: pytest.MonkeyPatch, waits: list[float], error: Exception
) -> None:
    monkeypatch.setattr(memory.client, "upsert", failing(4, error, memory.client.upsert))
    assert memory.upsert("c", points(3)) == 3
    assert memory.count("c") == 3
    assert memory.points_written == 3
    assert len(waits) == 4
    for number, wait in enumerate(waits):
        assert 0.125 * 2**number <= wait <= 0.375 * 2**number


def test_an_outage_is_transient_after_six_tries(
    memory: ServerStore, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setattr(
        memory.client, "count", failing(99, answer(503, "over capacity"), memory.client.count)
    )
    with pytest.raises(TransientError, match=r"Qdrant at test, counting c: failed 6 times.*over capacity"):
        memory.count("c")
    assert len(waits) == 5


def test_a_server_that_says_when_is_obeyed(
    memory: ServerStore, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    error = ResourceExhaustedResponse("slow down", 7)
    monkeypatch.setattr(memory.client, "count", failing(1, error, memory.client.count))
    assert memory.count("c") == 0
    assert waits == [7.0]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (answer(400, "Wrong input: bad filter"), PermanentError, "bad filter"),
        (answer(401, "Must provide an API key"), PermanentError, "QDRANT_API_KEY"),
        (answer(403, "Forbidden"), PermanentError, "QDRANT_API_KEY"),
        (answer(404, "Not found: Collection `c` doesn't exist!"), CollectionError, "no such collection"),
        (answer(400, "Vector dimension error: expected dim: 768"), CollectionError, "does not fit"),
        (ResponseHandlingException(ValueError("unreadable")), PermanentError, "unreadable"),
    ],
)
def test_refusals_are_not_repeated(
    memory: ServerStore,
    monkeypatch: pytest.MonkeyPatch,
    waits: list[float],
    error: Exception,
    kind: type[Exception],
    words: str,
) -> None:
    monkeypatch.setattr(memory.client, "count", failing(99, error, memory.client.count))
    with pytest.raises(kind, match=words) as caught:
        memory.count("c")
    assert not isinstance(caught.value, TransientError)
    assert waits == []


# -- batches


def test_batches_are_bounded_by_bytes_and_waited_for(
    client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ServerStore(client, where="test", local=True, batch_bytes=100_000)
    store.ensure_collection(spec("c"))
    sent: list[tuple[int, bool]] = []
    real = client.upsert

    def upsert(name: str, structs: list[models.PointStruct], *, wait: bool) -> Any:
        sent.append((len(structs), wait))
        return real(name, structs, wait=wait)

    monkeypatch.setattr(client, "upsert", upsert)
    heavy = point(99)
    heavy.payload["title"] = "x" * 300_000
    assert store.upsert("c", [*points(20), heavy, point(100)]) == 22
    # A vector of 768 numbers counts 15 KB as JSON: six points fill a batch, the heavy one has its own.
    assert sent == [(6, True), (6, True), (6, True), (2, True), (1, True), (1, True)]
    assert store.count("c") == 22


def test_several_requests_are_under_way_at_once(
    client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ServerStore(client, where="test", local=True, batch_bytes=100_000)
    store.ensure_collection(spec("c"))
    store._in_flight = 3
    guard, under_way, most = threading.Lock(), [0], [0]

    def upsert(name: str, structs: list[models.PointStruct], *, wait: bool) -> None:
        with guard:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.05)
        with guard:
            under_way[0] -= 1

    monkeypatch.setattr(client, "upsert", upsert)
    assert store.upsert("c", points(40)) == 40
    assert most[0] == 3
    monkeypatch.setattr(client, "upsert", failing(1, answer(400, "broken"), upsert))
    with pytest.raises(PermanentError, match="broken"):
        store.upsert("c", points(40))


# -- servers that differ


class OldClient(QdrantClient):
    """A server from before 1.16: it accepts metadata and forgets it."""

    def create_collection(self, *args: Any, metadata: Any = None, **kwargs: Any) -> bool:
        return super().create_collection(*args, **kwargs)


def test_an_old_server_keeps_metadata_in_a_companion() -> None:
    client = OldClient(":memory:")
    store = ServerStore(client, where="test", local=True)
    assert store.ensure_collection(spec("one")) is True
    assert store.ensure_collection(spec("two", model_id="other")) is True
    assert store.ensure_collection(spec("one")) is False
    assert store.collections() == ["one", "two"]
    assert store.describe("one").metadata["model_id"] == "demo-0123456789ab"
    assert store.describe("two").metadata["model_id"] == "other"
    with pytest.raises(CollectionError, match="model is other, wanted demo-0123456789ab"):
        store.ensure_collection(spec("two"))
    store.drop_collection("two")
    assert store.ensure_collection(spec("two")) is True
    assert store.describe("two").metadata["model_id"] == "demo-0123456789ab"
    client.close()


def plain_collection(client: QdrantClient, name: str, **vectors: models.VectorParams) -> None:
    params = models.VectorParams(size=768, distance=models.Distance.COSINE)
    client.create_collection(name, vectors_config=vectors or params)


def test_a_collection_of_unknown_model_is_refused_once_it_holds_points(client: QdrantClient) -> None:
    store = ServerStore(client, where="test", local=True)
    plain_collection(client, "empty")
    assert store.ensure_collection(spec("empty")) is False
    assert store.describe("empty").metadata["model_id"] == "demo-0123456789ab"
    plain_collection(client, "full")
    store.upsert("full", points(1))
    with pytest.raises(CollectionError, match="model is not recorded, wanted demo"):
        store.ensure_collection(spec("full"))


def test_two_processes_that_create_at_once(memory: ServerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "collections", list)
    assert memory.ensure_collection(spec("c")) is False
    with pytest.raises(CollectionError, match="model is"):
        memory.ensure_collection(spec("c", model_id="x"))


def test_what_others_wrote_is_named(memory: ServerStore, client: QdrantClient) -> None:
    named = models.VectorParams(size=768, distance=models.Distance.COSINE)
    plain_collection(client, "named", image=named)
    with pytest.raises(CollectionError, match="named vectors"):
        memory.describe("named")
    client.upsert("c", [models.PointStruct(id=17, vector=[0.1] * 768, payload={})])
    with pytest.raises(CollectionError, match="point 17, whose id is no UUID"):
        list(memory.scroll("c"))


# -- async


async def test_async_search_finds_what_sync_finds(memory: ServerStore) -> None:
    memory.upsert("c", points(12))
    twin = AsyncQdrantClient(":memory:")
    await twin.create_collection("c", vectors_config=memory.client.get_collection("c").config.params.vectors)
    structs = [
        models.PointStruct(id=str(p.id), vector=p.vector.tolist(), payload=p.payload)
        for p in points(12)
        if p.vector is not None
    ]
    await twin.upsert("c", structs)
    made: list[AsyncQdrantClient] = []
    likes: list[list[UUID]] = []

    def factory() -> AsyncQdrantClient:
        made.append(twin)
        return twin

    store = ServerStore(memory.client, where="test", async_client=factory, local=True)
    for group in (True, False):
        arguments: dict[str, Any] = {"limit": 4, "filter": SearchFilter(price_min=2), "group": group}
        there = await search_async(store, "c", vector_of(3), **arguments)
        here = search(memory, "c", vector_of(3), **arguments)
        assert [hit.id for hit in there] == [hit.id for hit in here]
        assert there[0].id == id_of(3)
    for found in (
        await search_like_async(store, "c", id_of(3), limit=3, filter=SearchFilter(price_min=2)),
        search_like(memory, "c", id_of(3), limit=3, filter=SearchFilter(price_min=2)),
    ):
        assert len(found) == 3
        assert id_of(3) not in {hit.id for hit in found}
        likes.append([hit.id for hit in found])
    assert likes[0] == likes[1]
    taste: dict[str, Any] = {"like": [id_of(1), id_of(2)], "unlike": [id_of(5)], "limit": 4}
    feed = await recommend_async(store, "c", **taste)
    assert [hit.id for hit in feed] == [hit.id for hit in recommend(memory, "c", **taste)]
    with pytest.raises(PermanentError, match="not in the index"):
        await search_like_async(store, "c", id_of(99))
    assert len(made) == 1
    with pytest.raises(CollectionError):
        await search_async(store, "gone", vector_of(3))
    await twin.close()


async def test_async_search_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("fashion_pipeline.index.retry.asyncio.sleep", sleep)
    twin = AsyncQdrantClient(":memory:")
    params = models.VectorParams(size=768, distance=models.Distance.COSINE)
    await twin.create_collection("c", vectors_config=params)
    monkeypatch.setattr(twin, "query_points", failing(2, answer(503), twin.query_points))
    sync = QdrantClient(":memory:")
    store = ServerStore(sync, where="test", async_client=lambda: twin, local=True)
    assert await search_async(store, "c", vector_of(1), group=False) == []
    assert len(waited) == 2
    sync.close()
    await twin.close()


# -- real connections


class Handler(http.server.BaseHTTPRequestHandler):
    answers: list[tuple[int, dict[str, str], Any]]
    keys: list[str | None]
    bodies: list[Any]

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"null"))
        self.keys.append(self.headers.get("api-key"))
        status, headers, body = self.answers.pop(0)
        content = json.dumps(body).encode()
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def over_http() -> Iterator[ServerStore]:
    """A store that talks to `Handler`, which gives the answers that a test puts into it."""
    Handler.keys, Handler.bodies, Handler.answers = [], [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client warns of a key over plain http
        url = f"http://127.0.0.1:{server.server_port}"
        store = connect(url, api_key="s3cret", prefer_grpc=False, grpc_port=1, timeout=5)
    yield store
    store.close()
    server.shutdown()
    thread.join()
    server.server_close()


def done(result: Any) -> tuple[int, dict[str, str], Any]:
    return 200, {}, {"result": result, "status": "ok", "time": 0.0}


def test_retries_over_http(over_http: ServerStore, waits: list[float]) -> None:
    Handler.answers = [
        (503, {}, {"status": {"error": "starting"}}),
        (429, {"Retry-After": "3"}, {"status": {"error": "too many"}}),
        done({"count": 7}),
        (401, {}, {"status": {"error": "Must provide an API key"}}),
    ]
    assert over_http.count("c") == 7
    assert len(waits) == 2
    assert waits[1] == 3.0
    with pytest.raises(PermanentError, match="QDRANT_API_KEY") as caught:
        over_http.count("c")
    assert "s3cret" not in str(caught.value)
    assert Handler.keys == ["s3cret"] * 4


def test_points_over_http(over_http: ServerStore, memory: ServerStore, waits: list[float]) -> None:
    info = memory.client.get_collection("c").model_dump(mode="json")
    Handler.answers = [done(info), (502, {}, {}), done({"operation_id": 1, "status": "completed"})]
    sent = point(3)
    assert over_http.upsert("c", [sent]) == 1
    assert sent.vector is not None
    [written] = Handler.bodies[-1]["points"]
    assert written == {"id": str(sent.id), "vector": sent.vector.tolist(), "payload": sent.payload}
    assert Handler.bodies[-2] == Handler.bodies[-1]
    assert len(waits) == 1


@pytest.mark.parametrize("prefer_grpc", [False, True])
def test_a_server_that_is_away(waits: list[float], prefer_grpc: bool) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        store = connect(
            f"http://user:pass@127.0.0.1:{port}",
            api_key=None,
            prefer_grpc=prefer_grpc,
            grpc_port=port,
            timeout=2,
        )
        health = store.health()
        assert not health.ok
        assert f"127.0.0.1:{port}" in health.detail
        assert waits == []
        with pytest.raises(TransientError, match="failed 6 times") as caught:
            store.count("c")
        assert "pass" not in str(caught.value)
        store.close()


@pytest.mark.parametrize("url", ["localhost:6333", "ftp://x", "http://", "https:///path"])
def test_a_url_that_cannot_be_one(url: str) -> None:
    with pytest.raises(SettingsError, match="QDRANT_URL"):
        connect(url, api_key=None, prefer_grpc=False, grpc_port=6334, timeout=5)
