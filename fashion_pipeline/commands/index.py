"""`fashion-pipeline index collections | fill | promote | rollback | rebuild | delete`: which collection serves."""

from collections.abc import Callable, Sequence
from typing import Literal

from rich.table import Table

from fashion_pipeline import parts
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.line.live import Wanted, collection_rows, delete_collection, describe_rows
from fashion_pipeline.line.points import serving_collection
from fashion_pipeline.line.promotion import fill_candidate, promote, rollback
from fashion_pipeline.line.quality import comparison
from fashion_pipeline.line.rebuild import rebuild
from fashion_pipeline.settings import Settings
from fashion_pipeline.version import pipeline_version


def wanted_collection(settings: Settings) -> Wanted:
    """The collection that the settings ask for."""
    return Wanted(settings.alias, settings.model_ref, pipeline_version(), parts.index_tuning(settings))


def store_ids(settings: Settings, names: Sequence[str] = ()) -> list[str]:
    """The named stores, or all of feeds.yaml.

    Raises:
        SettingsError: there is no such store.
    """
    feeds = parts.open_feeds(settings)
    return [feeds.store(name).id for name in names] or [store.id for store in feeds.stores]


def show_collections(settings: Settings) -> int:
    """Print every collection of the alias: role, since when, completeness, age, what to do."""
    rows = collection_rows(
        parts.open_database(settings),
        parts.open_vectors(settings),
        wanted_collection(settings),
        store_ids(settings),
    )
    described = describe_rows(rows)
    table = Table(title=f"collections of the alias {settings.alias}", title_justify="left")
    for column in described[0]:
        table.add_column(column, justify=_side(column), overflow="fold")
    for row in described:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    wide_console().print(table, markup=False)
    return 0


def fill(settings: Settings, stores: Sequence[str], max_pictures: int) -> int:
    """Fill the candidate store by store; 1 where pictures are left for another run."""
    left = 0
    for store_id in store_ids(settings, stores):
        report = fill_candidate(
            parts.open_database(settings),
            parts.open_data(settings),
            parts.open_vectors(settings),
            store_id,
            wanted=wanted_collection(settings),
            load=_loader(settings),
            max_pictures=max_pictures,
        )
        left += report.waiting
        print(
            f"{store_id}: {report.embedded.entered:,} pictures embedded, {report.points.inserted:,} points inserted "
            f"into {report.candidate}; {report.complete.share:.1%} complete, {report.complete.waiting:,} waiting"
        )
    return 1 if left else 0


def promote_candidate(settings: Settings, margin: float) -> int:
    """Promote the candidate, or say which gate is closed."""
    database, vectors, wanted = (
        parts.open_database(settings),
        parts.open_vectors(settings),
        wanted_collection(settings),
    )
    report = promote(
        database,
        parts.open_data(settings),
        vectors,
        wanted=wanted,
        stores=store_ids(settings),
        measure=comparison(
            database,
            vectors,
            serving_collection(vectors, wanted.alias),
            wanted.model_ref,
            _loader(settings),
        ),
        margin=margin,
    )
    print(
        f"{report.collection} serves as {report.alias}, {report.reconciled.points:,} points; before: "
        f"{report.previous}\n"
        f"title to image, recall@10: {report.candidate_figures.title.recall_at_10:.4f}, before "
        f"{report.serving_figures.title.recall_at_10:.4f} ({report.serving_figures.title.queries} queries)"
    )
    return 0


def roll_back(settings: Settings) -> int:
    """Point the alias back at what served before."""
    report = rollback(
        parts.open_database(settings),
        parts.open_data(settings),
        parts.open_vectors(settings),
        alias=settings.alias,
        stores=store_ids(settings),
    )
    print(f"{report.collection} serves as {report.alias} again; before: {report.previous}")
    if report.behind:
        words = ", ".join(f"{count:,} of {store}" for store, count in report.behind.items())
        print(
            f"without a vector of its model yet: {words}; the next run of the line of each store embeds them"
        )
    return 0


def rebuild_collection(settings: Settings) -> int:
    """Make a new collection of the serving model from the shards, and move the alias."""
    report = rebuild(
        parts.open_database(settings),
        parts.open_data(settings),
        parts.open_vectors(settings),
        alias=settings.alias,
        tuning=parts.index_tuning(settings),
        pipeline_version=pipeline_version(),
        stores=store_ids(settings),
    )
    print(
        f"{report.collection} serves as {report.alias}: {report.written:,} points written"
        f"{' after an earlier start' if report.resumed else ''}, {report.reconciled.points:,} reconciled, in "
        f"{report.seconds:.1f} s. {report.previous} stays until `fashion-pipeline index delete {report.previous}`"
    )
    return 0


def delete(settings: Settings, name: str) -> int:
    """Drop a collection that does not serve."""
    points = delete_collection(
        parts.open_database(settings), parts.open_vectors(settings), wanted_collection(settings), name
    )
    print(f"{name} is deleted, with {points:,} points; its vectors stay in the shards")
    return 0


def _loader(settings: Settings) -> Callable[[str], Encoder]:
    return lambda model_ref: parts.open_encoder(settings, model_ref)


def _side(column: str) -> Literal["left", "right"]:
    return "right" if column in {"points", "complete", "waiting"} else "left"
