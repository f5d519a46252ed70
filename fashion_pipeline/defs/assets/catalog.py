"""`products`: the store was brought up to date in PostgreSQL."""

import dagster as dg

from fashion_pipeline.catalog.models import Product, describe_columns
from fashion_pipeline.defs import history
from fashion_pipeline.defs import metadata as md
from fashion_pipeline.defs.partitions import partition_of
from fashion_pipeline.defs.policies import OWNERS, SERVER_RETRIES, one_line_failures
from fashion_pipeline.defs.resources import DatabaseResource, FeedsResource, StorageResource
from fashion_pipeline.line.apply import apply_products


def build(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """The asset on the line's partitions."""

    @dg.asset(
        partitions_def=partitions,
        deps=["clean_products"],
        group_name="catalogue",
        kinds={"postgres"},
        tags={"stage": "3-apply", "writes": "postgres"},
        owners=OWNERS,
        retry_policy=SERVER_RETRIES,
        metadata=md.column_schema(md.model_columns(describe_columns(Product))),
    )
    def products(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        storage: StorageResource,
        feeds: FeedsResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """The table `products`, brought up to date for one store in one transaction.

        **Grain**: one row per store and external id. New and changed items are upserted; items that are seen
        but not clean are held; items that left are tombstoned (`delisted_on`) and come back without a new
        embedding. An older day than the last applied one changes nothing.

        **When it fails**: the snapshot's guards refused it (the message says which and how to accept it), or
        PostgreSQL is away. In both cases no row was changed.
        """
        where = partition_of(context)
        with one_line_failures():
            report = apply_products(
                database.open(), storage.open(), feeds.open().store(where.store), where.day
            )
        result: dg.MaterializeResult[None] = dg.MaterializeResult(
            metadata=md.texts(
                outcome=report.outcome, store=where.store, catalogue_as_of=report.catalogue_as_of
            )
            | md.counts(
                new=report.new,
                changed=report.changed,
                price_changed=report.price_changed,
                returned=report.returned,
                released=report.released,
                held=report.held,
                hold_expired=report.hold_expired,
                delisted=report.delisted,
                deleted=report.deleted,
                refreshed_urls=report.refreshed_urls,
                unchanged=report.unchanged,
                first_seen_earlier=report.first_seen_earlier,
                active=report.active,
            )
            | {"delisting_blocked": dg.MetadataValue.bool(report.delisting_blocked)}
            | md.seconds(**report.stage_seconds)
            | {"dagster/row_count": dg.MetadataValue.int(report.active)},
        )
        return history.compared(
            context,
            result,
            figures=("active", "new", "changed", "price_changed", "returned", "held", "delisted"),
            trend="active",
        )

    return [products]
