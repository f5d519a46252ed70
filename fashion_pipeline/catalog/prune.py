"""What the ledgers still need, and forgetting what they do not: for retention."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from sqlalchemy import Connection, text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.cleaning.urls import image_key

#: Rows per statement: bounds what one transaction locks.
BATCH = 10_000

# The newest applied snapshot, what came after it and what waits to be applied stay whatever their age:
# to be cleaned anew by changed rules, or applied. A store that was never applied loses nothing.
_OLD_SNAPSHOT = """
    coalesce(s.day < :before AND s.day < (SELECT applied_through FROM stores a WHERE a.store_id = s.store_id), false)
"""
_NEEDED_FILES = text(
    f"""
    SELECT file.key FROM feed_snapshots s CROSS JOIN LATERAL (
        SELECT unnest(ARRAY[s.file_key, s.clean_key, s.rejected_key, s.deletions_key]) AS key
        UNION ALL
        SELECT supplement ->> 'file_key' FROM jsonb_array_elements(
            CASE jsonb_typeof(s.supplements) WHEN 'array' THEN s.supplements ELSE '[]' END) AS supplement
    ) AS file
    WHERE s.store_id = :store AND NOT {_OLD_SNAPSHOT} AND file.key IS NOT NULL
    """
)
_OLD_REJECTED = f"""
    FROM rejected_products r WHERE r.created_at < :since AND r.snapshot_id IN (
        SELECT s.id FROM feed_snapshots s WHERE s.store_id = :store AND {_OLD_SNAPSHOT})
"""


def captured_stores(database: Database) -> list[str]:
    """Every store with a snapshot, in order."""
    with database.connection() as connection:
        return list(
            connection.scalars(text("SELECT DISTINCT store_id FROM feed_snapshots ORDER BY store_id"))
        )


def needed_files(connection: Connection, store_id: str, before: date) -> set[str]:
    """Keys of a store's files, supplements included, that a snapshot names which is not old."""
    return set(connection.scalars(_NEEDED_FILES, {"store": store_id, "before": before}))


def forget_rejected(connection: Connection, store_id: str, before: date, *, delete: bool) -> int:
    """Count, and with `delete` remove, rejected items of a store's old snapshots."""
    values = {"store": store_id, "before": before, "since": _midnight(before)}
    if delete:
        return connection.execute(text(f"DELETE {_OLD_REJECTED}"), values).rowcount
    return int(connection.execute(text(f"SELECT count(*) {_OLD_REJECTED}"), values).scalar_one())


@dataclass(frozen=True)
class ForgottenPictures:
    """Rows of `images` and of `embeddings` that no product needs any more."""

    pictures: int
    vectors: int


_FURTHER = text(
    """
    SELECT id, additional_image_urls[1:CAST(:count AS int)] AS urls FROM products
    WHERE store_id = :store AND additional_image_urls IS NOT NULL
      AND (delisted_on IS NULL OR delisted_on >= :before)
      AND (CAST(:after AS uuid) IS NULL OR id > CAST(:after AS uuid))
    ORDER BY id LIMIT 2000
    """
)
# A picture that is shown is asked again, at the latest after the store's `recheck_after_days`: what was not
# asked for so long is not shown any more, by a product that is gone or by one that shows another.
_STAGE_OLD = text(
    """
    INSERT INTO old_pictures SELECT i.image_key FROM images i
    WHERE i.updated_at < :since
      AND NOT EXISTS (SELECT FROM products p WHERE p.image_key = i.image_key
                      AND (p.delisted_on IS NULL OR p.delisted_on >= :before))
      AND NOT EXISTS (SELECT FROM kept_pictures k WHERE k.image_key = i.image_key)
    """
)
_DELETE_OLD = text(
    """
    WITH page AS (
        SELECT i.image_key FROM images i WHERE i.image_key IN (
            SELECT image_key FROM old_pictures WHERE image_key > :after ORDER BY image_key LIMIT :batch)
          AND i.updated_at < :since
        ORDER BY i.image_key FOR UPDATE
    )
    DELETE FROM images i USING page WHERE i.image_key = page.image_key
    """
)
_LAST_OF_BATCH = text(
    "SELECT max(image_key) FROM (SELECT image_key FROM old_pictures WHERE image_key > :after "
    "ORDER BY image_key LIMIT :batch) page"
)
# A point shows its old picture until the new one is embedded.
_OLD_VECTORS = """
    FROM embeddings e WHERE e.created_at < :since
      AND NOT EXISTS (SELECT FROM images i WHERE i.sha256 = e.image_sha256
                      AND NOT EXISTS (SELECT FROM old_pictures o WHERE o.image_key = i.image_key))
      AND NOT EXISTS (SELECT FROM index_entries n WHERE n.image_sha256 = e.image_sha256)
"""


def forget_pictures(
    database: Database, before: date, per_product: Mapping[str, int], *, delete: bool
) -> ForgottenPictures:
    """Count, and with `delete` forget, pictures that no product shows, and vectors of no picture.

    A product counts until `before` lies after the day on which it was delisted; a row is kept where it was
    made or asked for since then. A picture that is shown again is fetched and embedded again. The files are
    left to garbage collection.

    Args:
        per_product: pictures of a product that are fetched, by store, where they are more than one.
    """
    since = _midnight(before)
    with _staged(database, before, per_product) as connection:
        connection.execute(_STAGE_OLD, {"since": since, "before": before})
        pictures: int = connection.execute(text("SELECT count(*) FROM old_pictures")).scalar_one()
        if delete:
            pictures, after = 0, ""
            while last := connection.scalar(_LAST_OF_BATCH, {"after": after, "batch": BATCH}):
                values = {"after": after, "batch": BATCH, "since": since}
                pictures += connection.execute(_DELETE_OLD, values).rowcount
                after = last
            # What was asked for in the meantime stays, and its vector with it.
            connection.execute(text("TRUNCATE old_pictures"))
            vectors = connection.execute(text(f"DELETE {_OLD_VECTORS}"), {"since": since}).rowcount
        else:
            vectors = connection.execute(
                text(f"SELECT count(*) {_OLD_VECTORS}"), {"since": since}
            ).scalar_one()
    return ForgottenPictures(pictures, vectors)


@contextmanager
def _staged(database: Database, before: date, per_product: Mapping[str, int]) -> Iterator[Connection]:
    """A connection with the keys of additional pictures that are kept, and room for those of old ones."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in ("kept_pictures", "old_pictures"):
            connection.execute(text(f"CREATE TEMP TABLE {table} (image_key text PRIMARY KEY)"))
        try:
            for store_id, count in per_product.items():
                if count > 1:
                    _keep_further(connection, store_id, count - 1, before)
            connection.execute(text("ANALYZE kept_pictures"))
            yield connection
        finally:
            # The connection goes back to the pool. Where it broke, the tables went with it.
            if not connection.invalidated:
                connection.execute(text("DROP TABLE kept_pictures, old_pictures"))


def _keep_further(connection: Connection, store_id: str, count: int, before: date) -> None:
    after = None
    while True:
        values = {"store": store_id, "count": count, "before": before, "after": after}
        products = connection.execute(_FURTHER, values).all()
        if not products:
            return
        keys = sorted({image_key(url) for row in products for url in row.urls})
        connection.execute(
            text("INSERT INTO kept_pictures SELECT unnest(CAST(:keys AS text[])) ON CONFLICT DO NOTHING"),
            {"keys": keys},
        )
        after = products[-1].id


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
