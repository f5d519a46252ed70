"""Checks on the line's partitions. Each puts its partition into its metadata and says what to do.

Those of an asset are one step of a run, because a step costs more than most checks do.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import dagster as dg

from fashion_pipeline.catalog import snapshots
from fashion_pipeline.catalog.apply import SnapshotFiles
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.images import failing_pictures
from fashion_pipeline.catalog.rejected import count_rejected
from fashion_pipeline.catalog.snapshots import Snapshot
from fashion_pipeline.cleaning.contract import account_problems, check_clean_file, recount
from fashion_pipeline.defs import metadata as md
from fashion_pipeline.defs.partitions import LinePartition, partition_of
from fashion_pipeline.defs.resources import (
    DatabaseResource,
    FeedsResource,
    StorageResource,
    VectorStoreResource,
)
from fashion_pipeline.feeds.config import FeedsConfig
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.line.clean import local_files
from fashion_pipeline.line.health import FAILING_PICTURES
from fashion_pipeline.line.image_care import inspect_pictures, smallest_side
from fashion_pipeline.line.live import follow
from fashion_pipeline.line.points import serving_collection
from fashion_pipeline.line.reconcile import reconcile_store, turn_of
from fashion_pipeline.storage import DataLocation

#: Examples kept with a check, enough to start looking.
SAMPLE = 10


@dataclass(frozen=True)
class Found:
    """What a check found; `warn` where a failure is a heuristic's."""

    passed: bool
    metadata: md.Metadata
    warn: bool = False
    description: str = ""


@dataclass(frozen=True)
class Cleaned:
    """A day's cleaned snapshot; the first check that reads its files opens them for all."""

    snapshot: Snapshot
    clean_file: str
    files: Callable[[], SnapshotFiles]
    refused_rows: Callable[[], int]


@contextmanager
def _cleaned(where: LinePartition, database: Database, data: DataLocation) -> Iterator[Cleaned]:
    with ExitStack() as stack:
        with database.connection() as connection:
            snapshot = snapshots.require_capture(connection, where.store, where.day)
        yield Cleaned(
            snapshot,
            data.describe(snapshot.clean_key or ""),
            cache(lambda: stack.enter_context(local_files(data, snapshot))),
            lambda: count_rejected(database, snapshot),
        )


def clean_file_keeps_its_contract(cleaned: Cleaned) -> Found:
    """The Parquet on disk, read again: schema, required values, unique ids, prices, currencies, row count.

    **When it fails**: the file was changed after it was written, or the cleaner has a defect. Delete the
    file that the metadata names and materialize clean_products again; if it fails again, report it.
    """
    rows = int((cleaned.snapshot.account or {})["clean"])
    problems = check_clean_file(Path(cleaned.files().clean), rows)
    return Found(
        not problems,
        metadata=md.counts(violations=len(problems))
        | {"sample": dg.MetadataValue.json(problems[:SAMPLE])}
        | md.texts(file=cleaned.clean_file),
    )


def every_record_is_accounted_for(cleaned: Cleaned) -> Found:
    """The account against the files on disk and the table of rejected items, counted anew.

    Records = yielding + context + broken; items = clean + rejected + duplicates + deletions, with the rows of
    the clean, rejected and deletion files and of `rejected_products` for what cleaning said of itself.

    **When it fails**: rows were lost in silence, or a file was changed after it was written; nothing may be
    applied. Materialize clean_products again; if it fails again, report it with the feed's file.
    """
    account, files = cleaned.snapshot.account or {}, cleaned.files()
    found = recount(files.clean, files.rejected, files.deletions)
    problems = account_problems(account, found, cleaned.refused_rows())
    names = ("records", "yielding", "broken", "items", "clean", "rejected", "duplicates", "deletions")
    return Found(
        not problems,
        metadata=md.counts(
            **{name: md.size(account[name]) for name in names},
            context=sum(account["context"].values()),
            **{f"{name}_in_files": count for name, count in found.items()},
        ),
        description="; ".join(problems),
    )


def guards_accept_the_snapshot(cleaned: Cleaned) -> Found:
    """The verdict of the guards on these bytes: shrink, rejected share, no row at all, prices, currency, pictures.

    This check shows the verdict; the refusal itself is in the code that applies. **When it fails**: look at
    the findings and at the feed. If it is wrong, materialize raw_feeds again once the store mended it. If it
    is right, materialize clean_products with `accept_sha256`, `accept_guards` and `accept_reason`.
    """
    snapshot = cleaned.snapshot
    return Found(
        snapshot.verdict in {"ok", "accepted"},
        metadata=md.texts(
            verdict=snapshot.verdict, sha256=snapshot.sha256, accepted_because=snapshot.accepted_reason
        )
        | {"findings": dg.MetadataValue.json(snapshot.findings or [])},
        description="; ".join(str(finding["message"]) for finding in snapshot.findings or []),
    )


def pictures_can_be_fetched(where: LinePartition, database: Database, feeds: FeedsConfig) -> Found:
    """At most one picture in twenty of the store's active products fails.

    **When it warns**: the sample names URLs and failure classes. `http_403` and `http_429` ask for a slower
    rate in feeds.yaml; `forbidden_address` for an allowed host; `http_404` for a word with the store.
    Once that is mended, `fashion-pipeline images retry --store STORE` has lasting failures asked for again.
    """
    del feeds
    total, failing, sample = failing_pictures(database, where.store, limit=SAMPLE)
    return Found(
        failing <= FAILING_PICTURES * total,
        warn=True,
        metadata=md.counts(pictures=total, failing=failing) | {"sample": md.table(sample)},
    )


def pictures_show_the_products(where: LinePartition, database: Database, feeds: FeedsConfig) -> Found:
    """No picture is shared by half of the store's products, and at most one in twenty is too small.

    **When it warns**: `shared` shows the store's logo or "no picture yet", which makes all its products alike
    to a search: tell the store. `small` pictures lose their details; ask the store for larger ones, or set
    `images: {smallest_side: ...}` in feeds.yaml. Nothing is rejected for either.
    """
    store = feeds.store(where.store)
    found = inspect_pictures(database, store, where.day, limit=SAMPLE)
    return Found(
        not found.shared and found.small <= FAILING_PICTURES * found.pictures,
        warn=True,
        metadata=md.counts(
            pictures=found.pictures,
            small=found.small,
            smallest_side=smallest_side(store, where.day),
            shared=len(found.shared),
        )
        | {"shared_pictures": md.table(found.shared), "small_pictures": md.table(found.small_sample)},
    )


def index_agrees_with_catalogue(
    where: LinePartition, database: Database, vectors: VectorStore, alias: str
) -> Found:
    """The store's points against PostgreSQL, id by id: missing, orphaned, stale payload, stale vector.

    Of a store of more than 10,000 points a part of 5,000 to 10,000 is compared, another each day: `part` says
    which. The job `reconcile` and `fashion-pipeline index reconcile` compare all.

    **When it fails**: run product_points again. If it stays, the collection was changed behind the ledger,
    by a restore for example: `fashion-pipeline index reconcile --repair` mends it.
    """
    serving = serving_collection(vectors, alias)
    turn = turn_of(database, where.store, where.day, serving)
    report = reconcile_store(database, vectors, where.store, serving=serving, turn=turn)
    return Found(
        report.agrees,
        metadata=md.counts(points=report.points, **report.counts)
        | md.texts(part=f"{turn.number} of {turn.of}")
        | {"sample": dg.MetadataValue.json([f"{each.kind} {each.id}" for each in report.sample])},
    )


def every_collection_follows(
    where: LinePartition, database: Database, vectors: VectorStore, alias: str
) -> Found:
    """Each live collection has as many of the store's points as it acknowledged, and none is left to write.

    The collections: the serving one, the candidate, and those that served before. Counting sees writes that
    were lost after they were acknowledged; the ledger tells what a collection could not be given.

    **When it fails**: each collection's `what_to_do` says what is wrong and how to mend it. A candidate that
    fails here serves no search and cannot be promoted; an old one cannot be rolled back to.
    """
    found = follow(database, vectors, where.store, alias=alias)
    wrong = [each for each in found if not each.follows]
    return Found(
        not wrong,
        metadata=md.counts(collections=len(found), wrong=len(wrong))
        | {
            "live": md.table(
                {
                    "collection": each.collection,
                    "serves": "yes" if each.serves else "no",
                    "points": "" if each.counted is None else each.counted.points,
                    "acknowledged": "" if each.counted is None else each.counted.acknowledged,
                    "behind": each.behind,
                    "what_to_do": each.remedy or "nothing",
                }
                for each in found
            )
        },
        description="; ".join(each.remedy for each in wrong),
    )


CLEAN_CHECKS = (clean_file_keeps_its_contract, every_record_is_accounted_for, guards_accept_the_snapshot)
IMAGE_CHECKS = (pictures_can_be_fetched, pictures_show_the_products)
POINT_CHECKS = (index_agrees_with_catalogue, every_collection_follows)


def build(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetChecksDefinition]:
    """The checks on the line's partitions."""

    def specs(
        asset: str, checks: Sequence[Callable[..., Found]], *, blocking: bool = False
    ) -> list[dg.AssetCheckSpec]:
        return [
            dg.AssetCheckSpec(
                check.__name__,
                asset=asset,
                description=inspect.getdoc(check),
                blocking=blocking,
                partitions_def=partitions,
            )
            for check in checks
        ]

    @dg.multi_asset_check(specs=specs("clean_products", CLEAN_CHECKS, blocking=True), can_subset=True)
    def clean_products_checks(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource, storage: StorageResource
    ) -> Iterator[dg.AssetCheckResult]:
        with _cleaned(partition_of(context), database.open(), storage.open()) as cleaned:
            yield from _results(context, CLEAN_CHECKS, cleaned)

    @dg.multi_asset_check(specs=specs("product_images", IMAGE_CHECKS), can_subset=True)
    def product_images_checks(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource, feeds: FeedsResource
    ) -> Iterator[dg.AssetCheckResult]:
        yield from _results(context, IMAGE_CHECKS, partition_of(context), database.open(), feeds.open())

    @dg.multi_asset_check(specs=specs("product_points", POINT_CHECKS), can_subset=True)
    def product_points_checks(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource, vectors: VectorStoreResource
    ) -> Iterator[dg.AssetCheckResult]:
        yield from _results(
            context, POINT_CHECKS, partition_of(context), database.open(), vectors.open(), vectors.alias()
        )

    return [clean_products_checks, product_images_checks, product_points_checks]


def _results(
    context: dg.AssetCheckExecutionContext, checks: Sequence[Callable[..., Found]], *given: object
) -> Iterator[dg.AssetCheckResult]:
    where = partition_of(context)
    selected = {key.name for key in context.selected_asset_check_keys}
    for check in checks:
        if check.__name__ in selected:
            found = check(*given)
            yield dg.AssetCheckResult(
                check_name=check.__name__,
                passed=found.passed,
                severity=dg.AssetCheckSeverity.WARN if found.warn else dg.AssetCheckSeverity.ERROR,
                metadata=md.texts(store=where.store, day=where.day) | found.metadata,
                description=found.description or None,
            )
