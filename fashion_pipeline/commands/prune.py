"""`fashion-pipeline prune`: retention of feeds, rejected items, pictures and vectors."""

from datetime import UTC, datetime, timedelta

from fashion_pipeline import parts
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.line.prune import prune
from fashion_pipeline.settings import Settings


def run_prune(settings: Settings, keep_days: int, *, delete: bool) -> int:
    """Print, and with `delete` remove, what is older than `keep_days` days and not needed."""
    before = datetime.now(UTC).date() - timedelta(days=keep_days)
    stores = parts.open_feeds(settings).stores
    report = prune(
        parts.open_database(settings),
        parts.open_data(settings),
        before,
        per_product={store.id: store.images.per_product for store in stores},
        delete=delete,
    )
    console = wide_console()
    verdict = "removed" if delete else "would be removed (dry run; --delete removes)"
    console.print(
        f"from before {before}: {report.files:,} files of feeds ({report.bytes:,} bytes), {report.rejected:,} "
        f"rejected items, {report.pictures:,} pictures that no product shows, {report.vectors:,} vectors of no "
        f"picture: {verdict}",
        highlight=False,
    )
    if delete and (report.pictures or report.vectors):
        console.print(
            "their files go with `images gc --delete`, `embeddings compact` and `embeddings collect --remove`",
            highlight=False,
        )
    return 0
