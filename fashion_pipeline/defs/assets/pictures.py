"""`product_images` and `image_embeddings`: each distinct picture once."""

import dagster as dg

from fashion_pipeline.catalog.models import Image, describe_columns
from fashion_pipeline.defs import history
from fashion_pipeline.defs import metadata as md
from fashion_pipeline.defs.partitions import partition_of
from fashion_pipeline.defs.policies import (
    FETCH_POOL,
    GPU_POOL,
    NETWORK_RETRIES,
    OWNERS,
    SERVER_RETRIES,
    one_line_failures,
    progress_to,
)
from fashion_pipeline.defs.resources import (
    DatabaseResource,
    EncoderResource,
    FeedsResource,
    StorageResource,
    VectorStoreResource,
)
from fashion_pipeline.embeddings.report import EmbedReport
from fashion_pipeline.embeddings.shards import shard_schema
from fashion_pipeline.line.embed import embed_images
from fashion_pipeline.line.images import fetch_images, picture_sheet
from fashion_pipeline.line.points import serving_collection


def build(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """The two assets on the line's partitions."""

    @dg.asset(
        partitions_def=partitions,
        deps=["products"],
        group_name="pictures",
        kinds={"python"},
        tags={"stage": "4-pictures", "writes": "files"},
        owners=OWNERS,
        retry_policy=NETWORK_RETRIES,
        pool=FETCH_POOL,
        metadata=md.column_schema(md.model_columns(describe_columns(Image))),
    )
    def product_images(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        storage: StorageResource,
        feeds: FeedsResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """The pictures of a store's active products, kept by the SHA-256 of their bytes.

        **Grain**: one row of `images` per URL (less cache-busters), one file per content. Asked for: pictures
        that are not known, due again by age, behind a changed `?v=`, or due after a passing failure.

        **When pictures fail**: they are rows with a reason and never fail the run; `failed` says which kinds.
        The products stay listed, without a point until a picture comes.
        """
        where = partition_of(context)
        with one_line_failures():
            pictures = storage.images()
            report = fetch_images(
                database.open(),
                pictures,
                feeds.open().store(where.store),
                where.day,
                policy=feeds.policy(),
                limits=feeds.fetch_limits(where.store),
                progress=progress_to(context.log, f"store {where.store}: pictures asked for"),
            )
            sheet = picture_sheet(database.open(), pictures, where.store, report.new_pictures)
        fetched = report.fetch
        if fetched is not None:
            context.log.info("store %s: %s", where.store, fetched)
        result: dg.MaterializeResult[None] = dg.MaterializeResult(
            metadata=md.texts(store=where.store)
            | md.counts(
                due=report.due,
                fetched=fetched.fetched if fetched else 0,
                new_pictures=fetched.stored if fetched else 0,
                reused=fetched.reused if fetched else 0,
                not_modified=fetched.not_modified if fetched else 0,
                failed=sum(fetched.failed.values()) if fetched else 0,
                bytes=fetched.bytes if fetched else 0,
                known=report.known,
            )
            | {
                "images_per_second": dg.MetadataValue.float(
                    round(fetched.images_per_second, 1) if fetched else 0.0
                ),
                "failures": dg.MetadataValue.md(md.tally("failure", fetched.failed if fetched else {})),
                "slowest_hosts": md.table(
                    {
                        "host": each.host,
                        "requests": each.requests,
                        "mean_seconds": round(each.mean_seconds, 3),
                        "bytes": each.bytes,
                    }
                    for each in (fetched.slowest if fetched else ())
                ),
            }
            | md.picture(sheet, "new pictures")
            | md.seconds(total=report.seconds),
        )
        return history.compared(
            context,
            result,
            figures=("due", "fetched", "new_pictures", "not_modified", "failed", "known"),
            trend="known",
        )

    @dg.asset(
        partitions_def=partitions,
        deps=["product_images", "qdrant_collection"],
        group_name="pictures",
        kinds={"pytorch", "parquet"},
        tags={"stage": "5-embed", "writes": "files"},
        owners=OWNERS,
        retry_policy=SERVER_RETRIES,
        pool=GPU_POOL,
        metadata=md.column_schema(md.arrow_columns(shard_schema())),
    )
    def image_embeddings(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        storage: StorageResource,
        vectors: VectorStoreResource,
        encoder: EncoderResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """768-dimensional vectors of a store's pictures by the serving model, in Parquet shards.

        **Grain**: one vector per distinct picture and model. A picture that variants, products or stores share
        is embedded once. The model is not loaded when nothing is due.

        **When it fails**: the model's folder is missing or changed; the message says which it should be. What
        was embedded before is kept, and the next run goes on from there.
        """
        where = partition_of(context)
        with one_line_failures():
            report = embed_images(
                database.open(),
                storage.open(),
                where.store,
                serving=serving_collection(vectors.open(), vectors.alias()),
                candidate_ref=encoder.candidate(),
                load=encoder.load,
                options=encoder.options(),
                vector_type=encoder.vector_type(),
                progress=progress_to(context.log, f"store {where.store}: pictures embedded"),
            )
        pipeline = report.pipeline
        metadata = md.texts(store=where.store, model=report.model_id) | md.counts(
            due=report.due,
            embedded=pipeline.embedded if pipeline else 0,
            entered=report.entered,
            reused=report.embedded_before,
            failed=len(report.failures),
        )
        if pipeline is not None:
            metadata |= pipeline_metadata(pipeline, encoder.price_per_hour())
        result: dg.MaterializeResult[None] = dg.MaterializeResult(
            metadata=metadata | md.seconds(total=report.seconds)
        )
        return history.compared(
            context,
            result,
            figures=("due", "embedded", "reused", "failed", "images_per_second"),
            trend="images_per_second",
        )

    return [product_images, image_embeddings]


def pipeline_metadata(report: EmbedReport, price_per_hour: float | None) -> md.Metadata:
    """What a run of the embedding pipeline says of itself; the cost where the machine's price is known."""
    numbers = {
        "images_per_second": report.images_per_second,
        "encoder_wait_percent": 100 * report.encoder_wait_share,
    }
    cost = None if price_per_hour is None else report.cost_per_thousand(price_per_hour)
    if cost is not None:
        numbers["cost_per_1000_images"] = cost
    return (
        {"failures": dg.MetadataValue.md(md.tally("failure", report.failed))}
        | {name: dg.MetadataValue.float(float(f"{number:.4g}")) for name, number in numbers.items()}
        | md.counts(
            peak_memory_mib=report.peak_memory >> 20,
            worker_peak_memory_mib=report.worker_peak_memory >> 20,
            device_peak_memory_mib=report.device_peak_memory >> 20,
            decode_workers=report.workers,
        )
        | md.texts(
            device=report.device,
            precision=report.precision,
            decode=report.decode_mode,
            batch_size=report.batch_size,
        )
        | md.seconds(**report.stage_seconds)
    )
