"""What `images` and `embeddings` say of a store's pictures: known, embedded, failing."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.cleaning.currencies import format_price

_KNOWN = text(
    """
    SELECT (SELECT count(*) FROM (
                SELECT DISTINCT image_key FROM products
                WHERE store_id = :store AND delisted_on IS NULL AND image_key IS NOT NULL) shown)
         - (SELECT count(*) FROM images i
            WHERE i.sha256 IS NULL AND EXISTS (
                SELECT FROM products p
                WHERE p.store_id = :store AND p.delisted_on IS NULL AND p.image_key = i.image_key))
    """
)


def known_images(database: Database, store_id: str) -> int:
    """How many picture URLs of a store's active products are known with their bytes.

    For the end of a run that asked for all that was due, when each URL has its row: the few without bytes
    are counted off, which costs half of looking up all that have some.
    """
    with database.connection() as connection:
        return int(connection.execute(_KNOWN, {"store": store_id}).scalar_one())


_TO_EMBED = text(
    """
    SELECT DISTINCT i.sha256
    FROM products p JOIN images i USING (image_key)
    LEFT JOIN embeddings e ON e.model_id = :model AND e.image_sha256 = i.sha256
    WHERE p.store_id = :store AND p.delisted_on IS NULL
      AND i.sha256 IS NOT NULL AND i.decode_error IS NULL AND e.image_sha256 IS NULL
    ORDER BY i.sha256
    """
)


def images_to_embed(database: Database, store_id: str, model_id: str) -> list[str]:
    """SHA-256 of each picture of a store's active products that has no vector by `model_id`."""
    with database.connection() as connection:
        return list(connection.scalars(_TO_EMBED, {"store": store_id, "model": model_id}))


def embedded_images(database: Database, store_id: str, model_id: str) -> int:
    """How many distinct pictures of a store's active products have a vector by `model_id`."""
    with database.connection() as connection:
        return (
            connection.scalar(
                text(
                    "SELECT count(DISTINCT i.sha256) FROM products p JOIN images i USING (image_key) "
                    "JOIN embeddings e ON e.model_id = :model AND e.image_sha256 = i.sha256 "
                    "WHERE p.store_id = :store AND p.delisted_on IS NULL"
                ),
                {"store": store_id, "model": model_id},
            )
            or 0
        )


def record_vectors(database: Database, model_id: str, shard_key: str, image_sha256s: Iterable[str]) -> int:
    """Enter a written shard into the ledger, in one transaction.

    Returns:
        Rows entered: fewer than given where another run embedded the same pictures first.
    """
    hashes = sorted(image_sha256s)
    with database.connection() as connection:
        return connection.execute(
            text(
                "INSERT INTO embeddings (model_id, image_sha256, shard_key) "
                "SELECT :model, h, :shard FROM unnest(CAST(:hashes AS text[])) AS h ORDER BY h ON CONFLICT DO NOTHING"
            ),
            {"model": model_id, "shard": shard_key, "hashes": hashes},
        ).rowcount


def ask_again(database: Database, image_sha256s: Iterable[str]) -> None:
    """Make pictures due whose stored bytes are gone or damaged: the next run fetches them anew."""
    hashes = sorted(image_sha256s)
    if hashes:
        with database.connection() as connection:
            connection.execute(
                text(
                    "UPDATE images SET status = 'failed_transient', error = 'bytes_lost', next_attempt_at = now(), "
                    "etag = NULL, last_modified = NULL WHERE image_key IN (SELECT image_key FROM images "
                    "WHERE sha256 = ANY(CAST(:hashes AS text[])) ORDER BY image_key FOR UPDATE)"
                ),
                {"hashes": hashes},
            )


def record_decode_failures(database: Database, failures: Iterable[tuple[str, str]]) -> None:
    """Note that pictures (sha256, error class) cannot be embedded, so that they are not tried again."""
    rows = [{"sha256": sha256, "error": error} for sha256, error in failures]
    if rows:
        with database.connection() as connection:
            # In the order in which `record_images` writes: another store's run cannot deadlock with this.
            connection.execute(
                text(
                    "SELECT image_key FROM images WHERE sha256 = ANY(CAST(:hashes AS text[])) "
                    "ORDER BY image_key FOR UPDATE"
                ),
                {"hashes": [row["sha256"] for row in rows]},
            )
            connection.execute(text("UPDATE images SET decode_error = :error WHERE sha256 = :sha256"), rows)


def record_sizes(database: Database, sizes: Iterable[tuple[str, tuple[int, int]]]) -> None:
    """Note the (width, height) that decoding found for pictures, where the ledger says otherwise."""
    rows = {sha256: size for sha256, size in sizes if min(size) > 0}
    if not rows:
        return
    hashes = sorted(rows)
    values = {
        "hashes": hashes,
        "widths": [rows[sha256][0] for sha256 in hashes],
        "heights": [rows[sha256][1] for sha256 in hashes],
    }
    with database.connection() as connection:
        # In the order in which `record_images` writes: another store's run cannot deadlock with this.
        connection.execute(
            text(
                "WITH found AS (SELECT * FROM unnest(CAST(:hashes AS text[]), CAST(:widths AS int[]), "
                "CAST(:heights AS int[])) AS f(sha256, width, height)), "
                "wrong AS (SELECT i.image_key, f.width, f.height FROM images i JOIN found f USING (sha256) "
                "WHERE (i.width, i.height) IS DISTINCT FROM (f.width, f.height) "
                "ORDER BY i.image_key FOR UPDATE OF i) "
                "UPDATE images i SET width = w.width, height = w.height FROM wrong w "
                "WHERE i.image_key = w.image_key"
            ),
            values,
        )


_NEWEST_PICTURES = text(
    """
    SELECT DISTINCT ON (i.sha256) i.sha256, p.title, p.price, p.currency
    FROM products p JOIN images i USING (image_key)
    WHERE p.store_id = :store AND p.delisted_on IS NULL AND i.sha256 = ANY(CAST(:hashes AS text[]))
    ORDER BY i.sha256, p.external_id LIMIT :limit
    """
)


def captions(
    database: Database, store_id: str, hashes: Iterable[str], *, limit: int
) -> Iterator[tuple[str, str, str]]:
    """(sha256, title, price text) of one product for each picture, for contact sheets."""
    with database.connection() as connection:
        rows = connection.execute(
            _NEWEST_PICTURES, {"store": store_id, "hashes": list(hashes), "limit": limit}
        ).all()
    for sha256, title, price, currency in rows:
        yield sha256, title, format_price(price, currency)


_FAILING = text(
    """
    SELECT i.url, i.host, i.status, i.error, i.http_status, i.attempts
    FROM images i
    WHERE i.status <> 'fetched' AND EXISTS (
        SELECT FROM products p
        WHERE p.store_id = :store AND p.delisted_on IS NULL AND p.image_key = i.image_key)
    ORDER BY i.image_key
    """
)


def failing_pictures(
    database: Database, store_id: str, *, limit: int
) -> tuple[int, int, list[dict[str, Any]]]:
    """How many picture URLs a store's active products have, how many fail, and some of those.

    Returns:
        (URLs, failing URLs, at most `limit` of them as records without secrets).
    """
    with database.connection() as connection:
        total = connection.scalar(
            text(
                "SELECT count(DISTINCT image_key) FROM products WHERE store_id = :store AND delisted_on IS NULL"
            ),
            {"store": store_id},
        )
        failing = [dict(row) for row in connection.execute(_FAILING, {"store": store_id}).mappings()]
    return total or 0, len(failing), failing[:limit]
