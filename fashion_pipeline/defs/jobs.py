"""Jobs: the line for one store and day, and those that are not partitioned."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import dagster as dg

from fashion_pipeline.defs.policies import CHANGED, LINE_SECONDS, MAX_RUNTIME, PRIORITY, REPORT_SECONDS

#: What `dg.define_asset_job` returns; Dagster does not export its class.
AssetJob: TypeAlias = Any

LINE_ASSETS = (
    "raw_feeds",
    "clean_products",
    "products",
    "product_images",
    "image_embeddings",
    "product_points",
)


def line_job(tags: Mapping[str, str]) -> AssetJob:
    """The whole line, for one store and one day; `tags` tell a run launcher what a run needs."""
    return dg.define_asset_job(
        "line",
        selection=dg.AssetSelection.assets(*LINE_ASSETS),
        tags={MAX_RUNTIME: LINE_SECONDS, **tags},
        description="Bring one store up to date: its feed of a day, through to its points in Qdrant.",
    )


def other_jobs() -> list[AssetJob]:
    """Collection, reconcile, search quality and health, each on its own."""
    stream = dg.AssetSelection.checks(
        dg.AssetCheckKey(dg.AssetKey("qdrant_collection"), "whole_index_agrees")
    )
    return [
        dg.define_asset_job(
            "collection",
            # Comparing every point belongs to a job of its own: it takes as long as the catalogue is large.
            selection=dg.AssetSelection.assets("qdrant_collection") - stream,
            tags={MAX_RUNTIME: REPORT_SECONDS},
            description="Make the collection and its alias where they are missing, and check them.",
        ),
        dg.define_asset_job(
            "reconcile",
            selection=stream,
            tags={MAX_RUNTIME: LINE_SECONDS},
            description="Compare every point of the serving collection with PostgreSQL; nothing is changed.",
        ),
        dg.define_asset_job(
            "quality",
            selection=dg.AssetSelection.assets("search_quality"),
            tags={MAX_RUNTIME: REPORT_SECONDS},
            description="Measure the search over a sample of the catalogue.",
        ),
        dg.define_asset_job(
            "health",
            selection=dg.AssetSelection.assets("catalog_health"),
            tags={MAX_RUNTIME: REPORT_SECONDS, PRIORITY: CHANGED},
            description="The table of stores that an on-call reads first.",
        ),
    ]
