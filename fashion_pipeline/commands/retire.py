"""`fashion-pipeline retire`: a store's products leave the catalogue and the index, after a preview."""

from datetime import UTC, datetime

from rich.table import Table

from fashion_pipeline import parts
from fashion_pipeline.catalog.retire import store_holdings, tombstone_store
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.line.live import write_live_points
from fashion_pipeline.settings import Settings


def run_retire(settings: Settings, store_id: str, *, apply: bool) -> int:
    """Show what a retired store still has; with `apply`, tombstone its products and delete its points.

    1 where a collection could not be written.

    Raises:
        PermanentError: the store is not `retired` in feeds.yaml.
    """
    store = parts.open_feeds(settings).store(store_id)
    if store.status != "retired":
        raise PermanentError(
            f"store {store_id} is {store.status} in {settings.feeds_path}: set `status: retired` there and reload "
            "the code location first, or its next run would list its products again"
        )
    database = parts.open_database(settings)
    with database.connection() as connection:
        holdings = store_holdings(connection, store_id)
    table = Table(title=f"store {store_id}", title_justify="left")
    for column in ("active products", "of them held", "points", "pictures of its own"):
        table.add_column(column, justify="right")
    numbers = (holdings.active, holdings.held, sum(holdings.points.values()), holdings.own_pictures)
    table.add_row(*(f"{number:,}" for number in numbers))
    console = wide_console()
    console.print(table)
    for name, points in sorted(holdings.points.items()):
        console.print(f"  {points:,} points in {name}", markup=False)
    if not holdings.active and not holdings.points:
        console.print("nothing to retire")
        return 0
    if not apply:
        console.print(
            "nothing was changed. --apply makes the products tombstones and deletes the points; rows stay, pictures "
            "and vectors until `prune`, and a store that comes back before it needs no new embedding."
        )
        return 0
    today = datetime.now(UTC).date()
    with database.lock(store_id, "products"), database.connection() as connection:
        gone = tombstone_store(connection, store_id, today)
    live = write_live_points(
        database,
        parts.open_data(settings),
        parts.open_vectors(settings),
        store_id,
        alias=settings.alias,
    )
    console.print(f"{gone:,} products became tombstones of {today}; points deleted:")
    for report in (live.serving, *live.others):
        serves = "serves" if report is live.serving else "does not serve"
        console.print(f"  {report.deleted:,} of {report.collection} ({serves})", markup=False)
    for name, reason in live.failed.items():
        console.print(f"  not those of {name}: {reason}; mend it and run this again", markup=False)
    return 1 if live.failed else 0
