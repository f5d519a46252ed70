"""`fashion-pipeline rejected`: the items of a day that could not become rows."""

from datetime import date

from rich.table import Table

from fashion_pipeline.catalog.rejected import rejected_items
from fashion_pipeline.catalog.snapshots import require_capture
from fashion_pipeline.cleaning.reasons import Reason
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.parts import open_database
from fashion_pipeline.settings import Settings


def show_rejected(settings: Settings, store_id: str, day: date, reason: str | None, limit: int) -> int:
    """Print the rejected items of the snapshot that stands for a store's day; the exit code.

    Raises:
        PermanentError: no such reason, or nothing was captured or cleaned for that day.
    """
    if reason is not None and reason not in set(Reason):
        raise PermanentError(f"no reason {reason!r}; there are: {', '.join(sorted(Reason))}")
    database = open_database(settings)
    with database.connection() as connection:
        snapshot = require_capture(connection, store_id, day)
    if snapshot.failure:
        raise PermanentError(f"store {store_id}, {day}: the feed could not be read: {snapshot.failure}")
    if snapshot.account is None:
        raise PermanentError(
            f"store {store_id}, {day}: the feed was not cleaned; materialize clean_products first"
        )
    items, total = rejected_items(database, snapshot, reason=reason, limit=limit)
    console = wide_console()
    asked = f" with reason {reason}" if reason else ""
    if not total and reason is None and snapshot.account["rejected"] + snapshot.account["broken"]:
        raise PermanentError(
            f"store {store_id}, {day}: the {snapshot.account['rejected']:,} rejected items and "
            f"{snapshot.account['broken']:,} broken records of that day were pruned"
        )
    if not items:
        console.print(f"no rejected item of store {store_id} on {day}{asked}")
        return 0
    table = Table(
        title=f"{store_id}, {day}: {len(items)} of {total} rejected items{asked}", title_justify="left"
    )
    for column in ("place", "id", "severity", "reasons", "detail", "raw"):
        table.add_column(column, overflow="fold")
    for item in items:
        table.add_row(
            item.place,
            item.external_id or "",
            item.severity,
            ", ".join(item.reasons),
            item.detail,
            item.raw[:300],
        )
    console.print(table, markup=False)
    found = {each for item in items for each in item.reasons}
    for known in Reason:
        if known in found:
            console.print(f"{known}: {known.explanation}", markup=False, highlight=False)
    console.print(
        "After a fix in feeds.yaml or in a mapping, materialize clean_products of this day again: the same bytes "
        "are cleaned anew by the changed rules.",
        highlight=False,
    )
    return 0
