"""Checks on what is not partitioned."""

import dagster as dg

from fashion_pipeline.defs import metadata as md
from fashion_pipeline.defs.resources import DatabaseResource, FeedsResource, VectorStoreResource
from fashion_pipeline.line.health import OK, health_table
from fashion_pipeline.line.points import serving_collection


def build() -> list[dg.AssetChecksDefinition]:
    """The checks on collection and health."""

    @dg.asset_check(asset="qdrant_collection", blocking=True)
    def collection_can_serve(vectors: VectorStoreResource) -> dg.AssetCheckResult:
        """The alias leads to a collection of 768 dimensions, cosine distance, on an engine that answers.

        **When it fails**: run `fashion-pipeline doctor`; it names what is wrong and what to do.
        """
        store = vectors.open()
        health = store.health()
        info = store.describe(serving_collection(store, vectors.alias()).collection)
        return dg.AssetCheckResult(
            passed=health.ok and info.dimension == 768 and info.distance == "cosine",
            metadata=md.texts(engine=health.engine, detail=health.detail, status=info.status)
            | md.counts(dimension=info.dimension, points=info.points),
        )

    @dg.asset_check(asset="catalog_health")
    def no_store_needs_a_person(
        database: DatabaseResource, feeds: FeedsResource, vectors: VectorStoreResource
    ) -> dg.AssetCheckResult:
        """No active store is late, refused or behind its index.

        **When it warns**: read `what_to_do` of the stores in the sample.
        """
        table = health_table(
            database.open(), feeds.open(), serving_collection(vectors.open(), vectors.alias())
        )
        waiting = table[table["what_to_do"] != OK]
        return dg.AssetCheckResult(
            passed=waiting.empty,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "stores": dg.MetadataValue.int(len(waiting)),
                "sample": md.table(waiting[["store", "what_to_do"]].head(10).to_dict("records")),
            },
        )

    return [collection_can_serve, no_store_needs_a_person]
