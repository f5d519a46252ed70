"""Looking after the pictures that are known: asked for again, still whole, still needed, fit to be shown."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.image_work import shown_pictures

#: So many products have to share a picture before it is taken for a placeholder: in a smaller shop three
#: colours of one bag are half of it.
LEAST_SHARED = 10


def retry_failed(
    database: Database, store_id: str, *, errors: Iterable[str] = (), per_product: int = 1
) -> Counter[str]:
    """Make the failed pictures of a store's active products due at once, lasting failures included.

    Also those whose bytes could not be decoded: they are fetched anew, without a condition.

    Args:
        database: the catalogue.
        store_id: store in feeds.yaml.
        errors: only these classes of failure; all where empty.
        per_product: pictures of a product that are fetched.

    Returns:
        How many, by class of failure.
    """
    wanted = sorted(errors) or None
    with shown_pictures(database, store_id, per_product) as (connection, pictures):
        rows = connection.execute(
            text(
                f"""
                WITH failed AS (
                    SELECT image_key, coalesce(decode_error, error) AS why FROM images
                    WHERE image_key IN (SELECT image_key FROM ({pictures}) shown)
                      AND (status <> 'fetched' OR decode_error IS NOT NULL)
                      AND (CAST(:errors AS text[]) IS NULL OR coalesce(decode_error, error) = ANY(:errors))
                    ORDER BY image_key FOR UPDATE
                )
                UPDATE images i SET status = 'failed_transient', next_attempt_at = now(), attempts = 0,
                    error = failed.why, decode_error = NULL,
                    etag = CASE WHEN i.decode_error IS NULL THEN i.etag END,
                    last_modified = CASE WHEN i.decode_error IS NULL THEN i.last_modified END
                FROM failed WHERE failed.image_key = i.image_key
                RETURNING failed.why
                """
            ),
            {"store": store_id, "after": "", "errors": wanted},
        )
        return Counter(row.why for row in rows)


def referenced(database: Database, hashes: Iterable[str]) -> set[str]:
    """Those of the digests that a row of `images` names."""
    with database.connection() as connection:
        return set(
            connection.scalars(
                text("SELECT DISTINCT sha256 FROM images WHERE sha256 = ANY(CAST(:hashes AS text[]))"),
                {"hashes": list(hashes)},
            )
        )


def known_hashes(database: Database, *, sample: int | None = None) -> Iterator[str]:
    """Digests of the pictures that are known, each once: all in their order, or a random sample."""
    if sample is not None:
        picked = text(
            "SELECT sha256 FROM (SELECT DISTINCT sha256 FROM images WHERE sha256 IS NOT NULL) known "
            "ORDER BY random() LIMIT :sample"
        )
        with database.connection() as connection:
            yield from connection.scalars(picked, {"sample": sample}).all()
        return
    page = text("SELECT DISTINCT sha256 FROM images WHERE sha256 > :after ORDER BY sha256 LIMIT 10000")
    after = ""
    while True:
        with database.connection() as connection:
            hashes = connection.scalars(page, {"after": after}).all()
        if not hashes:
            return
        yield from hashes
        after = hashes[-1]


@dataclass(frozen=True)
class PictureFindings:
    """What is wrong with the pictures that a store shows, though they could be fetched.

    `small` of `pictures` have a side below the limit; `shared` are pictures that so many of a store's
    `items` (groups of variants count once) have that they show none of them: a logo, "no picture yet".
    Both come with samples as records.
    """

    pictures: int
    small: int
    small_sample: list[dict[str, Any]]
    items: int
    shared: list[dict[str, Any]]


_SMALL = text(
    """
    SELECT i.url, i.width, i.height, i.format
    FROM images i
    WHERE least(i.width, i.height) < :side AND i.sha256 IS NOT NULL AND EXISTS (
        SELECT FROM products p
        WHERE p.store_id = :store AND p.delisted_on IS NULL AND p.image_key = i.image_key)
    ORDER BY least(i.width, i.height), i.image_key LIMIT :limit
    """
)
_SHARED = text(
    """
    WITH shown AS (
        SELECT DISTINCT coalesce(p.item_group_id, p.external_id) AS item, i.sha256
        FROM products p JOIN images i USING (image_key)
        WHERE p.store_id = :store AND p.delisted_on IS NULL AND i.sha256 IS NOT NULL
    ), counted AS (SELECT count(DISTINCT item) AS items FROM shown)
    SELECT (SELECT min(i.url) FROM images i WHERE i.sha256 = s.sha256) AS url, s.sha256,
           count(*) AS shared_by, c.items
    FROM shown s CROSS JOIN counted c
    GROUP BY s.sha256, c.items
    HAVING count(*) >= greatest(:least, :share * c.items)
    ORDER BY shared_by DESC, s.sha256 LIMIT :limit
    """
)
_COUNTS = text(
    """
    SELECT count(DISTINCT p.image_key) AS pictures,
           count(DISTINCT p.image_key) FILTER (WHERE least(i.width, i.height) < :side) AS small,
           count(DISTINCT coalesce(p.item_group_id, p.external_id)) AS items
    FROM products p JOIN images i USING (image_key)
    WHERE p.store_id = :store AND p.delisted_on IS NULL AND i.sha256 IS NOT NULL
    """
)


def picture_findings(
    database: Database, store_id: str, *, smallest_side: int, shared_share: float, limit: int
) -> PictureFindings:
    """Small and shared pictures of a store's active products; at most `limit` of each in the samples."""
    with database.connection() as connection:
        counts = connection.execute(_COUNTS, {"store": store_id, "side": smallest_side}).one()
        small = connection.execute(
            _SMALL, {"store": store_id, "side": smallest_side, "limit": limit}
        ).mappings()
        shared = connection.execute(
            _SHARED, {"store": store_id, "least": LEAST_SHARED, "share": shared_share, "limit": limit}
        ).mappings()
        return PictureFindings(
            counts.pictures,
            counts.small,
            [dict(row) for row in small],
            counts.items,
            [dict(row) for row in shared],
        )


_NEWEST = text(
    """
    SELECT sha256 FROM (
        SELECT i.sha256, max(i.created_at) AS since
        FROM products p JOIN images i USING (image_key)
        WHERE p.store_id = :store AND p.delisted_on IS NULL AND i.sha256 IS NOT NULL
        GROUP BY i.sha256
    ) known ORDER BY since DESC, sha256 LIMIT :limit
    """
)


def newest_pictures(database: Database, store_id: str, *, limit: int) -> list[str]:
    """Digests of the pictures of a store's active products that became known last."""
    with database.connection() as connection:
        return list(connection.scalars(_NEWEST, {"store": store_id, "limit": limit}))
