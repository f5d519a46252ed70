"""`index rebuild`: a collection from the vector shards and PostgreSQL, without the model, behind the alias."""

import time
from collections.abc import Container, Sequence
from dataclasses import dataclass

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.errors import CollectionError
from fashion_pipeline.index.collection import collection_name, revision_of
from fashion_pipeline.index.reconcile import ReconcileReport
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.tuning import Tuning
from fashion_pipeline.index.types import CollectionSpec
from fashion_pipeline.line.alias import alias_lock, move_alias, settled_moves
from fashion_pipeline.line.live import as_target
from fashion_pipeline.line.points import Progress, serving_collection, write_points
from fashion_pipeline.line.promotion import settle_differences
from fashion_pipeline.storage import DataLocation


@dataclass(frozen=True)
class RebuildReport:
    """The new collection and what is in it; `resumed` says that an earlier start had made it."""

    alias: str
    collection: str
    previous: str
    resumed: bool
    written: int
    reconciled: ReconcileReport
    seconds: float


def rebuild(
    database: Database,
    data: DataLocation,
    vectors: VectorStore,
    *,
    alias: str,
    tuning: Tuning,
    pipeline_version: str,
    stores: Sequence[str],
    progress: Progress | None = None,
) -> RebuildReport:
    """Fill a new collection of the serving model beside the serving one, reconcile it, move the alias.

    Searches go on all along. What was killed is gone on with. The collection that served before stays until it
    is deleted.

    Raises:
        CollectionError: the alias leads nowhere: `qdrant_collection` makes a collection, reconcile fills it.
        PermanentError: the new collection does not agree with PostgreSQL.
    """
    began = time.perf_counter()
    with alias_lock(database, alias):
        before = serving_collection(vectors, alias)
        if before.collection not in vectors.collections():
            raise CollectionError(
                f"the collection {before.collection!r} behind {alias!r} is lost: `fashion-pipeline index reconcile "
                "--repair` makes it anew and fills it"
            )
        history = settled_moves(database, vectors, alias)
        served = {
            before.collection,
            *(each.collection for each in history),
            *(each.previous for each in history),
        }
        name, resumed = _next_name(vectors, alias, before.model_id, tuning.shards, served)
        spec = CollectionSpec(
            name=name,
            model_id=before.model_id,
            model_ref=before.model_ref,
            pipeline_version=pipeline_version,
            tuning=tuning,
            deferred=True,
        )
        if vectors.ensure_collection(spec):
            ledger.forget_collection(database, name)
        target = as_target(spec)
        written = 0
        for store_id in stores:
            report = write_points(database, data, vectors, store_id, serving=target)
            written += report.inserted + report.vectors_updated + report.payloads_updated
            if progress is not None:
                progress(written, None)
        reconciled = settle_differences(database, data, vectors, target, stores)
        vectors.settle(name)
        move_alias(database, vectors, alias, expected=before.collection, to=name, action="rebuild")
        return RebuildReport(
            alias, name, before.collection, resumed, written, reconciled, time.perf_counter() - began
        )


def _next_name(
    vectors: VectorStore, alias: str, model_id: str, shards: int | None, served: Container[str | None]
) -> tuple[str, bool]:
    """The collection to fill, and whether it is there: one that never served, else the next revision."""
    revisions = {
        revision: name
        for name in vectors.collections()
        if (revision := revision_of(name, alias, model_id, shards)) is not None
    }
    newest = max(revisions, default=0)
    if newest > 1 and revisions[newest] not in served:
        return revisions[newest], True
    return collection_name(alias, model_id, shards, newest + 1), False
