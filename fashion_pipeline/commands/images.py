"""`fashion-pipeline images`: ask again, verify, collect garbage, show."""

from pathlib import Path

from fashion_pipeline import parts
from fashion_pipeline.catalog.image_care import newest_pictures, retry_failed
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.images.types import ERRORS
from fashion_pipeline.line.image_care import collect_garbage, verify_pictures
from fashion_pipeline.line.images import picture_page
from fashion_pipeline.settings import Settings

#: Digests printed of damaged and missing pictures; more say nothing more.
SHOWN = 20


def run_retry(settings: Settings, store_id: str, errors: tuple[str, ...]) -> int:
    """Make a store's failed pictures due at once; 0 also where there are none."""
    store = parts.open_feeds(settings).store(store_id)
    found = retry_failed(
        parts.open_database(settings), store.id, errors=errors, per_product=store.images.per_product
    )
    console = wide_console()
    if not found:
        which = f" with {' or '.join(errors)}" if errors else ""
        console.print(f"store {store.id} has no failed picture{which}", highlight=False)
        return 0
    for error, count in found.most_common():
        meaning = f": {ERRORS[error].meaning}" if error in ERRORS else ""
        console.print(f"{count:>8,} {error}{meaning}", markup=False, highlight=False)
    console.print(
        f"{found.total():,} pictures are due now: materialize product_images for store {store.id}",
        highlight=False,
    )
    return 0


def run_verify(settings: Settings, sample: int | None, *, repair: bool, repair_many: bool) -> int:
    """Re-hash stored pictures; 1 where one is damaged or missing and stays so."""
    report = verify_pictures(
        parts.open_database(settings),
        ImageStore(parts.open_data(settings)),
        sample=sample,
        repair=repair,
        repair_many=repair_many,
    )
    console = wide_console()
    for state, hashes in (("damaged", report.damaged), ("missing", report.missing)):
        for sha256 in hashes[:SHOWN]:
            console.print(f"{state} {sha256}", highlight=False)
        if len(hashes) > SHOWN:
            console.print(f"... and {len(hashes) - SHOWN:,} more {state}", highlight=False)
    told = f"{report.checked:,} pictures re-hashed: {len(report.damaged):,} damaged, {len(report.missing):,} missing"
    if report.whole:
        console.print(told, highlight=False)
        return 0
    advice = (
        "they are due now: materialize product_images of their stores"
        if repair
        else "run again with --repair to have them fetched anew"
    )
    console.print(f"{told}; {advice}", highlight=False)
    return 0 if repair else 1


def run_garbage(settings: Settings, older_than_days: float, *, delete: bool, delete_many: bool) -> int:
    """Print, and with `delete` remove, what nothing names."""
    report = collect_garbage(
        parts.open_database(settings),
        ImageStore(parts.open_data(settings)),
        older_than_days=older_than_days,
        delete=delete,
        delete_many=delete_many,
    )
    done = "removed" if delete else "would be removed (dry run; --delete removes)"
    wide_console().print(
        f"{report.pictures:,} pictures that no row names and {report.leftovers:,} unfinished files, older than "
        f"{older_than_days:g} days, {report.bytes:,} bytes: {done}",
        highlight=False,
    )
    return 0


def run_sheet(settings: Settings, store_id: str, out: Path, limit: int) -> int:
    """Write a store's newest pictures as one picture.

    Raises:
        PermanentError: there is no picture yet.
    """
    store = parts.open_feeds(settings).store(store_id)
    database, images = parts.open_database(settings), ImageStore(parts.open_data(settings))
    newest = newest_pictures(database, store.id, limit=limit)
    page = picture_page(database, images, store.id, newest, limit=limit, tile_size=160)
    if page is None:
        raise PermanentError(f"store {store.id} has no picture yet: materialize product_images first")
    page.save(out)
    print(f"{len(newest)} newest pictures of store {store.id}: {out}")
    return 0
