"""`fashion-pipeline demo`: the whole line on embedded parts, through Dagster runs that the UI shows."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from fashion_pipeline.catalog.migrate import migrate
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.commands.search import SearchRequest, run_search
from fashion_pipeline.definitions import build_definitions
from fashion_pipeline.defs.executor import keep_connections
from fashion_pipeline.defs.housekeeping import set_pool_limits
from fashion_pipeline.defs.loggers import QUIET
from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline.defs.policies import INTERRUPTED
from fashion_pipeline.demo.stores import DAYS
from fashion_pipeline.demo.world import write_world
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.home import enter_home, project_root
from fashion_pipeline.parts import open_database, open_feeds
from fashion_pipeline.settings import DEMO_FEEDS, Settings

#: Column of the summary to the asset and the metadata that it is read from.
SUMMARY = {
    "records": ("clean_products", "records"),
    "clean": ("clean_products", "clean"),
    "rejected": ("clean_products", "rejected"),
    "new": ("products", "new"),
    "changed": ("products", "changed"),
    "held": ("products", "held"),
    "delisted": ("products", "delisted"),
    "pictures": ("product_images", "new_pictures"),
    "embedded": ("image_embeddings", "embedded"),
    "points": ("product_points", "written"),
}
WORK = ("new", "changed", "delisted", "pictures", "embedded", "points")


@dataclass
class RunLine:
    """What one run did: a line of the summary."""

    day: date
    store: str
    seconds: float
    values: dict[str, int] = field(default_factory=dict)
    failure: str | None = None


def run_demo(settings: Settings, query: str) -> int:
    """Run both days of all demo stores, print what each run did, search; the exit code.

    Raises:
        PermanentError: the settings are not those of the demo.
    """
    if not settings.embedded or settings.feeds_path != DEMO_FEEDS:
        raise PermanentError(
            "the demo runs on embedded parts and its own stores: set FASHION_PIPELINE_PROFILE=embedded and "
            "leave FASHION_PIPELINE_FEEDS unset (a .env file may set it)"
        )
    began = time.perf_counter()
    console = wide_console()
    console.print("starting PostgreSQL, preparing the tables and Dagster's home")
    enter_home(settings)
    migrate(open_database(settings), project_root() / "alembic.ini")
    stores = [store.id for store in open_feeds(settings).stores]
    lines: list[RunLine] = []
    with dg.DagsterInstance.get() as instance, _progress(console, 3 + len(DAYS) * len(stores)) as step:
        definitions = build_definitions()
        keep_connections(instance)
        set_pool_limits(instance)
        step("the collection in Qdrant")
        _run(definitions, instance, "collection")
        for day in DAYS:
            write_world(settings.data_folder / "demo", day=day)
            for store in stores:
                step(f"{day} {store}")
                lines.append(_run_partition(definitions, instance, LinePartition(store, day)))
        step("search quality")
        quality = _run(definitions, instance, "quality")
        step("catalogue health")
        _run(definitions, instance, "health")
    _print_summary(console, lines)
    failed = [line for line in lines if line.failure]
    for line in failed:
        console.print(f"{line.day} {line.store}: {line.failure}", style="red", markup=False, highlight=False)
    recall = quality.get("recall_at_10")
    console.print(f"title to picture, recall@10 over {quality.get('queries')} products: {recall}")
    sheet = settings.data_folder / "demo" / "search.png"
    console.print(f'\nfashion-pipeline search "{query}" --out {sheet}')
    code = run_search(settings, SearchRequest(text=query, limit=10), as_json=False, out=sheet)
    console.print(
        f"{time.perf_counter() - began:.0f} seconds. `make dev` opens the Dagster UI on these runs."
    )
    return 1 if failed else code


def _run(definitions: dg.Definitions, instance: dg.DagsterInstance, job: str) -> dict[str, Any]:
    result = definitions.resolve_job_def(job).execute_in_process(instance=instance, run_config=QUIET)
    return {
        name: value.value
        for event in result.get_asset_materialization_events()
        for name, value in event.materialization.metadata.items()
    }


def _run_partition(
    definitions: dg.Definitions, instance: dg.DagsterInstance, partition: LinePartition
) -> RunLine:
    began = time.perf_counter()
    result = definitions.resolve_job_def("line").execute_in_process(
        instance=instance, partition_key=partition.key, run_config=QUIET, raise_on_error=False
    )
    found: dict[tuple[str, str], Any] = {}
    for event in result.get_asset_materialization_events():
        asset = event.materialization.asset_key.to_user_string()
        for name, value in event.materialization.metadata.items():
            found[asset, name] = value.value
    parts = ("inserted", "vectors_updated", "payloads_updated", "deleted")
    found["product_points", "written"] = sum(found.get(("product_points", part), 0) for part in parts)
    line = RunLine(partition.day, partition.store, time.perf_counter() - began)
    line.values = {column: int(found.get(source, 0)) for column, source in SUMMARY.items()}
    if not result.success:
        line.failure = _first_failure(result.all_events)
    if line.failure == INTERRUPTED:
        raise KeyboardInterrupt
    return line


def _first_failure(events: Sequence[dg.DagsterEvent]) -> str:
    for event in events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data is not None and data.user_failure_data.description:
                return data.user_failure_data.description
            error = data.error
            while error is not None and error.cause is not None:
                error = error.cause
            return error.message.strip() if error is not None else str(event.message)
    return "the run failed; see it in the UI"


def _print_summary(console: Console, lines: list[RunLine]) -> None:
    table = Table(title="what each run did", title_justify="left")
    table.add_column("day", no_wrap=True)
    table.add_column("store", no_wrap=True)
    for column in SUMMARY:
        table.add_column(column, justify="right")
    table.add_column("seconds", justify="right")
    for line in lines:
        numbers = (f"{line.values[column]:,}" for column in SUMMARY)
        table.add_row(str(line.day), line.store, *numbers, f"{line.seconds:.1f}")
    console.print(table)
    work = {name: sum(line.values[name] for line in lines) for name in WORK}
    if not any(work.values()) and not any(line.failure for line in lines):
        console.print("nothing changed: 0 pictures fetched anew, 0 embedded, 0 points written")


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Any]:
    if not console.is_terminal:
        done = 0

        def plain(what: str) -> None:
            nonlocal done
            done += 1
            console.print(f"[{done}/{total}] {what}", markup=False, highlight=False)

        yield plain
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total)
        first = True

        def bar(what: str) -> None:
            nonlocal first
            progress.update(task, description=what, advance=0 if first else 1)
            first = False

        yield bar
        progress.update(task, description="done", completed=total)
