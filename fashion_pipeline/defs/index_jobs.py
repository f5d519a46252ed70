"""Jobs that change which model or shape serves: fill_candidate by store, promote, rollback. None runs by itself."""

import dagster as dg
from pydantic import Field

from fashion_pipeline.defs import metadata as md
from fashion_pipeline.defs.executor import one_process
from fashion_pipeline.defs.policies import (
    CANDIDATE,
    GPU_POOL,
    LINE_SECONDS,
    MAX_RUNTIME,
    PRIORITY,
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
from fashion_pipeline.feeds.config import FeedsConfig
from fashion_pipeline.line.points import serving_collection
from fashion_pipeline.line.promotion import MARGIN, MAX_PICTURES, fill_candidate, promote, rollback
from fashion_pipeline.line.quality import comparison


class FillConfig(dg.Config):
    """How much one run of fill_candidate does."""

    max_pictures: int = Field(
        default=MAX_PICTURES,
        ge=0,
        description="pictures embedded at most: the line waits for the GPU meanwhile; run again for the rest",
    )


class PromoteConfig(dg.Config):
    """The gate of a promotion."""

    margin: float = Field(
        default=MARGIN, ge=0.0, le=1.0, description="how much recall@10 the candidate may lose"
    )


@dg.op(pool=GPU_POOL, retry_policy=SERVER_RETRIES)
def fill_candidate_store(
    context: dg.OpExecutionContext,
    config: FillConfig,
    database: DatabaseResource,
    storage: StorageResource,
    vectors: VectorStoreResource,
    encoder: EncoderResource,
) -> None:
    """Embed a store's pictures by the candidate's model and write its points into the candidate."""
    store_id = context.partition_key
    with one_line_failures():
        report = fill_candidate(
            database.open(),
            storage.open(),
            vectors.open(),
            store_id,
            wanted=vectors.wanted(),
            load=encoder.load,
            max_pictures=config.max_pictures,
            vector_type=encoder.vector_type(),
            progress=progress_to(context.log, f"store {store_id}: pictures embedded for the candidate"),
        )
    context.add_output_metadata(
        md.texts(store=store_id, candidate=report.candidate, model=report.model_id)
        | md.counts(
            embedded=report.embedded.entered,
            inserted=report.points.inserted,
            pictures_left_for_the_next_run=report.waiting,
            waiting=report.complete.waiting,
        )
        | md.shares(complete=report.complete.share)
    )


@dg.op(pool=GPU_POOL)
def promote_candidate(
    context: dg.OpExecutionContext,
    config: PromoteConfig,
    database: DatabaseResource,
    storage: StorageResource,
    vectors: VectorStoreResource,
    encoder: EncoderResource,
    feeds: FeedsResource,
) -> None:
    """Move the alias to the candidate where it is complete, reconciled, green and finds as well."""
    with one_line_failures():
        store, wanted = vectors.open(), vectors.wanted()
        serving = serving_collection(store, wanted.alias)
        report = promote(
            database.open(),
            storage.open(),
            store,
            wanted=wanted,
            stores=[each.id for each in feeds.open().stores],
            measure=comparison(database.open(), store, serving, wanted.model_ref, encoder.load),
            margin=config.margin,
        )
    context.add_output_metadata(
        md.texts(alias=report.alias, serves=report.collection, served_before=report.previous)
        | md.counts(points=report.reconciled.points)
        | md.shares(
            recall_at_10=report.candidate_figures.title.recall_at_10,
            recall_at_10_before=report.serving_figures.title.recall_at_10,
        )
        | md.seconds(total=report.seconds)
    )


@dg.op
def roll_back(
    context: dg.OpExecutionContext,
    database: DatabaseResource,
    storage: StorageResource,
    vectors: VectorStoreResource,
    feeds: FeedsResource,
) -> None:
    """Move the alias back to the collection that served before."""
    with one_line_failures():
        report = rollback(
            database.open(),
            storage.open(),
            vectors.open(),
            alias=vectors.alias(),
            stores=[each.id for each in feeds.open().stores],
        )
    context.add_output_metadata(
        md.texts(alias=report.alias, serves=report.collection, served_before=report.previous)
        | md.counts(products_without_a_vector_yet=sum(report.behind.values()))
    )


def build(stores: FeedsConfig) -> list[dg.JobDefinition]:
    """The three jobs; `fill_candidate` has one partition per store."""

    @dg.job(
        name="fill_candidate",
        partitions_def=dg.StaticPartitionsDefinition([store.id for store in stores.stores]),
        tags={PRIORITY: CANDIDATE, MAX_RUNTIME: LINE_SECONDS},
        executor_def=one_process,
        description=(
            "Fill the candidate that the settings name (FASHION_PIPELINE_MODEL, shards in QDRANT_TUNING): "
            "one store a run, so backfill it over all stores, again until nothing waits. The line goes first."
        ),
    )
    def fill() -> None:
        fill_candidate_store()

    @dg.job(
        name="promote",
        tags={MAX_RUNTIME: LINE_SECONDS},
        executor_def=one_process,
        description="Point the alias at the candidate once it is complete, reconciled, green and finds as well.",
    )
    def promotion() -> None:
        promote_candidate()

    @dg.job(
        name="rollback",
        tags={MAX_RUNTIME: LINE_SECONDS},
        executor_def=one_process,
        description="Point the alias back at the collection that served before.",
    )
    def back() -> None:
        roll_back()

    return [fill, promotion, back]
