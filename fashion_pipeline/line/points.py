"""`qdrant_collection` and `product_points`: the collection, and the points that should be in it."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.points import PointChange, PointCounts
from fashion_pipeline.embeddings.shards import read_vectors
from fashion_pipeline.embeddings.spec import ModelSpec, read_spec
from fashion_pipeline.errors import CollectionError, ModelError
from fashion_pipeline.index.collection import collection_name, ensure_serving
from fashion_pipeline.index.payload import PAYLOAD_VERSION, payload_for
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import CollectionInfo, CollectionSpec, Health, Point
from fashion_pipeline.storage import DataLocation

Progress = Callable[[int, int | None], None]

#: Changes per acknowledged batch: about 2 MB of vectors, and what a crash repeats at most.
BATCH_POINTS = 512


@dataclass(frozen=True)
class Serving:
    """The collection behind the serving alias, and the model that its vectors come from."""

    collection: str
    model_id: str
    model_ref: str


@dataclass(frozen=True)
class CollectionReport:
    """What ensuring the collection did."""

    info: CollectionInfo
    serving: Serving
    created: bool
    alias: str
    candidate_model_id: str
    health: Health


@dataclass(frozen=True)
class PointsReport:
    """What bringing a store's points up to date did, in points."""

    collection: str
    model_id: str
    inserted: int
    vectors_updated: int
    payloads_updated: int
    deleted: int
    counts: PointCounts
    seconds: float


def prepare_collection(
    database: Database, vectors: VectorStore, *, alias: str, model_ref: str, pipeline_version: str
) -> CollectionReport:
    """Have a collection behind the serving alias.

    Where the alias leads somewhere, that collection serves, whatever model the settings name: they name
    the candidate. Where it leads nowhere, or to files that were lost, a collection of the settings' model is
    made and serves; the next run of each store fills it.

    Raises:
        CollectionError: a collection of that name has another shape or model.
        ModelError: the settings' model folder is missing or incomplete.
    """
    candidate = read_spec(model_ref)
    created = False
    name = collection_name(alias, candidate.image_model_id)
    # An embedded alias outlives a collection whose files were lost.
    if vectors.alias(alias) in {None, name}:
        spec = CollectionSpec(
            name=name,
            model_id=candidate.image_model_id,
            model_ref=model_ref,
            pipeline_version=pipeline_version,
        )
        created = ensure_serving(vectors, spec, alias)
        if created:
            # Nothing can have been acknowledged by a collection that did not exist.
            ledger.forget_collection(database, name)
    serving = serving_collection(vectors, alias)
    return CollectionReport(
        vectors.describe(serving.collection),
        serving,
        created,
        alias,
        candidate.image_model_id,
        vectors.health(),
    )


def serving_collection(vectors: VectorStore, alias: str) -> Serving:
    """The collection behind the serving alias: its metadata says which model serves.

    Raises:
        CollectionError: the alias leads nowhere yet, or to a collection that this project did not make.
    """
    name = vectors.alias(alias)
    if name is None:
        raise CollectionError(
            f"the alias {alias!r} leads to no collection: materialize qdrant_collection (job collection) first"
        )
    metadata = vectors.metadata(name)
    try:
        return Serving(name, metadata["model_id"], metadata["model_ref"])
    except KeyError as error:
        raise CollectionError(
            f"collection {name!r} behind the alias {alias!r} does not say which model it holds: it was not made "
            "by this project; set FASHION_PIPELINE_ALIAS to another name"
        ) from error


def serving_model_ref(serving: Serving, candidate_ref: str) -> str:
    """Where the serving model lies, `local-dir:<folder>`; see `serving_model`."""
    return serving_model(serving, candidate_ref).ref


def serving_model(serving: Serving, candidate_ref: str) -> ModelSpec:
    """The serving model, from where it was when the collection was made, else from the settings' folder.

    A collection outlives the folder that its model was first loaded from.

    Raises:
        ModelError: neither folder holds the serving model.
    """
    problems = []
    for ref in (serving.model_ref, candidate_ref):
        try:
            found = read_spec(ref)
        except ModelError as error:
            problems.append(str(error))
            continue
        if found.image_model_id == serving.model_id:
            return found
        problems.append(f"{ref} holds {found.image_model_id}")
    raise ModelError(
        f"the collection {serving.collection!r} serves the model {serving.model_id}, which is nowhere to be found: "
        f"{'; '.join(dict.fromkeys(problems))}. Put that model's folder back, or set FASHION_PIPELINE_MODEL to it"
    )


def write_points(
    database: Database,
    data: DataLocation,
    vectors: VectorStore,
    store_id: str,
    *,
    serving: Serving,
    progress: Progress | None = None,
) -> PointsReport:
    """Bring a store's points to what PostgreSQL and the shards say, by the difference to the ledger.

    Every batch is acknowledged by the vector store before its rows enter the ledger; deletes come last
    and by id.
    """
    with points_lock(database, store_id):
        return write_points_locked(database, data, vectors, store_id, serving=serving, progress=progress)


def points_lock(database: Database, store_id: str) -> AbstractContextManager[None]:
    """The lock that whoever changes a store's points holds, from reading state to the last write."""
    return database.lock(store_id, "product_points")


def write_points_locked(
    database: Database,
    data: DataLocation,
    vectors: VectorStore,
    store_id: str,
    *,
    serving: Serving,
    progress: Progress | None = None,
) -> PointsReport:
    """The same for a caller that holds `points_lock`."""
    began = time.perf_counter()
    done = {"insert": 0, "vector": 0, "payload": 0}
    changes = ledger.changes(
        database, serving.collection, store_id, serving.model_id, payload_version=PAYLOAD_VERSION
    )
    for batch in _batches(changes):
        _write(data, vectors, serving.collection, batch)
        ledger.record_points(database, serving.collection, store_id, batch)
        for change in batch:
            done[change.kind] += 1
        if progress is not None:
            progress(sum(done.values()), None)
    leaving = ledger.deletes(database, serving.collection, store_id)
    for start in range(0, len(leaving), BATCH_POINTS):
        ids = leaving[start : start + BATCH_POINTS]
        vectors.delete(serving.collection, ids)
        ledger.forget_points(database, serving.collection, ids)
    counts = ledger.point_counts(database, serving.collection, store_id, serving.model_id)
    return PointsReport(
        serving.collection,
        serving.model_id,
        done["insert"],
        done["vector"],
        done["payload"],
        len(leaving),
        counts,
        time.perf_counter() - began,
    )


def _batches(changes: Iterator[PointChange]) -> Iterator[list[PointChange]]:
    while batch := list(islice(changes, BATCH_POINTS)):
        yield batch


def _write(data: DataLocation, vectors: VectorStore, collection: str, batch: list[PointChange]) -> None:
    payloads = {change.product_id: _payload(change) for change in batch if change.kind == "payload"}
    # A point that the ledger has and the store lost comes back whole.
    lost = set(vectors.set_payload(collection, payloads)) if payloads else set()
    whole = [change for change in batch if change.kind != "payload" or change.product_id in lost]
    if whole:
        found = dict(read_vectors(data, ((change.shard_key, change.image_sha256) for change in whole)))
        vectors.upsert(
            collection,
            [Point(change.product_id, found[change.image_sha256], _payload(change)) for change in whole],
        )


def _payload(change: PointChange) -> dict[str, object]:
    ledger_values = {"image_sha256": change.image_sha256, "payload_hash": change.payload_hash}
    return payload_for(change.product | ledger_values)
