"""`fashion-pipeline index reconcile`: does the serving collection say what PostgreSQL says?"""

import os

from rich.table import Table

from fashion_pipeline import parts
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.index.reconcile import DifferenceKind, ReconcileReport
from fashion_pipeline.line.points import prepare_collection, serving_collection
from fashion_pipeline.line.reconcile import reconcile_store, repair_store
from fashion_pipeline.settings import Settings
from fashion_pipeline.version import pipeline_version


def run_reconcile(settings: Settings, stores: tuple[str, ...], *, repair: bool) -> int:
    """Compare store by store and mend where told; 1 where something still differs."""
    database, data = parts.open_database(settings), parts.open_data(settings)
    vectors = parts.open_vectors(settings)
    if repair:
        # A collection that was lost with its folder is made anew, and then filled.
        prepare_collection(
            database,
            vectors,
            alias=settings.alias,
            model_ref=settings.model_ref,
            pipeline_version=pipeline_version(),
        )
    serving = serving_collection(vectors, settings.alias)
    feeds = parts.open_feeds(settings, os.environ)
    names = [feeds.store(name).id for name in stores] or [store.id for store in feeds.stores]
    table = Table(title=f"{serving.collection} against PostgreSQL", title_justify="left")
    table.add_column("store")
    for kind in ("points", *DifferenceKind):
        table.add_column(str(kind), justify="right")
    table.add_column("verdict")
    agrees = True
    for name in names:
        if repair:
            report = repair_store(database, data, vectors, name, serving=serving)
            _row(table, name, report.before, "agrees" if report.after.agrees else "still differs")
            agrees &= report.after.agrees
        else:
            found = reconcile_store(database, vectors, name, serving=serving)
            _row(table, name, found, "agrees" if found.agrees else "differs: run again with --repair")
            agrees &= found.agrees
    wide_console().print(table)
    return 0 if agrees else 1


def _row(table: Table, store_id: str, report: ReconcileReport, verdict: str) -> None:
    numbers = (f"{report.counts[kind]:,}" for kind in DifferenceKind)
    table.add_row(store_id, f"{report.points:,}", *numbers, verdict)
