"""Checks on what is not partitioned: the collection, and each store's status."""

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import dagster as dg

from fashion_pipeline.defs import metadata as md
from fashion_pipeline.defs.resources import DatabaseResource, FeedsResource, VectorStoreResource
from fashion_pipeline.feeds.config import FeedsConfig
from fashion_pipeline.line.health import OK, health_table
from fashion_pipeline.line.live import live_collections
from fashion_pipeline.line.points import serving_collection
from fashion_pipeline.line.quality import last_verdict
from fashion_pipeline.line.reconcile import reconcile_all


def check_names(feeds: FeedsConfig) -> dict[str, str]:
    """The name of the check of each store that is not retired."""
    plain = {store.id: store.id.replace("-", "_") for store in feeds.stores}
    taken = Counter(plain.values())
    return {
        store.id: "store_"
        + plain[store.id]
        # The name of a check has no hyphen, and `a-b` is another store than `a_b`.
        + (f"_{sha256(store.id.encode()).hexdigest()[:6]}" if taken[plain[store.id]] > 1 else "")
        for store in feeds.stores
        if store.status != "retired"
    }


def build(stores: FeedsConfig) -> list[dg.AssetChecksDefinition]:
    """The checks on the collection and on the health of each store that is not retired."""
    names = check_names(stores)

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

    @dg.asset_check(asset="qdrant_collection")
    def whole_index_agrees(
        database: DatabaseResource, feeds: FeedsResource, vectors: VectorStoreResource
    ) -> dg.AssetCheckResult:
        """Every point of the serving collection against PostgreSQL, id by id, in one stream.

        Finds what a check by store cannot: points without a store, or of a store that left feeds.yaml.

        **When it fails**: `fashion-pipeline index reconcile`, then `--repair`. Runs of the line that write
        meanwhile may show as differences; they are gone when it runs again.
        """
        store = vectors.open()
        stores = [each.id for each in feeds.open().stores]
        report = reconcile_all(database.open(), store, serving_collection(store, vectors.alias()), stores)
        return dg.AssetCheckResult(
            passed=report.agrees,
            metadata=md.counts(wanted=report.wanted, points=report.points, **report.counts)
            | {
                "by_store": dg.MetadataValue.json(report.by_store),
                "sample": dg.MetadataValue.json([f"{each.kind} {each.id}" for each in report.sample]),
            }
            | md.seconds(total=report.seconds),
        )

    @dg.asset_check(asset="search_quality")
    def search_holds_its_promotion(
        database: DatabaseResource, vectors: VectorStoreResource
    ) -> dg.AssetCheckResult:
        """The newest figures of the serving model against those of its promotion, else its first ones.

        **When it warns**: recall@10 of titles or precision@10 of categories fell by more than 0.02; look at the
        contact sheet and at what was added since. **When it fails**: half of it is gone: a model folder, a
        collection or a settings file is the wrong one; `fashion-pipeline index rollback` goes back.
        """
        store = vectors.open()
        verdict = last_verdict(database.open(), vectors.alias(), serving_collection(store, vectors.alias()))
        return dg.AssetCheckResult(
            passed=verdict.kind == "ok",
            severity=dg.AssetCheckSeverity.ERROR
            if verdict.kind == "collapse"
            else dg.AssetCheckSeverity.WARN,
            description=verdict.words,
            metadata=md.texts(verdict=verdict.kind),
        )

    @dg.multi_asset_check(
        name="store_health",
        specs=[
            dg.AssetCheckSpec(
                name="no_store_needs_a_person",
                asset="catalog_health",
                description="No active store is late, refused or behind its index.\n\n"
                "**When it warns**: read `what_to_do` of the stores in the sample.",
            ),
            dg.AssetCheckSpec(
                name="no_store_is_late",
                asset="catalog_health",
                description="Every active store has a good feed of the day that was due.\n\n"
                "**When it warns**: open raw_feeds at the store's partition of that day; its last run says what "
                "the server answered. Materialize it again once that is mended.",
            ),
            *(
                dg.AssetCheckSpec(
                    name=name,
                    asset="catalog_health",
                    description=f"Store {store} needs nobody.\n\n**When it warns**: its result says what to do.",
                )
                for store, name in names.items()
            ),
        ],
    )
    def store_health(
        database: DatabaseResource, feeds: FeedsResource, vectors: VectorStoreResource
    ) -> Iterator[dg.AssetCheckResult]:
        table = health_table(database.open(), feeds.open(), live_collections(vectors.open(), vectors.alias()))
        records = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
        waiting = [row for row in records if row["what_to_do"] != OK]
        yield _count("no_store_needs_a_person", waiting, ("store", "what_to_do"))
        late = [row for row in records if row["late"]]
        yield _count("no_store_is_late", late, ("store", "last_good_day", "what_to_do"))
        by_store = {row["store"]: row for row in records}
        for store, name in names.items():
            yield _store(store, name, by_store.get(store))

    return [collection_can_serve, whole_index_agrees, search_holds_its_promotion, store_health]


def _store(store: str, name: str, row: dict[str, Any] | None) -> dg.AssetCheckResult:
    if row is None:
        gone = f"store {store} left feeds.yaml: reload the code location, and retire stores by `status`"
        return dg.AssetCheckResult(
            check_name=name, passed=False, severity=dg.AssetCheckSeverity.WARN, description=gone
        )
    numbers = ("products", "held", "missing_vectors", "index_lag")
    return dg.AssetCheckResult(
        check_name=name,
        passed=row["what_to_do"] == OK,
        severity=dg.AssetCheckSeverity.WARN,
        description=str(row["what_to_do"]),
        metadata=md.texts(last_good_day=row["last_good_day"], verdict=row["verdict"], late=row["late"])
        | md.counts(**{number: row[number] for number in numbers}),
    )


def _count(name: str, rows: Sequence[dict[Any, Any]], columns: Sequence[str]) -> dg.AssetCheckResult:
    sample = [{column: row[column] for column in columns} for row in rows[:10]]
    return dg.AssetCheckResult(
        check_name=name,
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"stores": dg.MetadataValue.int(len(rows)), "sample": md.table(sample)},
    )
