"""`fashion-pipeline index reconcile`: does a collection say what PostgreSQL says?"""

from rich.table import Table

from fashion_pipeline import parts
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.commands.index import store_ids, wanted_collection
from fashion_pipeline.errors import CollectionError
from fashion_pipeline.index.reconcile import DifferenceKind, ReconcileReport
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.line.live import live_collections
from fashion_pipeline.line.points import Serving, prepare_collection, serving_collection
from fashion_pipeline.line.reconcile import reconcile_all, reconcile_store, repair_all, repair_store
from fashion_pipeline.settings import Settings

#: Name of the row for points that name no store.
NO_STORE = "(no store)"


def run_reconcile(
    settings: Settings,
    stores: tuple[str, ...],
    *,
    repair: bool,
    collection: str | None = None,
    remove_many: bool = False,
) -> int:
    """Compare a whole collection, or some stores of it, and mend where told; 1 where something still differs."""
    database, data = parts.open_database(settings), parts.open_data(settings)
    vectors, wanted = parts.open_vectors(settings), wanted_collection(settings)
    if repair and collection is None:
        # A collection that was lost with its folder is made anew, and then filled.
        prepare_collection(
            database,
            vectors,
            alias=wanted.alias,
            model_ref=wanted.model_ref,
            pipeline_version=wanted.pipeline_version,
            tuning=wanted.tuning,
        )
    target = _target(vectors, settings.alias, collection)
    every, table = store_ids(settings), _table(target)
    agrees = True
    if stores:
        for name in store_ids(settings, stores):
            if repair:
                mended = repair_store(database, data, vectors, name, serving=target)
                before, after = mended.before, mended.after
            else:
                before = after = reconcile_store(database, vectors, name, serving=target)
            _row(table, name, before, after, repair=repair)
            agrees &= after.agrees
    else:
        if repair:
            whole = repair_all(database, data, vectors, target, every, remove_many=remove_many)
            before, after = whole.before, whole.after
        else:
            before = after = reconcile_all(database, vectors, target, every)
        for name in [*every, *sorted(set(before.by_store) - set(every))]:
            _row(table, name or NO_STORE, before, after, repair=repair, store=name)
        agrees = after.agrees
    wide_console().print(table)
    return 0 if agrees else 1


def _target(vectors: VectorStore, alias: str, name: str | None) -> Serving:
    if name is None:
        return serving_collection(vectors, alias)
    live = {each.collection: each for each in live_collections(vectors, alias).all}
    if name not in live:
        raise CollectionError(f"no collection {name!r} of the alias {alias!r}: there are {', '.join(live)}")
    return live[name]


def _table(target: Serving) -> Table:
    table = Table(title=f"{target.collection} against PostgreSQL", title_justify="left")
    table.add_column("store")
    for kind in DifferenceKind:
        table.add_column(str(kind), justify="right")
    table.add_column("verdict")
    return table


def _row(
    table: Table,
    name: str,
    before: ReconcileReport,
    after: ReconcileReport,
    *,
    repair: bool,
    store: str | None = None,
) -> None:
    found = before.counts if store is None else before.by_store.get(store, {})
    left = after.counts if store is None else after.by_store.get(store, {})
    differs = any(left.values())
    verdict = "mended" if any(found.values()) else "agrees"
    if differs:
        verdict = _what_is_left(left, repair=repair)
    table.add_row(name, *(f"{found.get(kind, 0):,}" for kind in DifferenceKind), verdict)


def _what_is_left(left: dict[str, int], *, repair: bool) -> str:
    """What to do about it; a vector that was forgotten comes back by embedding only."""
    if not repair:
        return "differs: run again with --repair"
    awaited = {kind for kind, count in left.items() if count} == {DifferenceKind.STALE_VECTOR}
    return "still differs" + (": its vectors are awaited, run the line for this store" if awaited else "")
