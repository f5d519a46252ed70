"""`qdrant_collection` and `product_points`: what searches read."""

import dagster as dg

from fashion_pipeline.catalog.models import IndexEntry, Product, describe_columns
from fashion_pipeline.defs import history
from fashion_pipeline.defs import metadata as md
from fashion_pipeline.defs.partitions import partition_of
from fashion_pipeline.defs.policies import INDEX_POOL, OWNERS, SERVER_RETRIES, one_line_failures, progress_to
from fashion_pipeline.defs.resources import (
    DatabaseResource,
    FeedsResource,
    StorageResource,
    VectorStoreResource,
)
from fashion_pipeline.index.payload import payload_for
from fashion_pipeline.line.live import collection_rows, describe_others, describe_rows, write_live_points
from fashion_pipeline.line.points import Counted, prepare_collection


def build(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """The collection, and the points on the line's partitions."""

    @dg.asset(
        group_name="index",
        kinds={"qdrant"},
        tags={"stage": "0-collection", "writes": "qdrant"},
        owners=OWNERS,
        retry_policy=SERVER_RETRIES,
        metadata=md.column_schema(md.model_columns(describe_columns(IndexEntry))),
    )
    def qdrant_collection(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        vectors: VectorStoreResource,
        feeds: FeedsResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """The collection behind the serving alias: 768 dimensions, cosine, payload on disk.

        Made once, with the id of the model that its vectors come from in its metadata, and tuned as
        `QDRANT_TUNING` says; running it again changes what the settings changed. `collections` says which one
        serves, which is the candidate, how complete each is, and which old ones may be deleted.

        **When it fails**: Qdrant is away, the model's folder is incomplete, or the collection is another one;
        the message names what differs.
        """
        with one_line_failures():
            wanted = vectors.wanted()
            report = prepare_collection(
                database.open(),
                vectors.open(),
                alias=wanted.alias,
                model_ref=wanted.model_ref,
                pipeline_version=wanted.pipeline_version,
                tuning=wanted.tuning,
            )
            stores = [store.id for store in feeds.open().stores]
            rows = collection_rows(database.open(), vectors.open(), wanted, stores)
        info = report.info
        candidate = next((row for row in rows if row.role == "candidate"), None)
        result: dg.MaterializeResult[None] = dg.MaterializeResult(
            metadata=md.texts(
                alias=report.alias, serving_collection=info.name, serving_model=report.serving.model_id
            )
            | md.texts(
                candidate_model=report.candidate_model_id, distance=info.distance, engine=report.health.engine
            )
            | md.counts(
                dimension=info.dimension,
                points=info.points,
                waiting=rows[0].completeness.waiting,
                candidate_waiting=candidate.completeness.waiting if candidate else 0,
            )
            | {
                "collections": md.table(describe_rows(rows)),
                "tuning": dg.MetadataValue.json(wanted.tuning.given()),
                "created": dg.MetadataValue.bool(report.created),
                "on_disk_payload": dg.MetadataValue.text(_asserted(info.on_disk_payload)),
                "payload_indexes": dg.MetadataValue.json(dict(info.payload_indexes)),
            }
            | md.link(dashboard=vectors.dashboard(info.name))
        )
        return history.compared(context, result, figures=("points",), trend="points")

    @dg.asset(
        partitions_def=partitions,
        deps=["image_embeddings", "qdrant_collection"],
        group_name="index",
        kinds={"qdrant"},
        tags={"stage": "6-index", "writes": "qdrant"},
        owners=OWNERS,
        retry_policy=SERVER_RETRIES,
        pool=INDEX_POOL,
        metadata=md.column_schema(md.model_columns(_payload_columns())),
    )
    def product_points(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        storage: StorageResource,
        vectors: VectorStoreResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """A store's points in the serving collection, equal to its active products with a vector.

        **Grain**: one point per product, its id the product's. Only differences are written: a price change
        is a payload update, a new picture a vector, a tombstone a delete. A candidate and the collections that
        served before follow, as far as they have vectors; `others` says how far that is, and why one could not be
        written: that stops no search, fails the check `every_collection_follows`, and bars its promotion.

        **When it fails**: Qdrant is away or refuses; what was acknowledged is in the ledger, and the next
        run goes on from there. **When a check fails**: run this asset again, then reconcile.
        """
        where = partition_of(context)
        with one_line_failures():
            live = write_live_points(
                database.open(),
                storage.open(),
                vectors.open(),
                where.store,
                alias=vectors.alias(),
                progress=progress_to(context.log, f"store {where.store}: points written"),
            )
            report = live.serving
        result: dg.MaterializeResult[None] = dg.MaterializeResult(
            metadata=md.texts(store=where.store, collection=report.collection, model=report.model_id)
            | {"collection_asset": dg.MetadataValue.asset(dg.AssetKey("qdrant_collection"))}
            | md.link(dashboard=vectors.dashboard(report.collection))
            | md.counts(
                inserted=report.inserted,
                vectors_updated=report.vectors_updated,
                payloads_updated=report.payloads_updated,
                deleted=report.deleted,
                active_products=report.counts.active,
                indexed=report.counts.indexed,
                without_picture=report.counts.without_picture,
                without_vector=report.counts.without_vector,
            )
            | _counted(report.counted)
            | md.counts(collections_that_failed=len(live.failed))
            | {"others": md.table(describe_others(live))}
            | md.seconds(total=report.seconds)
            | {"dagster/row_count": dg.MetadataValue.int(report.counts.indexed)}
        )
        return history.compared(
            context,
            result,
            figures=(
                "indexed",
                "inserted",
                "vectors_updated",
                "payloads_updated",
                "deleted",
                "without_vector",
            ),
            trend="indexed",
        )

    return [qdrant_collection, product_points]


def _counted(counted: Counted | None) -> md.Metadata:
    """What was counted after the last write, and what to do where that is not what was acknowledged."""
    if counted is None:
        return {}
    return md.counts(points_counted=counted.points, points_acknowledged=counted.acknowledged) | md.texts(
        repair=None if counted.agrees else counted.remedy
    )


def _payload_columns() -> list[tuple[str, str, str, bool]]:
    """Name, type, meaning and nullability of each field that `payload_for` writes."""
    written = payload_for({"id": "", "store_id": ""})
    types = {"price": "float", "sale_price": "float", "category_levels": "keyword[]"}
    meant = {name: comment for name, _, comment, _ in describe_columns(Product)}
    meant |= {
        "category": meant["product_type"],
        "category_levels": "the category path and each of its levels",
        "image_sha256": "picture whose vector the point has",
        "payload_hash": "tells whether two payloads are the same",
    }
    return [
        (name, types.get(name, "keyword"), meant.get(name, ""), name not in ("store_id", "external_id"))
        for name in written
    ]


def _asserted(value: bool | None) -> str:
    return "not told by this engine" if value is None else "yes" if value else "no"
