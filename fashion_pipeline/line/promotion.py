"""Changing the model or the shape of the index without downtime: fill a candidate, promote it, roll back."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.completeness import Completeness, completeness, lacking
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.index_history import Promotion
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.embeddings.report import PipelineOptions
from fashion_pipeline.embeddings.shards import VectorType
from fashion_pipeline.errors import CollectionError, PermanentError
from fashion_pipeline.index.reconcile import ReconcileReport
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import CollectionSpec
from fashion_pipeline.line.alias import alias_lock, move_alias, settled_moves
from fashion_pipeline.line.embed import EmbedStageReport, embed_images
from fashion_pipeline.line.live import Wanted, as_target, candidate_spec
from fashion_pipeline.line.points import (
    PointsReport,
    Progress,
    Serving,
    described,
    serving_collection,
    write_points,
)
from fashion_pipeline.line.quality import Figures
from fashion_pipeline.line.reconcile import reconcile_all
from fashion_pipeline.storage import DataLocation

#: How much recall@10 a candidate may lose against the serving model: the noise of a sample of some hundred queries.
MARGIN = 0.01

#: Pictures that one run embeds at most: some minutes of a GPU, which the line waits for.
MAX_PICTURES = 20_000

#: Runs of the line may write between reading PostgreSQL and the collection; a difference that stays is real.
_ATTEMPTS = 3

Measure = Callable[[Serving], Figures]


@dataclass(frozen=True)
class FillReport:
    """What filling a store of the candidate did; `waiting` pictures are left for the next run."""

    candidate: str
    model_id: str
    embedded: EmbedStageReport
    points: PointsReport
    waiting: int
    complete: Completeness


@dataclass(frozen=True)
class PromoteReport:
    """What was promoted, over what, and the figures of both."""

    alias: str
    collection: str
    previous: str
    candidate_figures: Figures
    serving_figures: Figures
    reconciled: ReconcileReport
    seconds: float


@dataclass(frozen=True)
class RollbackReport:
    """Where the alias points again. `behind` products by store have no vector of its model yet."""

    alias: str
    collection: str
    previous: str
    behind: dict[str, int]


def prepare_candidate(database: Database, vectors: VectorStore, wanted: Wanted) -> CollectionSpec:
    """Have the candidate's collection; what it is.

    Raises:
        PermanentError: the settings ask for what serves already.
        CollectionError: a collection of its name has another shape.
    """
    spec = candidate_spec(vectors, wanted)
    if spec is None:
        serving = serving_collection(vectors, wanted.alias)
        raise PermanentError(
            f"there is no candidate: {serving.collection!r} serves and is what the settings ask for. To change the "
            "model set FASHION_PIPELINE_MODEL, to change the shape `shards` in QDRANT_TUNING"
        )
    if vectors.ensure_collection(spec):
        ledger.forget_collection(database, spec.name)
    return spec


def fill_candidate(
    database: Database,
    data: DataLocation,
    vectors: VectorStore,
    store_id: str,
    *,
    wanted: Wanted,
    load: Callable[[str], Encoder],
    max_pictures: int = MAX_PICTURES,
    options: PipelineOptions | None = None,
    vector_type: VectorType = "float32",
    progress: Progress | None = None,
) -> FillReport:
    """Embed a store's pictures by the candidate's model and bring its points into the candidate's collection.

    Goes on from where the last run was ended, however it was.

    Raises:
        PermanentError: there is no candidate.
        ModelError: the candidate's folder is missing or incomplete.
    """
    target = as_target(prepare_candidate(database, vectors, wanted))
    embedded = embed_images(
        database,
        data,
        store_id,
        serving=target,
        candidate_ref=wanted.model_ref,
        load=load,
        options=options,
        vector_type=vector_type,
        progress=progress,
        most=max_pictures,
    )
    points = write_points(database, data, vectors, store_id, serving=target)
    return FillReport(
        target.collection,
        target.model_id,
        embedded,
        points,
        max(0, embedded.due - max_pictures),
        completeness(database, target.collection, [store_id]),
    )


def promote(
    database: Database,
    data: DataLocation,
    vectors: VectorStore,
    *,
    wanted: Wanted,
    stores: Sequence[str],
    measure: Measure,
    margin: float = MARGIN,
) -> PromoteReport:
    """Point the alias at the candidate once it is complete, reconciled, green, and finds as well as what serves.

    Args:
        stores: all stores of feeds.yaml.
        measure: figures of a collection over one and the same sample.
        margin: how much recall@10 it may lose.

    Raises:
        PermanentError: there is no candidate, or a gate is closed; the message says which and what to do.
        TransientError: the engine is still at work on the candidate.
    """
    began = time.perf_counter()
    with alias_lock(database, wanted.alias):
        settled_moves(database, vectors, wanted.alias)
        before = serving_collection(vectors, wanted.alias)
        spec = candidate_spec(vectors, wanted)
        if spec is None:
            raise PermanentError(
                f"there is nothing to promote: {before.collection!r} is what the settings ask for"
            )
        if spec.name not in vectors.collections():
            raise PermanentError(
                f"the candidate {spec.name!r} does not exist yet: run fill_candidate for every store"
            )
        target = as_target(spec)
        for store_id in stores:
            write_points(database, data, vectors, store_id, serving=target)
        missing = lacking(database, serving=before.collection, candidate=spec.name, stores=stores)
        if missing:
            raise PermanentError(
                f"the candidate {spec.name!r} is not complete: {_words(missing)} are served and not in it; "
                "run fill_candidate for these stores"
            )
        reconciled = settle_differences(database, data, vectors, target, stores)
        vectors.settle(spec.name)
        serving_figures, candidate_figures = measure(before), measure(target)
        if candidate_figures.title.recall_at_10 < serving_figures.title.recall_at_10 - margin:
            raise PermanentError(
                f"the candidate finds less: recall@10 {candidate_figures.title.recall_at_10:.4f} against "
                f"{serving_figures.title.recall_at_10:.4f} of {before.collection!r} (margin {margin:g}, "
                f"{serving_figures.title.queries} queries); the alias stays. Look at its contact sheet, or promote "
                "with a margin that you can answer for"
            )
        move_alias(
            database,
            vectors,
            wanted.alias,
            expected=before.collection,
            to=spec.name,
            action="promote",
            promotion=Promotion(spec.model_id, asdict(candidate_figures), asdict(serving_figures)),
        )
        return PromoteReport(
            wanted.alias,
            spec.name,
            before.collection,
            candidate_figures,
            serving_figures,
            reconciled,
            time.perf_counter() - began,
        )


def rollback(
    database: Database,
    data: DataLocation,
    vectors: VectorStore,
    *,
    alias: str,
    stores: Sequence[str],
) -> RollbackReport:
    """Point the alias back at the collection that it pointed to before.

    That one got every price and deletion meanwhile. What is new since has no vector of its model yet: the next
    runs of the line embed it, and `behind` says how much that is.

    Raises:
        PermanentError: the alias was never moved, or that collection was deleted.
    """
    with alias_lock(database, alias):
        before = serving_collection(vectors, alias)
        history = settled_moves(database, vectors, alias)
        move = next((each for each in history if each.collection == before.collection), None)
        if move is None or move.previous is None:
            raise PermanentError(
                f"there is nothing to roll back to: {before.collection!r} is the first that served"
            )
        if move.previous not in vectors.collections():
            raise PermanentError(
                f"there is nothing to roll back to: {move.previous!r}, which served before, was deleted"
            )
        target = described(vectors, move.previous)
        if target is None:
            raise CollectionError(f"collection {move.previous!r} does not say which model it holds")
        for store_id in stores:
            write_points(database, data, vectors, store_id, serving=target)
        vectors.settle(target.collection)
        behind = lacking(database, serving=before.collection, candidate=target.collection, stores=stores)
        move_alias(
            database,
            vectors,
            alias,
            expected=before.collection,
            to=target.collection,
            action="rollback",
        )
        return RollbackReport(alias, target.collection, before.collection, behind)


def settle_differences(
    database: Database,
    data: DataLocation,
    vectors: VectorStore,
    target: Serving,
    stores: Sequence[str],
) -> ReconcileReport:
    """Reconcile a whole collection; the report of the comparison that agreed.

    Raises:
        PermanentError: it differs, and not because a run of the line was writing meanwhile.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        report = reconcile_all(database, vectors, target, stores)
        if report.agrees:
            return report
        if attempt < _ATTEMPTS:
            for store_id in stores:
                write_points(database, data, vectors, store_id, serving=target)
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.counts.items() if count)
    raise PermanentError(
        f"collection {target.collection!r} differs from PostgreSQL: {kinds}; look with "
        f"`fashion-pipeline index reconcile --collection {target.collection}`, mend with --repair (and a vector "
        "that is awaited by embedding its picture: fill_candidate, or the line), then try again"
    )


def _words(by_store: dict[str, int]) -> str:
    return ", ".join(f"{count:,} products of {store}" for store, count in by_store.items())
