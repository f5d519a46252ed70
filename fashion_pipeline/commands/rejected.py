"""`fashion-pipeline rejected`: the items of a day that could not become rows."""

from datetime import date

from rich.console import Console
from rich.table import Table

from fashion_pipeline.catalog.rejected import rejected_items
from fashion_pipeline.parts import open_database
from fashion_pipeline.settings import Settings


def show_rejected(settings: Settings, store_id: str, day: date, reason: str | None, limit: int) -> int:
    """Print a store's rejected items of a day; the exit code."""
    items = rejected_items(open_database(settings), store_id, day, reason=reason, limit=limit)
    console = Console()
    if not items:
        console.print(
            f"no rejected item of store {store_id} on {day}" + (f" with reason {reason}" if reason else "")
        )
        return 0
    table = Table(title=f"{store_id}, {day}: rejected items", title_justify="left")
    for column in ("place", "id", "reasons", "detail", "raw"):
        table.add_column(column, overflow="fold")
    for item in items:
        table.add_row(
            item.place, item.external_id or "", ", ".join(item.reasons), item.detail, item.raw[:300]
        )
    console.print(table, markup=False)
    return 0
