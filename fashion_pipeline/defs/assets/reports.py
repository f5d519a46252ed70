"""`search_quality` and `catalog_health`: what people look at first."""

import dagster as dg

from fashion_pipeline.defs import history
from fashion_pipeline.defs import metadata as md
from fashion_pipeline.defs.policies import (
    GPU_POOL,
    HEALTH_FRESHNESS,
    OWNERS,
    SERVER_RETRIES,
    one_line_failures,
)
from fashion_pipeline.defs.resources import (
    DatabaseResource,
    EncoderResource,
    FeedsResource,
    StorageResource,
    VectorStoreResource,
)
from fashion_pipeline.line.health import HEALTH_COLUMNS, OK, health_table
from fashion_pipeline.line.live import live_collections
from fashion_pipeline.line.points import serving_collection
from fashion_pipeline.line.quality import measure_search


def build() -> list[dg.AssetsDefinition]:
    """The two reports; they are not partitioned and have jobs of their own."""

    @dg.asset(
        deps=["product_points"],
        group_name="reports",
        kinds={"qdrant", "pytorch"},
        tags={"stage": "7-report", "writes": "nothing"},
        owners=OWNERS,
        retry_policy=SERVER_RETRIES,
        pool=GPU_POOL,
    )
    def search_quality(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        storage: StorageResource,
        vectors: VectorStoreResource,
        encoder: EncoderResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """How well the serving model finds pictures by words, over seeded samples of the catalogue.

        **Tasks**: title to image asks for a product by its title; category to product for a category by its name.
        **Figures**: recall@1, recall@10, precision@10 and mean reciprocal rank of each, as Marqo's tables define
        them, over variant groups; the approximate search against the exact one; latency; the trend as a plot; and
        a contact sheet: each row a query, then its first results, the relevant ones framed.

        **When recall falls**: look at the contact sheet; a wrong preprocessor or model folder looks like noise.
        """
        with one_line_failures():
            store = vectors.open()
            report = measure_search(
                database.open(),
                store,
                storage.images(),
                alias=vectors.alias(),
                serving=serving_collection(store, vectors.alias()),
                candidate_ref=encoder.candidate(),
                load=encoder.load,
            )
        figures = report.figures
        result: dg.MaterializeResult[None] = dg.MaterializeResult(
            metadata=md.texts(model=report.model_id, collection=report.collection)
            | md.counts(queries=figures.title.queries, categories=figures.category.queries)
            | md.shares(
                recall_at_1=figures.title.recall_at_1,
                recall_at_10=figures.title.recall_at_10,
                precision_at_10=figures.title.precision_at_10,
                mean_reciprocal_rank=figures.title.mrr,
                category_recall_at_1=figures.category.recall_at_1,
                category_recall_at_10=figures.category.recall_at_10,
                category_precision_at_10=figures.category.precision_at_10,
                category_mean_reciprocal_rank=figures.category.mrr,
            )
            | {
                "approximate_against_exact": dg.MetadataValue.text("exact scan")
                if figures.approximate_recall is None
                else dg.MetadataValue.float(round(figures.approximate_recall, 4)),
                "latency_p50_ms": dg.MetadataValue.float(round(figures.latency_p50_ms, 2)),
                "latency_p95_ms": dg.MetadataValue.float(round(figures.latency_p95_ms, 2)),
            }
            | md.texts(against_the_promotion=report.verdict.words)
            | md.picture(report.sheet, "queries and their first results")
            | md.picture(report.trend, "recall and precision over time", name="quality_over_time")
            | md.seconds(total=report.seconds)
        )
        return history.compared(
            context,
            result,
            figures=("recall_at_1", "recall_at_10", "mean_reciprocal_rank", "latency_p95_ms", "queries"),
            trend="recall_at_10",
        )

    @dg.asset(
        deps=["product_points"],
        group_name="reports",
        kinds={"postgres", "pandas"},
        tags={"stage": "7-report", "writes": "nothing"},
        owners=OWNERS,
        retry_policy=SERVER_RETRIES,
        metadata=md.column_schema(md.model_columns(HEALTH_COLUMNS)),
        freshness_policy=HEALTH_FRESHNESS,
    )
    def catalog_health(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        feeds: FeedsResource,
        vectors: VectorStoreResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """One row per store: last good day, verdict, products, held, rejected share, missing vectors, index lag.

        **Start here when something is wrong**: stores that need a person come first, and `what_to_do` says what.
        Everything is read from PostgreSQL when this runs; nothing is taken from Dagster's own history.
        """
        with one_line_failures():
            live = live_collections(vectors.open(), vectors.alias())
            table = health_table(database.open(), feeds.open(), live)
        waiting = int((table["what_to_do"] != OK).sum())
        result: dg.MaterializeResult[None] = dg.MaterializeResult(
            metadata={
                "stores": md.table(table.to_dict("records")),
                "stores_that_need_a_person": dg.MetadataValue.int(waiting),
                "products": dg.MetadataValue.int(int(table["products"].sum())),
                "index_lag": dg.MetadataValue.int(int(table["index_lag"].sum())),
                "others_lag": dg.MetadataValue.int(int(table["others_lag"].sum())),
                "unreadable_collections": dg.MetadataValue.json(live.unreadable),
                "late": dg.MetadataValue.int(int(table["late"].sum())),
            }
        )
        return history.compared(
            context,
            result,
            figures=("stores_that_need_a_person", "late", "products", "index_lag"),
            trend="products",
        )

    return [search_quality, catalog_health]
