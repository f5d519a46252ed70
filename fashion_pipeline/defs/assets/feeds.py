"""`raw_feeds` and `clean_products`: functions of their partition."""

from datetime import datetime

import dagster as dg
from pydantic import Field

from fashion_pipeline.catalog.models import FeedSnapshot, describe_columns
from fashion_pipeline.catalog.snapshots import Snapshot
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA
from fashion_pipeline.defs import history
from fashion_pipeline.defs import metadata as md
from fashion_pipeline.defs.partitions import partition_of
from fashion_pipeline.defs.policies import (
    FETCH_POOL,
    NETWORK_RETRIES,
    OWNERS,
    SERVER_RETRIES,
    one_line_failures,
    progress_to,
)
from fashion_pipeline.defs.resources import DatabaseResource, FeedsResource, StorageResource
from fashion_pipeline.line.capture import capture_feed
from fashion_pipeline.line.clean import Acceptance, clean_snapshot


class CaptureConfig(dg.Config):
    """How a capture is to be run."""

    refetch: bool = Field(
        default=False, description="ask the store again though a good snapshot of the day is there"
    )


class CleanConfig(dg.Config):
    """A person's word that a refused feed is right; all three belong together."""

    accept_sha256: str = Field(default="", description="at least 8 first digits of the snapshot's sha256")
    accept_guards: list[str] = Field(
        default_factory=list, description="the guards that fired and are overruled"
    )
    accept_reason: str = Field(default="", description="why the feed is right; it is kept with the snapshot")

    def acceptance(self) -> Acceptance | None:
        """The acceptance, where one was given."""
        if not (self.accept_sha256 or self.accept_guards or self.accept_reason):
            return None
        return Acceptance(self.accept_sha256, tuple(self.accept_guards), self.accept_reason)


def build(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """The two assets on the line's partitions."""

    @dg.asset(
        partitions_def=partitions,
        group_name="feeds",
        kinds={"python"},
        tags={"stage": "1-capture", "writes": "files"},
        owners=OWNERS,
        retry_policy=NETWORK_RETRIES,
        pool=FETCH_POOL,
        metadata=md.column_schema(md.model_columns(describe_columns(FeedSnapshot))),
    )
    def raw_feeds(
        context: dg.AssetExecutionContext,
        config: CaptureConfig,
        database: DatabaseResource,
        storage: StorageResource,
        feeds: FeedsResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """The exact bytes of a store's feed and its supplements for a day, one immutable file per content.

        **Grain**: one snapshot per store, day and sha256. **Source**: the store's `location` in feeds.yaml.

        Running it again reuses the day's snapshot, unless its guards refused it or `refetch` is set.
        A live feed is captured only on its own day; a location with `{date}` can be backfilled.

        **When it fails**: the message names the store and what its server answered. Other stores go on.
        """
        where = partition_of(context)
        with one_line_failures():
            store = feeds.open().store(where.store)
            report = capture_feed(
                database.open(),
                storage.open(),
                store,
                where.day,
                policy=feeds.policy(),
                user_agent=feeds.user_agent(),
                refetch=config.refetch,
                launched_at=_launched_at(context),
            )
        snapshot = report.snapshot
        result: dg.MaterializeResult[None] = dg.MaterializeResult(
            metadata=md.texts(action=report.action, store=where.store, day=where.day)
            | md.counts(bytes=snapshot.size_bytes)
            | md.link(feed=report.location, file=storage.open().describe(snapshot.file_key))
            | md.texts(
                sha256=snapshot.sha256,
                captured_at=snapshot.captured_at.isoformat(timespec="seconds"),
                etag=snapshot.etag,
            )
            | _supplements(snapshot)
            | md.seconds(total=report.seconds),
            data_version=dg.DataVersion(snapshot.sha256),
        )
        return history.compared(context, result, figures=("bytes", "seconds_total"), trend="bytes")

    @dg.asset(
        partitions_def=partitions,
        deps=[raw_feeds],
        group_name="feeds",
        kinds={"python", "parquet"},
        tags={"stage": "2-clean", "writes": "files"},
        owners=OWNERS,
        retry_policy=SERVER_RETRIES,
        metadata=md.column_schema(md.arrow_columns(CLEAN_SCHEMA)),
    )
    def clean_products(
        context: dg.AssetExecutionContext,
        config: CleanConfig,
        database: DatabaseResource,
        storage: StorageResource,
        feeds: FeedsResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """The snapshot as canonical Parquet; what could not be cleaned beside it, with every reason.

        **Grain**: one row per item (variant). Every source record is accounted for, and the guards give the
        snapshot its verdict. Known bytes are not parsed again.

        **When it fails**: the feed is empty, cut, an error page or of another format; the message says which,
        and what to do. **When its verdict check fails**: look at the findings; if the feed is right, run this
        asset again with `accept_sha256`, `accept_guards` and `accept_reason`, then the rest of the line.
        """
        where = partition_of(context)
        with one_line_failures():
            report = clean_snapshot(
                database.open(),
                storage.open(),
                feeds.open().store(where.store),
                where.day,
                acceptance=config.acceptance(),
                progress=progress_to(context.log, f"store {where.store}: items cleaned"),
            )
        account, snapshot = report.account, report.snapshot
        numbers = ("records", "items", "clean", "rejected", "duplicates", "deletions", "broken")
        files = storage.open()
        share = 100 * md.size(account["rejected"]) / max(1, md.size(account["items"]))
        result: dg.MaterializeResult[None] = dg.MaterializeResult(
            metadata=md.texts(action=report.action, verdict=report.verdict, store=where.store, day=where.day)
            | md.counts(**{name: md.size(account[name]) for name in numbers})
            | {
                "rejected_percent": dg.MetadataValue.float(round(share, 3)),
                "rejected_reasons": dg.MetadataValue.md(md.tally("reason", account["reasons"])),
                "fill_rates": md.table(
                    {"column": name, "percent": round(100 * account["fill"][name], 1)}
                    for name in CLEAN_SCHEMA.names
                    if name in account["fill"]
                ),
                "context_records": dg.MetadataValue.json(account["context"]),
                "recovered": dg.MetadataValue.json(account["recoveries"]),
                "supplements": md.table(
                    {"supplement": name} | counts for name, counts in account.get("supplements", {}).items()
                ),
                "findings": dg.MetadataValue.json(list(report.findings)),
            }
            | md.link(
                clean_file=files.describe(snapshot.clean_key or ""),
                rejected_file=files.describe(snapshot.rejected_key or ""),
                feed=snapshot.source,
            )
            | md.texts(
                show_rejected=f"fashion-pipeline rejected --store {where.store} --day {where.day}",
                sha256=snapshot.sha256,
            )
            | md.seconds(total=report.seconds)
            | {"dagster/partition_row_count": dg.MetadataValue.int(account["clean"])},
        )
        return history.compared(
            context,
            result,
            figures=("records", "items", "clean", "rejected", "rejected_percent", "duplicates", "deletions"),
            trend="rejected_percent",
        )

    return [raw_feeds, clean_products]


def _supplements(snapshot: Snapshot) -> md.Metadata:
    if not snapshot.supplement_files:
        return {}
    files = (
        {"location": file.source, "sha256": file.sha256, "bytes": file.size_bytes}
        for file in snapshot.supplement_files
    )
    return {"supplements": md.table(files)}


def _launched_at(context: dg.AssetExecutionContext) -> datetime | None:
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.create_timestamp if record is not None else None
