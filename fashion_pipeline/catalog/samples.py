"""Samples of indexed products and of their categories, the same ones for the same seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database

#: As `index.payload` spells a group.
_GROUP = "concat(p.store_id, '/', coalesce(p.item_group_id, CAST(p.id AS text)))"
#: The last level of a category path, as a person would ask for it.
_LEAF = "lower(trim(regexp_replace(p.product_type, '^.*>', '')))"
_INDEXED = "FROM index_entries entry JOIN products p ON p.id = entry.product_id AND p.delisted_on IS NULL"


@dataclass(frozen=True)
class SampledProduct:
    """An indexed product: what is asked for, and which groups are right: those with the same title."""

    id: UUID
    group: str
    title: str
    image_sha256: str
    relevant: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SampledCategory:
    """A category: its name in lower case, and the groups that are in it."""

    name: str
    relevant: frozenset[str]


_SAMPLE = text(
    f"""
    SELECT id, grouping, title, image_sha256 FROM (
        SELECT DISTINCT ON (entry.image_sha256) p.id, p.title, entry.image_sha256, {_GROUP} AS grouping
        {_INDEXED}
        WHERE entry.collection = :collection
        ORDER BY entry.image_sha256, p.store_id, p.external_id
    ) pictures
    ORDER BY md5(concat(CAST(:seed AS text), image_sha256)) LIMIT :size
    """
)

_SAME_TITLE = text(
    f"""
    SELECT lower(p.title), array_agg(DISTINCT {_GROUP})
    {_INDEXED}
    WHERE entry.collection = :collection AND lower(p.title) = ANY(CAST(:titles AS text[]))
    GROUP BY 1
    """
)

_CATEGORIES = text(
    f"""
    SELECT leaf, groups FROM (
        SELECT {_LEAF} AS leaf, array_agg(DISTINCT {_GROUP}) AS groups
        {_INDEXED}
        WHERE entry.collection = :collection AND p.product_type IS NOT NULL
        GROUP BY 1
    ) categories
    WHERE leaf <> '' ORDER BY md5(concat(CAST(:seed AS text), leaf)) LIMIT :size
    """
)


def sample_products(database: Database, collection: str, *, size: int, seed: int) -> list[SampledProduct]:
    """At most `size` indexed products with different pictures, drawn by hash."""
    with database.connection() as connection:
        rows = connection.execute(_SAMPLE, {"collection": collection, "size": size, "seed": seed}).all()
        titles = sorted({row.title.lower() for row in rows})
        same: Sequence[tuple[str, list[str]]] = connection.execute(
            _SAME_TITLE, {"collection": collection, "titles": titles}
        ).all()
    relevant = {title: frozenset(groups) for title, groups in same}
    # PostgreSQL lowers some letters differently from Python: the product's own group is right in any case.
    return [
        SampledProduct(
            row.id,
            row.grouping,
            row.title,
            row.image_sha256,
            relevant.get(row.title.lower(), frozenset()) | {row.grouping},
        )
        for row in rows
    ]


def sample_categories(database: Database, collection: str, *, size: int, seed: int) -> list[SampledCategory]:
    """At most `size` categories of indexed products, by the last level of their path, drawn by hash."""
    with database.connection() as connection:
        rows = connection.execute(_CATEGORIES, {"collection": collection, "size": size, "seed": seed})
        return [SampledCategory(row.leaf, frozenset(row.groups)) for row in rows]
