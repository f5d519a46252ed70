"""`clean_products`: a snapshot's bytes as canonical Parquet, its account and its verdict."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import pyarrow.parquet as pq

from fashion_pipeline.catalog import snapshots
from fashion_pipeline.catalog.apply import SnapshotFiles
from fashion_pipeline.catalog.baseline import compare_with_catalogue
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.snapshots import Snapshot
from fashion_pipeline.cleaning.cleaner import CLEANING_VERSION, Cleaner
from fashion_pipeline.cleaning.guards import Finding, judge
from fashion_pipeline.cleaning.run import CleanReport, clean_feed
from fashion_pipeline.errors import FeedError, PermanentError
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.feeds.reading import config_digest, open_items
from fashion_pipeline.feeds.supplements import SupplementFile
from fashion_pipeline.line.capture import supplements_of
from fashion_pipeline.storage import DataLocation

logger = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Acceptance:
    """A person's word that a refused feed is right."""

    sha256_prefix: str
    guards: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class CleanStageReport:
    """What cleaning a snapshot found. `action` is `cleaned` or `reused` (known bytes, nothing parsed)."""

    action: str
    snapshot: Snapshot
    account: dict[str, Any]
    verdict: str
    findings: tuple[dict[str, Any], ...]
    seconds: float


def cleaning_digest(store: StoreConfig) -> str:
    """What would change the rows made from the same bytes: mapping, reader and rules."""
    return f"{CLEANING_VERSION}-{config_digest(store)[:16]}"


def clean_snapshot(
    database: Database,
    data: DataLocation,
    store: StoreConfig,
    day: date,
    *,
    acceptance: Acceptance | None = None,
    progress: Progress | None = None,
) -> CleanStageReport:
    """Read and clean the last captured snapshot of a store's day, and judge it.

    Known bytes under known rules are not parsed again. An unreadable feed is recorded as refused
    before its error is raised, so that the next run fetches anew.

    Raises:
        PermanentError: nothing was captured, or the account does not add up.
        FeedError: the bytes cannot be read; nothing but the ledger was written.
        VerdictError: the acceptance does not fit.
    """
    began = time.perf_counter()
    cleaning = cleaning_digest(store)
    with database.lock(store.id, "clean_products"):
        with database.connection() as connection:
            snapshot = snapshots.require_capture(connection, store.id, day)
            twin = snapshots.cleaned_twin(connection, snapshot, cleaning)
        if twin is not None and data.exists(twin.clean_key or "") and data.exists(twin.rejected_key or ""):
            action, snapshot = "reused", _adopt(database, data, snapshot, twin, cleaning)
        else:
            action, snapshot = "cleaned", _clean(database, data, store, snapshot, cleaning, progress)
        snapshot = _judge(database, data, store, snapshot)
        if acceptance is not None and snapshot.verdict == "refused":
            with database.connection() as connection:
                snapshot = snapshots.accept(
                    connection,
                    snapshot,
                    sha256_prefix=acceptance.sha256_prefix,
                    guards=acceptance.guards,
                    reason=acceptance.reason,
                )
    return CleanStageReport(
        action,
        snapshot,
        snapshot.account or {},
        snapshot.verdict or "",
        tuple(snapshot.findings or ()),
        time.perf_counter() - began,
    )


def _clean(
    database: Database,
    data: DataLocation,
    store: StoreConfig,
    snapshot: Snapshot,
    cleaning: str,
    progress: Progress | None,
) -> Snapshot:
    place = f"store={store.id}/day={snapshot.day}"
    name = f"{snapshot.sha256[:16]}-{cleaning}.parquet"
    clean_key, rejected_key = f"clean/{place}/{name}", f"rejected/{place}/{name}"
    deletions_key = f"deletions/{place}/{name}"
    try:
        with (
            data.local_copy(snapshot.file_key) as raw,
            data.staging(f"clean/{place}") as clean,
            data.staging(f"rejected/{place}") as rejected,
            data.staging(f"deletions/{place}") as deletions,
            _supplements(data, store, snapshot) as supplements,
        ):
            reader = open_items(
                raw,
                store,
                content_type=snapshot.content_type,
                charset=snapshot.charset,
                supplements=supplements,
            )
            cleaner = Cleaner(store.id, store.currency, store.base_url)
            report = clean_feed(
                reader,
                cleaner,
                clean_path=clean.path,
                rejected_path=rejected.path,
                deletions_path=deletions.path,
                progress=progress,
            )
            _check_account(store, snapshot, report)
            clean.commit(clean_key)
            rejected.commit(rejected_key)
            if report.deletions:
                deletions.commit(deletions_key)
    except FeedError as error:
        # The reader knows its file by the name that it is kept under.
        said = str(error).replace(snapshot.sha256, "the feed")
        finding = {"guard": "unreadable", "message": said}
        with database.connection() as connection:
            failure: dict[str, Any] = {
                "failure": said,
                "verdict": "refused",
                "findings": [finding],
                "cleaning": cleaning,
                "clean_key": None,
                "account": None,
            }
            snapshots.record_cleaning(connection, snapshot, failure, ())
        raise FeedError(said) from error
    values: dict[str, Any] = {
        "cleaning": cleaning,
        "clean_key": clean_key,
        "rejected_key": rejected_key,
        "deletions_key": deletions_key if report.deletions else None,
        "account": asdict(report),
        "failure": None,
    }
    return _record(database, data, snapshot, values)


@contextmanager
def _supplements(
    data: DataLocation, store: StoreConfig, snapshot: Snapshot
) -> Iterator[tuple[SupplementFile, ...]]:
    """Local copies of the supplements that were captured with the feed, in the order of feeds.yaml."""
    captured = supplements_of(store, snapshot)
    absent = [part for n, part in enumerate(store.supplements) if n not in captured]
    if absent:
        raise PermanentError(
            f"store {store.id}, {snapshot.day}: the feed was captured without {len(absent)} of the supplements "
            "that feeds.yaml names now, and without them rows would lack what they add: materialize raw_feeds on "
            "the store's own day, or take them out of feeds.yaml while you clean a past day"
        )
    with ExitStack() as stack:
        yield tuple(
            SupplementFile(
                stack.enter_context(data.local_copy(file.file_key)),
                file.source,
                file.content_type,
                file.charset,
            )
            for _, file in sorted(captured.items())
        )


def _check_account(store: StoreConfig, snapshot: Snapshot, report: CleanReport) -> None:
    problem = report.accounting_error()
    if problem is not None:
        raise PermanentError(
            f"store {store.id}, {snapshot.day}: the account does not add up: {problem}. This is a defect of "
            "the reader or the mapping; nothing was written. Report it with the feed"
        )


def _adopt(
    database: Database, data: DataLocation, snapshot: Snapshot, twin: Snapshot, cleaning: str
) -> Snapshot:
    """Take over what was found in equal bytes before."""
    if twin.id == snapshot.id:
        return snapshot
    names = ("clean_key", "rejected_key", "deletions_key", "account")
    values = {name: getattr(twin, name) for name in names} | {"cleaning": cleaning, "failure": None}
    return _record(database, data, snapshot, values)


def _record(database: Database, data: DataLocation, snapshot: Snapshot, values: dict[str, Any]) -> Snapshot:
    with (
        data.local_copy(values["rejected_key"]) as rejected,
        database.connection() as connection,
    ):
        # A verdict belongs to what the rules made of the bytes: other rules, another judgement.
        values = values | {
            "verdict": None,
            "findings": None,
            "accepted_reason": None,
            "accepted_guards": None,
        }
        snapshots.record_cleaning(connection, snapshot, values, _rejected_rows(rejected))
    return replace(snapshot, **values)


def _rejected_rows(path: Any) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as parquet:
        for batch in parquet.iter_batches(batch_size=1000):
            yield from batch.to_pylist()


def _judge(database: Database, data: DataLocation, store: StoreConfig, snapshot: Snapshot) -> Snapshot:
    """Give the snapshot its verdict against the catalogue as it stands; a person's word stays."""
    if snapshot.verdict == "accepted":
        return snapshot
    with database.connection() as connection:
        state = snapshots.store_state(connection, store.id)
        known = (state.applied_sha256, state.applied_cleaning) == (snapshot.sha256, snapshot.cleaning)
        older = state.applied_through is not None and snapshot.day < state.applied_through
        findings: tuple[Finding, ...] = ()
        if not known and not older:
            # Recoveries are for people; the guards look at numbers.
            report = CleanReport(**((snapshot.account or {}) | {"recoveries": ()}))
            with local_files(data, snapshot) as files:
                baseline = compare_with_catalogue(connection, store.id, files)
            findings = judge(report, baseline, store.thresholds, full=store.mode == "full")
        verdict = "refused" if findings else "ok"
        told = [asdict(finding) for finding in findings]
        snapshots.record(connection, snapshot.id, {"verdict": verdict, "findings": told})
    return replace(snapshot, verdict=verdict, findings=told)


@contextmanager
def local_files(data: DataLocation, snapshot: Snapshot) -> Iterator[SnapshotFiles]:
    """Local copies of a cleaned snapshot's files.

    Raises:
        PermanentError: one of them is gone from the data location.
    """
    if snapshot.clean_key is None or snapshot.rejected_key is None:
        raise PermanentError(
            f"store {snapshot.store_id}, {snapshot.day}: the feed was not cleaned; materialize clean_products first"
        )
    with data.local_copy(snapshot.clean_key) as clean, data.local_copy(snapshot.rejected_key) as rejected:
        if snapshot.deletions_key is None:
            yield SnapshotFiles(clean, rejected)
            return
        with data.local_copy(snapshot.deletions_key) as deletions:
            yield SnapshotFiles(clean, rejected, deletions)
