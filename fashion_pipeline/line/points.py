"""`qdrant_collection` and `product_points`: the collection, and the points that should be in it."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from uuid import UUID

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.points import PointChange, PointCounts
from fashion_pipeline.embeddings.shards import read_vectors
from fashion_pipeline.embeddings.spec import ModelSpec, read_spec
from fashion_pipeline.errors import CollectionError, ModelError
from fashion_pipeline.index.collection import collection_name
from fashion_pipeline.index.payload import PAYLOAD_VERSION, payload_for
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.tuning import Tuning
from fashion_pipeline.index.types import CollectionInfo, CollectionSpec, Health, Payload, Point, SearchFilter
from fashion_pipeline.line.alias import alias_lock, move_alias, settle_moves, settled_moves
from fashion_pipeline.storage import DataLocation

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]

#: Changes per acknowledged batch: 13 MB of vectors, and as much of the next. A crash repeats one at most.
BATCH_POINTS = 4_096

#: From so many first points of a store on, indexing is put off while they are loaded: a graph over fewer is quick.
BULK_POINTS = 20_000


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
class Counted:
    """A store's points after the last write: those that the collection has, and those that it acknowledged."""

    store_id: str
    collection: str
    points: int
    acknowledged: int

    @property
    def agrees(self) -> bool:
        """Whether the collection has as many as it acknowledged."""
        return self.points == self.acknowledged

    @property
    def remedy(self) -> str:
        """What to do where they differ."""
        return (
            f"{self.collection!r} has {self.points:,} points of store {self.store_id} and acknowledged "
            f"{self.acknowledged:,}: it lost writes, was restored, or something else writes to it; mend it with "
            f"`fashion-pipeline index reconcile --collection {self.collection} --store {self.store_id} --repair`"
        )


@dataclass(frozen=True)
class PointsReport:
    """What bringing a store's points up to date did, in points; `counted` where anything was written."""

    collection: str
    model_id: str
    inserted: int
    vectors_updated: int
    payloads_updated: int
    deleted: int
    counts: PointCounts
    seconds: float
    counted: Counted | None = None


def prepare_collection(
    database: Database,
    vectors: VectorStore,
    *,
    alias: str,
    model_ref: str,
    pipeline_version: str,
    tuning: Tuning | None = None,
) -> CollectionReport:
    """Have a collection behind the serving alias, tuned as the settings say.

    Where the alias leads somewhere, that collection serves, whatever model the settings name: they name
    the candidate. Where it leads nowhere, or to files that were lost, a collection of the settings' model is
    made and serves; the next run of each store fills it.

    Raises:
        CollectionError: a collection of that name has another shape or model, or what is tuned cannot be applied.
        ModelError: the settings' model folder is missing or incomplete.
    """
    tuning = tuning or Tuning()
    candidate = read_spec(model_ref)
    created = False
    if _leads_nowhere(vectors, alias):
        with alias_lock(database, alias):
            settled_moves(database, vectors, alias)
            if _leads_nowhere(vectors, alias):
                spec = CollectionSpec(
                    name=collection_name(alias, candidate.image_model_id, tuning.shards),
                    model_id=candidate.image_model_id,
                    model_ref=model_ref,
                    pipeline_version=pipeline_version,
                    tuning=tuning,
                )
                created = _make_serving(database, vectors, spec, alias)
    else:
        settle_moves(database, vectors, alias)
        apply_tuning(vectors, alias, tuning)
    serving = serving_collection(vectors, alias)
    return CollectionReport(
        vectors.describe(serving.collection),
        serving,
        created,
        alias,
        candidate.image_model_id,
        vectors.health(),
    )


def _leads_nowhere(vectors: VectorStore, alias: str) -> bool:
    # An embedded alias outlives a collection whose files were lost.
    target = vectors.alias(alias)
    return target is None or target not in vectors.collections()


def _make_serving(database: Database, vectors: VectorStore, spec: CollectionSpec, alias: str) -> bool:
    created = vectors.ensure_collection(spec)
    if created:
        # Nothing can have been acknowledged by a collection that did not exist.
        ledger.forget_collection(database, spec.name)
    target = vectors.alias(alias)
    if target != spec.name:
        move_alias(database, vectors, alias, expected=target, to=spec.name, action="first")
    return created


def apply_tuning(vectors: VectorStore, alias: str, tuning: Tuning) -> None:
    """Make the serving collection what is tuned, as far as a live one can be changed.

    Another number of shards makes another collection, a candidate, and is no change of the serving one.
    """
    serving = serving_collection(vectors, alias)
    metadata = vectors.metadata(serving.collection)
    vectors.ensure_collection(
        CollectionSpec(
            name=serving.collection,
            model_id=serving.model_id,
            model_ref=serving.model_ref,
            pipeline_version=metadata.get("pipeline_version", ""),
            tuning=replace(tuning, shards=None),
        )
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
    found = described(vectors, name)
    if found is None:
        raise CollectionError(
            f"collection {name!r} behind the alias {alias!r} does not say which model it holds: it was not made "
            "by this project; set FASHION_PIPELINE_ALIAS to another name"
        )
    return found


def described(vectors: VectorStore, name: str) -> Serving | None:
    """A collection and its model, as its metadata says; None when it was not made by this project."""
    metadata = vectors.metadata(name)
    if "model_id" not in metadata or "model_ref" not in metadata:
        return None
    return Serving(name, metadata["model_id"], metadata["model_ref"])


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
    with _bulk_if_large(database, vectors, store_id, serving):
        changes = ledger.changes(
            database, serving.collection, store_id, serving.model_id, payload_version=PAYLOAD_VERSION
        )
        points: int | None = None
        for batch in _ahead(_batches(data, changes)):
            points = _write(data, vectors, serving.collection, store_id, batch)
            ledger.record_points(database, serving.collection, store_id, batch.changes)
            for change in batch.changes:
                done[change.kind] += 1
            if progress is not None:
                progress(sum(done.values()), None)
    database.analyze("index_entries", done["insert"])
    leaving = ledger.deletes(database, serving.collection, store_id)
    for start in range(0, len(leaving), BATCH_POINTS):
        ids = leaving[start : start + BATCH_POINTS]
        with vectors.session(serving.collection, "deleting and counting"):
            vectors.delete(serving.collection, ids)
            points = vectors.count(serving.collection, SearchFilter(store=store_id))
        ledger.forget_points(database, serving.collection, ids)
    counted = None
    if points is not None:
        acknowledged = ledger.count_entries(database, serving.collection, store_id)
        counted = Counted(store_id, serving.collection, points, acknowledged)
        if not counted.agrees:
            logger.warning("%s", counted.remedy)
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
        counted,
    )


def count_points(database: Database, vectors: VectorStore, store_id: str, collection: str) -> Counted:
    """Count a store's points in a collection against what the ledger says that it acknowledged.

    It sees writes that were lost after all, which the difference to the ledger cannot; it is no comparison of ids.
    """
    return Counted(
        store_id,
        collection,
        vectors.count(collection, SearchFilter(store=store_id)),
        ledger.count_entries(database, collection, store_id),
    )


@contextmanager
def _bulk_if_large(
    database: Database, vectors: VectorStore, store_id: str, serving: Serving
) -> Iterator[None]:
    """Put indexing off where most of the collection is about to be loaded."""
    if ledger.has_entries(database, serving.collection, store_id):
        yield
        return
    counts = ledger.point_counts(database, serving.collection, store_id, serving.model_id)
    coming = counts.active - counts.without_picture - counts.without_vector
    if coming < BULK_POINTS or coming < vectors.count(serving.collection):
        yield
        return
    with vectors.bulk(serving.collection):
        yield


@dataclass(frozen=True)
class _Batch:
    """Changes with what is written for them: whole points, and payloads by id."""

    changes: list[PointChange]
    points: list[Point]
    payloads: dict[UUID, Payload]


def _batches(data: DataLocation, changes: Generator[PointChange]) -> Generator[_Batch]:
    with closing(changes):
        while some := list(islice(changes, BATCH_POINTS)):
            payloads = {change.product_id: _payload(change) for change in some if change.kind == "payload"}
            yield _Batch(some, _whole(data, (each for each in some if each.kind != "payload")), payloads)


def _ahead(batches: Generator[_Batch]) -> Iterator[_Batch]:
    """The batches, the next one read from PostgreSQL and the shards while the last is being written."""
    with closing(batches), ThreadPoolExecutor(1, thread_name_prefix="points-ahead") as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _write(data: DataLocation, vectors: VectorStore, collection: str, store_id: str, batch: _Batch) -> int:
    """Write a batch; how many points of the store the collection has after it.

    Counting while an embedded engine is open costs next to nothing, and opening it once more as much as the writing
    of a small day.
    """
    asked = SearchFilter(store=store_id)
    with vectors.session(collection, "writing a batch of points"):
        lost = set(vectors.set_payload(collection, batch.payloads)) if batch.payloads else set()
        if batch.points:
            vectors.upsert(collection, batch.points)
        if not lost:
            return vectors.count(collection, asked)
    # A point that the ledger has and the store lost comes back whole.
    restored = _whole(data, (change for change in batch.changes if change.product_id in lost))
    with vectors.session(collection, "restoring points"):
        vectors.upsert(collection, restored)
        return vectors.count(collection, asked)


def _whole(data: DataLocation, changes: Iterable[PointChange]) -> list[Point]:
    wanted = list(changes)
    found = dict(read_vectors(data, ((change.shard_key, change.image_sha256) for change in wanted)))
    return [Point(change.product_id, found[change.image_sha256], _payload(change)) for change in wanted]


def _payload(change: PointChange) -> Payload:
    ledger_values = {"image_sha256": change.image_sha256, "payload_hash": change.payload_hash}
    return payload_for(change.product | ledger_values)
