import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models

from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.server import ServerStore, connect
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline_tests.index.making import spec


@pytest.fixture(params=["embedded", "memory", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    """Each engine in turn; the server only where `QDRANT_URL` names one on which tests may create."""
    if request.param == "embedded":
        yield EdgeStore(tmp_path / "qdrant")
        return
    if request.param == "memory":
        client = QdrantClient(":memory:")
        yield ServerStore(client, where=":memory:", local=True)
        client.close()
        return
    url = os.environ.get("QDRANT_URL")
    if not url:
        pytest.skip("no Qdrant server: set QDRANT_URL to one on which tests may create collections")
    grpc = os.environ.get("QDRANT_PREFER_GRPC", "").lower() in ("1", "true")
    opened = connect(
        url, api_key=os.environ.get("QDRANT_API_KEY"), prefer_grpc=grpc, grpc_port=6334, timeout=30
    )
    before = set(opened.collections())
    yield opened
    for alias, target in opened.aliases().items():
        if target not in before:
            opened.client.update_collection_aliases([_delete(alias)])
    for name in set(opened.collections()) - before:
        opened.drop_collection(name)
    opened.close()


@pytest.fixture
def name(store: VectorStore) -> str:
    """An empty collection of this test's own."""
    found = f"test-{uuid.uuid4().hex[:12]}"
    store.ensure_collection(spec(found))
    return found


@pytest.fixture
def edge(tmp_path: Path) -> EdgeStore:
    return EdgeStore(tmp_path / "qdrant")


def _delete(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
