"""A collection's metadata on a server: the collection's own, or a companion where the server has none.

Qdrant keeps metadata with a collection from 1.16 on. For an older server it stands in the collection
`_fashion_pipeline_metadata`: one point per collection, its id derived from the collection's name, the
metadata as its payload.
"""

from collections.abc import Mapping
from uuid import NAMESPACE_URL, uuid5

from qdrant_client import QdrantClient, models

from fashion_pipeline.index.retry import already_exists

COMPANION = "_fashion_pipeline_metadata"


def read_metadata(client: QdrantClient, name: str, info: models.CollectionInfo) -> dict[str, str]:
    """What is recorded of a collection; empty where nothing is."""
    own = info.config.metadata
    if own:
        return {key: str(value) for key, value in own.items()}
    if not client.collection_exists(COMPANION):
        return {}
    found = client.retrieve(COMPANION, [_id(name)], with_payload=True)
    payload = found[0].payload if found else None
    return {key: str(value) for key, value in (payload or {}).items() if key != "collection"}


def save_metadata(client: QdrantClient, name: str, metadata: Mapping[str, str]) -> None:
    """Record metadata in the companion, for a server that dropped what `create_collection` gave it."""
    if not client.collection_exists(COMPANION):
        try:
            client.create_collection(
                COMPANION, vectors_config=models.VectorParams(size=1, distance=models.Distance.DOT)
            )
        except Exception as error:
            if not already_exists(error):
                raise
    point = models.PointStruct(id=_id(name), vector=[1.0], payload={"collection": name, **metadata})
    client.upsert(COMPANION, [point], wait=True)


def remove_metadata(client: QdrantClient, name: str) -> None:
    """Forget what the companion records of a dropped collection."""
    if client.collection_exists(COMPANION):
        client.delete(COMPANION, [_id(name)], wait=True)


def _id(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"fashion_pipeline/collections/{name}"))
