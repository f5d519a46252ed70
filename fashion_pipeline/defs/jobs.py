"""Jobs: the line for one store and day, and the three that are not partitioned."""

from typing import Any, TypeAlias

import dagster as dg

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


def line_job() -> AssetJob:
    """The whole line, for one store and one day."""
    return dg.define_asset_job(
        "line",
        selection=dg.AssetSelection.assets(*LINE_ASSETS),
        description="Bring one store up to date: its feed of a day, through to its points in Qdrant.",
    )


def other_jobs() -> list[AssetJob]:
    """Collection, search quality and health, each on its own."""
    return [
        dg.define_asset_job(
            "collection",
            selection=dg.AssetSelection.assets("qdrant_collection"),
            description="Make the collection and its alias where they are missing, and check them.",
        ),
        dg.define_asset_job(
            "quality",
            selection=dg.AssetSelection.assets("search_quality"),
            description="Measure the search over a sample of the catalogue.",
        ),
        dg.define_asset_job(
            "health",
            selection=dg.AssetSelection.assets("catalog_health"),
            description="The table of stores that an on-call reads first.",
        ),
    ]
