"""Which collections live behind an alias: the serving one, a candidate, and old ones until they are deleted.

All of them follow the catalogue: prices and deletions reach each, so that promoting and rolling back change
nothing but vectors. Pictures are embedded for the serving model by the line, for the candidate by `fill_candidate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.completeness import Completeness, completeness
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.index_history import moves
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.errors import CollectionError, PermanentError
from fashion_pipeline.index.collection import belongs_to, collection_name, revision_of
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.tuning import Tuning
from fashion_pipeline.index.types import CollectionSpec
from fashion_pipeline.line.points import (
    PointsReport,
    Progress,
    Serving,
    described,
    points_lock,
    serving_collection,
    write_points_locked,
)
from fashion_pipeline.storage import DataLocation


@dataclass(frozen=True)
class Wanted:
    """What the settings ask a collection to be."""

    alias: str
    model_ref: str
    pipeline_version: str
    tuning: Tuning = field(default_factory=Tuning)


@dataclass(frozen=True)
class LiveReport:
    """What bringing a store's points up to date did in the serving collection, and in the others."""

    serving: PointsReport
    others: tuple[PointsReport, ...]


@dataclass(frozen=True)
class CollectionRow:
    """One collection for people. `role` is serving, candidate or old; `since` is when it began to serve."""

    name: str
    model_id: str
    role: str
    since: datetime | None
    made: datetime | None
    points: int
    completeness: Completeness
    last_served: datetime | None


def live_collections(vectors: VectorStore, alias: str) -> list[Serving]:
    """Every collection that was made for `alias`, the serving one first."""
    serving = serving_collection(vectors, alias)
    others = []
    for name in vectors.collections():
        if name != serving.collection and name.startswith(f"{alias}-"):
            found = described(vectors, name)
            if found is not None and belongs_to(name, alias, found.model_id):
                others.append(found)
    return [serving, *others]


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
        serving, *others = live_collections(vectors, alias)
        first = write_points_locked(database, data, vectors, store_id, serving=serving, progress=progress)
        reports = []
        for other in others:
            try:
                reports.append(write_points_locked(database, data, vectors, store_id, serving=other))
            except CollectionError:
                # Deleted by a person meanwhile: nothing is left that could be behind.
                if other.collection in vectors.collections():
                    raise
        return LiveReport(first, tuple(reports))


def collection_rows(
    database: Database, vectors: VectorStore, wanted: Wanted, stores: Sequence[str]
) -> list[CollectionRow]:
    """What `index collections` shows, the serving one first."""
    serving, *others = live_collections(vectors, wanted.alias)
    spec = candidate_spec(vectors, wanted)
    history = moves(database, wanted.alias)
    rows = []
    for each in (serving, *others):
        name = each.collection
        since = next((move.at for move in history if move.collection == name), None)
        left = next((move.at for move in history if move.previous == name), None)
        role = "serving" if each is serving else "candidate" if spec and spec.name == name else "old"
        made = vectors.metadata(name).get("created_at")
        rows.append(
            CollectionRow(
                name=name,
                model_id=each.model_id,
                role=role,
                since=since if role == "serving" else None,
                made=datetime.fromisoformat(made) if made else None,
                points=vectors.count(name),
                completeness=completeness(database, name, stores),
                last_served=datetime.now(UTC) if role == "serving" else left,
            )
        )
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


def describe_points(report: PointsReport) -> dict[str, object]:
    """What a store's run did in a collection that does not serve."""
    counts = report.counts
    return {
        "collection": report.collection,
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

    Raises:
        PermanentError: it serves, or is none of this alias.
    """
    live = {each.collection: each for each in live_collections(vectors, wanted.alias)}
    if name not in live:
        raise PermanentError(
            f"{name!r} is no collection of the alias {wanted.alias!r}: there are {', '.join(live)}"
        )
    if vectors.alias(wanted.alias) == name:
        raise PermanentError(f"{name!r} serves: promote another one, or roll back, before it is deleted")
    points = vectors.count(name)
    vectors.drop_collection(name)
    ledger.forget_collection(database, name)
    return points
