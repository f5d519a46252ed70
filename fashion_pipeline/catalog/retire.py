"""A retired store: its products become tombstones, when a person says so."""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, text


@dataclass(frozen=True)
class StoreHoldings:
    """What a store still has: active products, points by collection, and pictures that no other store shows."""

    active: int
    held: int
    points: dict[str, int]
    own_pictures: int


_HOLDINGS = text(
    """
    SELECT
        (SELECT count(*) FROM products WHERE store_id = :store AND delisted_on IS NULL),
        (SELECT count(*) FROM products
         WHERE store_id = :store AND delisted_on IS NULL AND held_since IS NOT NULL),
        (SELECT coalesce(jsonb_object_agg(collection, points), '{}') FROM (
            SELECT collection, count(*) AS points FROM index_entries WHERE store_id = :store GROUP BY collection
        ) counted),
        (SELECT count(DISTINCT p.image_key) FROM products p
         WHERE p.store_id = :store AND p.delisted_on IS NULL AND p.image_key IS NOT NULL
           AND NOT EXISTS (SELECT FROM products o WHERE o.image_key = p.image_key
                           AND o.store_id <> :store AND o.delisted_on IS NULL))
    """
)
_TOMBSTONES = text(
    "UPDATE products SET delisted_on = :day, held_since = NULL, updated_at = now() "
    "WHERE store_id = :store AND delisted_on IS NULL"
)
# The bytes that were applied last are applied anew where the store comes back with them.
_FORGET_BYTES = text(
    "UPDATE stores SET applied_sha256 = NULL, applied_cleaning = NULL, updated_at = now() "
    "WHERE store_id = :store"
)
_REOPEN = text(
    "UPDATE feed_snapshots SET outcome = NULL, applied_at = NULL, updated_at = now() "
    "WHERE store_id = :store AND outcome = 'applied' AND day = "
    "(SELECT applied_through FROM stores WHERE store_id = :store)"
)


def store_holdings(connection: Connection, store_id: str) -> StoreHoldings:
    """What there is to retire; nothing is changed."""
    return StoreHoldings(*connection.execute(_HOLDINGS, {"store": store_id}).one())


def tombstone_store(connection: Connection, store_id: str, day: date) -> int:
    """Delist every active product of a store; the caller holds its lock of `products`.

    Rows, pictures and vectors stay, so that a store that comes back needs no new embedding.

    Returns:
        How many became tombstones.
    """
    parameters = {"store": store_id, "day": day}
    count = connection.execute(_TOMBSTONES, parameters).rowcount
    connection.execute(_REOPEN, parameters)
    connection.execute(_FORGET_BYTES, parameters)
    return count
