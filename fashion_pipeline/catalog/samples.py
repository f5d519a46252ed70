"""Samples of indexed products, the same ones for the same seed."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database


@dataclass(frozen=True)
class SampledProduct:
    """An indexed product: what is asked for, and what should come back."""

    id: UUID
    group: str
    title: str
    image_sha256: str


_SAMPLE = text(
    """
    SELECT id, grouping, title, image_sha256 FROM (
        SELECT DISTINCT ON (entry.image_sha256) p.id, p.title, entry.image_sha256,
               concat(p.store_id, '/', coalesce(p.item_group_id, CAST(p.id AS text))) AS grouping
        FROM index_entries entry JOIN products p ON p.id = entry.product_id
        WHERE entry.collection = :collection AND p.delisted_on IS NULL
        ORDER BY entry.image_sha256, p.store_id, p.external_id
    ) pictures
    ORDER BY md5(concat(CAST(:seed AS text), image_sha256)) LIMIT :size
    """
)


def sample_products(database: Database, collection: str, *, size: int, seed: int) -> list[SampledProduct]:
    """At most `size` indexed products with different pictures, drawn by hash."""
    with database.connection() as connection:
        rows = connection.execute(_SAMPLE, {"collection": collection, "size": size, "seed": seed})
        return [SampledProduct(*row) for row in rows]
