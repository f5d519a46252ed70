"""Which collections live behind an alias: the serving one, a candidate, and old ones until they are deleted.

All of them follow the catalogue: prices and deletions reach each, so that promoting and rolling back change
nothing but vectors. Pictures are embedded for the serving model by the line, for the candidate by `fill_candidate`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.completeness import Completeness, completeness
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.index_history import moves
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.errors import FashionPipelineError, PermanentError
from fashion_pipeline.index.collection import belongs_to, collection_name, revision_of
from fashion_pipeline.index.payload import PAYLOAD_VERSION
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.tuning import Tuning
from fashion_pipeline.index.types import CollectionSpec
from fashion_pipeline.line.alias import alias_lock
from fashion_pipeline.line.points import (
    Counted,
    PointsReport,
    Progress,
    Serving,
    count_points,
    described,
    points_lock,
    serving_collection,
    write_points_locked,
)
from fashion_pipeline.storage import DataLocation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What the settings ask a collection to be."""

    alias: str
    model_ref: str
    pipeline_version: str
    tuning: Tuning = field(default_factory=Tuning)


@dataclass(frozen=True)
class LiveReport:
    """What bringing a store's points up to date did in the serving collection, and in the others.

    `failed` says why another collection could not be brought up to date, by name: searches do not depend on it.
    """

    serving: PointsReport
    others: tuple[PointsReport, ...]
    failed: dict[str, str]


@dataclass(frozen=True)
class Followed:
    """How a live collection stands to what it should have of a store: points that it lacks or has too many, by the
    ledger; and its points counted against those that it acknowledged. `error` says why it could not be asked.
    """

    collection: str
    serves: bool
    behind: int
    counted: Counted | None
    error: str

    @property
    def follows(self) -> bool:
        """Whether nothing is left to write, and it has as many points as it acknowledged."""
        return self.counted is not None and self.counted.agrees and not self.behind

    @property
    def remedy(self) -> str:
        """What is wrong with it and what to do; empty where nothing is."""
        if self.counted is None:
            away = "" if self.serves else f", or `fashion-pipeline index delete {self.collection}`"
            return f"{self.collection!r} cannot be read ({self.error}): mend it{away}"
        if not self.counted.agrees:
            return self.counted.remedy
        if self.behind:
            return (
                f"{self.collection!r} is behind by {self.behind:,} points: run product_points for this store"
            )
        return ""


@dataclass(frozen=True)
class CollectionRow:
    """One collection for people. `role` is serving, candidate or old; `since` is when it began to serve.

    `problem` says why it cannot be read; `model_id` and `made` are then unknown where it does not tell.
    """

    name: str
    model_id: str
    role: str
    since: datetime | None
    made: datetime | None
    points: int
    completeness: Completeness
    last_served: datetime | None
    problem: str = ""


@dataclass(frozen=True)
class Live:
    """The collections of an alias. Those that do not tell what they are stand in `unreadable`, with the reason."""

    serving: Serving
    others: tuple[Serving, ...]
    unreadable: dict[str, str]

    @property
    def all(self) -> tuple[Serving, ...]:
        """Every one that can be written to, the serving one first."""
        return self.serving, *self.others


def live_collections(vectors: VectorStore, alias: str) -> Live:
    """Every collection that was made for `alias`.

    Raises:
        CollectionError: the alias leads nowhere, or to a collection that this project did not make.
    """
    serving = serving_collection(vectors, alias)
    others, unreadable = [], {}
    for name in vectors.collections():
        if name != serving.collection and name.startswith(f"{alias}-"):
            try:
                found = described(vectors, name)
            except FashionPipelineError as error:
                if name in vectors.collections():
                    unreadable[name] = str(error)
                continue
            if found is not None and belongs_to(name, alias, found.model_id):
                others.append(found)
    return Live(serving, tuple(others), unreadable)


def candidate_spec(vectors: VectorStore, wanted: Wanted) -> CollectionSpec | None:
    """The collection that the settings ask for, where it is not the serving one.

    It is the newest of its model and shape, or one to be made; None where what serves is what they ask for.

    Raises:
        ModelError: the settings' model folder is missing or incomplete.
    """
    model = read_spec(wanted.model_ref)
    shards = wanted.tuning.shards
    serving = serving_collection(vectors, wanted.alias)

    def revision(name: str) -> int:
        return revision_of(name, wanted.alias, model.image_model_id, shards) or 0

    if revision(serving.collection):
        return None
    newest = max((revision(name) for name in vectors.collections()), default=0)
    return CollectionSpec(
        name=collection_name(wanted.alias, model.image_model_id, shards, max(newest, 1)),
        model_id=model.image_model_id,
        model_ref=wanted.model_ref,
        pipeline_version=wanted.pipeline_version,
        tuning=wanted.tuning,
        deferred=True,
    )


def as_target(spec: CollectionSpec) -> Serving:
    """A collection as what is embedded for and written to."""
    return Serving(spec.name, spec.model_id, spec.model_ref)


def write_live_points(
    database: Database,
    data: DataLocation,
    vectors: VectorStore,
    store_id: str,
    *,
    alias: str,
    progress: Progress | None = None,
) -> LiveReport:
    """Bring a store's points up to date in every live collection, the serving one first.

    The alias is read under the store's lock: a promotion in between changes the order, not the outcome.
    """
    with points_lock(database, store_id):
        live = live_collections(vectors, alias)
        first = write_points_locked(
            database, data, vectors, store_id, serving=live.serving, progress=progress
        )
        reports, failed = [], dict(live.unreadable)
        for other in live.others:
            try:
                reports.append(write_points_locked(database, data, vectors, store_id, serving=other))
            except FashionPipelineError as error:
                # One that a person deleted meanwhile has nothing left that could be behind.
                if other.collection in vectors.collections():
                    failed[other.collection] = str(error)
        for name, reason in failed.items():
            logger.error(
                "store %s: %r, which does not serve, was not brought up to date: %s", store_id, name, reason
            )
        return LiveReport(first, tuple(reports), failed)


def follow(database: Database, vectors: VectorStore, store_id: str, *, alias: str) -> list[Followed]:
    """How every live collection stands to what it should have of a store, the serving one first."""
    live = live_collections(vectors, alias)
    found = []
    for each in live.all:
        lag = ledger.index_lag(
            database, each.collection, each.model_id, [store_id], payload_version=PAYLOAD_VERSION
        )
        counted, problem = None, ""
        try:
            counted = count_points(database, vectors, store_id, each.collection)
        except FashionPipelineError as error:
            problem = str(error)
        serves = each is live.serving
        found.append(Followed(each.collection, serves, lag.get(store_id, 0), counted, problem))
    return found + [Followed(name, False, 0, None, reason) for name, reason in live.unreadable.items()]


def collection_rows(
    database: Database, vectors: VectorStore, wanted: Wanted, stores: Sequence[str]
) -> list[CollectionRow]:
    """What `index collections` shows, the serving one first."""
    live = live_collections(vectors, wanted.alias)
    spec = candidate_spec(vectors, wanted)
    history = moves(database, wanted.alias)
    rows = []
    for each in live.all:
        name = each.collection
        since = next((move.at for move in history if move.collection == name), None)
        left = next((move.at for move in history if move.previous == name), None)
        role = "serving" if each is live.serving else "candidate" if spec and spec.name == name else "old"
        made = vectors.metadata(name).get("created_at")
        points, problem = (vectors.count(name), "") if role == "serving" else _points_of(vectors, name)
        rows.append(
            CollectionRow(
                name=name,
                model_id=each.model_id,
                role=role,
                since=since if role == "serving" else None,
                made=datetime.fromisoformat(made) if made else None,
                points=points,
                completeness=completeness(database, name, stores),
                last_served=datetime.now(UTC) if role == "serving" else left,
                problem=problem,
            )
        )
    for name, problem in live.unreadable.items():
        role = "candidate" if spec and spec.name == name else "old"
        held = completeness(database, name, stores)
        rows.append(CollectionRow(name, "", role, None, None, 0, held, None, problem))
    return rows


def describe_rows(rows: Sequence[CollectionRow]) -> list[dict[str, object]]:
    """The rows in words and numbers, with what to do."""
    return [
        {
            "collection": row.name,
            "role": row.role,
            "model": row.model_id,
            "points": row.points,
            "complete": f"{row.completeness.share:.1%}",
            "waiting": row.completeness.waiting,
            "serves_since": _moment(row.since),
            "made": _moment(row.made),
            "what_to_do": _advice(row),
        }
        for row in rows
    ]


def describe_others(live: LiveReport) -> list[dict[str, object]]:
    """What a store's run did in the collections that do not serve, those that failed first."""
    failed: list[dict[str, object]] = [
        {"collection": name, "error": reason} for name, reason in live.failed.items()
    ]
    return [*failed, *(_described(each) for each in live.others)]


def _described(report: PointsReport) -> dict[str, object]:
    counts = report.counts
    return {
        "collection": report.collection,
        "error": "",
        "inserted": report.inserted,
        "vectors_updated": report.vectors_updated,
        "payloads_updated": report.payloads_updated,
        "deleted": report.deleted,
        "indexed": counts.indexed,
        "waiting": counts.active - counts.without_picture - counts.indexed,
        "repair": "" if report.counted is None or report.counted.agrees else report.counted.remedy,
    }


def _moment(value: datetime | None) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}" if value else ""


def _advice(row: CollectionRow) -> str:
    if row.problem:
        return f"cannot be read: `fashion-pipeline index delete {row.name}`, then fill it anew. {row.problem}"
    if row.role == "serving":
        return "run the line for stores with waiting products" if row.completeness.waiting else "nothing"
    if row.role == "candidate":
        return (
            "run fill_candidate for stores with waiting products"
            if row.completeness.waiting
            else "promote it"
        )
    idle = datetime.now(UTC) - (row.last_served or row.made or datetime.now(UTC))
    return f"idle for {idle.days} days: `fashion-pipeline index delete {row.name}` when no rollback to it is wanted"


def delete_collection(database: Database, vectors: VectorStore, wanted: Wanted, name: str) -> int:
    """Drop an old collection or an abandoned candidate, and its ledger; the points that it had.

    Where an earlier start was killed after the engine's part, the ledger's is done. A collection that cannot be read
    counts as having none.

    Raises:
        PermanentError: it serves, or is none of this alias.
    """
    with alias_lock(database, wanted.alias):
        live = live_collections(vectors, wanted.alias)
        if live.serving.collection == name:
            raise PermanentError(f"{name!r} serves: promote another one, or roll back, before it is deleted")
        others, existing = {each.collection for each in live.others}, set(vectors.collections())
        lost = {
            each
            for each in ledger.collections_with_entries(database)
            if each.startswith(f"{wanted.alias}-") and each not in existing
        }
        droppable = {*others, *live.unreadable, *lost}
        if name not in droppable:
            there = ", ".join([live.serving.collection, *sorted(droppable)])
            raise PermanentError(
                f"{name!r} is no collection of the alias {wanted.alias!r}: there are {there}"
            )
        points = _points_of(vectors, name)[0] if name in others else 0
        vectors.drop_collection(name)
        ledger.forget_collection(database, name)
        return points


def _points_of(vectors: VectorStore, name: str) -> tuple[int, str]:
    """How many points a collection has, or 0 and why it cannot be read."""
    try:
        return vectors.count(name), ""
    except PermanentError as error:
        return 0, str(error)
