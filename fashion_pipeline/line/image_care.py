"""Whether the stored pictures are still whole and still needed, and what is wrong with those that are shown."""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from itertools import islice

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.image_care import PictureFindings, known_hashes, picture_findings, referenced
from fashion_pipeline.catalog.images import ask_again
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.line.repairing import check_extent
from fashion_pipeline.storage import Entry

#: Google asks for 250 x 250 pixels for clothing, and for 500 x 500 from 2027 on (feed specification).
SMALLEST_SIDE = 250
SMALLEST_SIDE_FROM_2027 = 500

#: Reads at once: an object store answers each after tens of milliseconds.
READERS = 16
BATCH = 500


@dataclass
class VerifyReport:
    """What re-hashing stored pictures found; the lists hold digests."""

    checked: int = 0
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether every picture is there with its bytes."""
        return not (self.damaged or self.missing)


def verify_pictures(
    database: Database,
    images: ImageStore,
    *,
    sample: int | None,
    repair: bool,
    repair_many: bool = False,
) -> VerifyReport:
    """Re-hash the pictures that `images` names: a random sample of so many, or all.

    With `repair` damaged files are removed, and what is damaged or missing is due for the next run.

    Raises:
        PermanentError: more than a tenth would be repaired, and `repair_many` was not said.
    """
    report = VerifyReport()
    hashes = known_hashes(database, sample=sample)
    with ThreadPoolExecutor(READERS, thread_name_prefix="verify") as threads:
        while some := list(islice(hashes, BATCH)):
            for sha256, state in zip(some, threads.map(lambda each: _state(images, each), some), strict=True):
                report.checked += 1
                if state is not None:
                    (report.missing if state == "missing" else report.damaged).append(sha256)
    if repair:
        if not repair_many:
            wrong = len(report.damaged) + len(report.missing)
            told = f"pictures are damaged ({len(report.damaged):,}) or missing ({len(report.missing):,})"
            check_extent(wrong, report.checked, told, images.data, "--repair --repair-many")
        for sha256 in report.damaged:
            images.discard(sha256)
        ask_again(database, [*report.damaged, *report.missing])
    return report


def _state(images: ImageStore, sha256: str) -> str | None:
    try:
        return None if images.verify(sha256) else "damaged"
    except PermanentError:
        return "missing"


@dataclass
class GarbageReport:
    """Files that nothing names, in files and bytes, of `old` ones; `leftovers` are parts that killed runs left."""

    old: int = 0
    pictures: int = 0
    leftovers: int = 0
    bytes: int = 0


def collect_garbage(
    database: Database,
    images: ImageStore,
    *,
    older_than_days: float,
    delete: bool,
    delete_many: bool = False,
    now: float | None = None,
) -> GarbageReport:
    """Find, and with `delete` remove, stored pictures that no row of `images` names.

    A run stores bytes before it enters their row, so younger files are left alone. Where a run finds the
    same bytes again in the moment of their removal, embedding asks for them anew.

    Raises:
        PermanentError: more than a tenth of them would be removed, and `delete_many` was not said.
    """
    if delete and not delete_many:
        found = collect_garbage(database, images, older_than_days=older_than_days, delete=False, now=now)
        check_extent(
            found.pictures, found.old, "pictures are named by no row", images.data, "--delete --delete-many"
        )
    report = GarbageReport()
    before = (time.time() if now is None else now) - older_than_days * 86_400
    old = ((sha256, entry) for sha256, entry in images.entries() if entry.modified < before)
    while some := dict(islice(old, BATCH)):
        known = referenced(database, some)
        unknown = [entry for sha256, entry in some.items() if sha256 not in known]
        report.old += len(some)
        report.pictures += len(unknown)
        _remove(images, unknown, report, delete=delete)
    parts = [entry for entry in images.leftovers() if entry.modified < before]
    report.leftovers = len(parts)
    _remove(images, parts, report, delete=delete)
    return report


def _remove(images: ImageStore, entries: Iterable[Entry], report: GarbageReport, *, delete: bool) -> None:
    for entry in entries:
        report.bytes += entry.size
        if delete:
            images.delete(entry)


def smallest_side(store: StoreConfig, day: date) -> int:
    """Pixels of the shorter side below which a picture of the store is too small on `day`."""
    if store.images.smallest_side is not None:
        return store.images.smallest_side
    return SMALLEST_SIDE_FROM_2027 if day.year >= 2027 else SMALLEST_SIDE


def inspect_pictures(database: Database, store: StoreConfig, day: date, *, limit: int) -> PictureFindings:
    """What is wrong with the pictures that a store shows: too small, or the same for half of its products."""
    return picture_findings(
        database,
        store.id,
        smallest_side=smallest_side(store, day),
        shared_share=store.images.shared_share,
        limit=limit,
    )
