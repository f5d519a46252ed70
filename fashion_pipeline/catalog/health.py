"""The table of stores that an on-call reads, from PostgreSQL alone."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.points import GONE, WANTED


@dataclass(frozen=True)
class StoreHealth:
    """One store, as the ledgers tell it. Counts are products; shares are between 0 and 1."""

    store_id: str
    last_good_day: date | None
    last_applied_at: datetime | None
    last_captured_day: date | None
    verdict: str | None
    outcome: str | None
    failure: str | None
    findings: list[dict[str, Any]] | None
    products: int
    held: int
    items: int
    rejected: int
    without_picture: int
    without_vector: int
    index_lag: int

    @property
    def waits(self) -> bool:
        """Whether the last captured feed may be applied and was not."""
        return self.verdict in {"ok", "accepted"} and self.outcome is None

    @property
    def rejected_share(self) -> float:
        """Rejected items of the last captured feed, of all its items."""
        return self.rejected / self.items if self.items else 0.0


_HEALTH = text(
    f"""
    WITH counted AS (
        SELECT p.store_id, count(*) AS products,
               count(*) FILTER (WHERE p.held_since IS NOT NULL) AS held,
               count(*) FILTER (WHERE i.sha256 IS NULL) AS without_picture,
               count(*) FILTER (WHERE i.sha256 IS NOT NULL AND i.decode_error IS NULL AND e.image_sha256 IS NULL)
                   AS without_vector
        FROM products p
        LEFT JOIN images i ON i.image_key = p.image_key
        LEFT JOIN embeddings e ON e.model_id = :model AND e.image_sha256 = i.sha256
        WHERE p.delisted_on IS NULL
        GROUP BY p.store_id
    ), waiting AS (
        SELECT w.store_id, count(*) AS points FROM ({WANTED}) w
        WHERE w.old_payload_hash IS DISTINCT FROM w.payload_hash
        GROUP BY w.store_id
    ), surplus AS (
        SELECT entry.store_id, count(*) AS points
        FROM index_entries entry LEFT JOIN products p ON p.id = entry.product_id
        WHERE entry.collection = :collection AND {GONE}
        GROUP BY entry.store_id
    ), captured AS (
        SELECT DISTINCT ON (store_id) store_id, day, verdict, outcome, failure, findings, account
        FROM feed_snapshots
        ORDER BY store_id, day DESC, captured_at DESC
    )
    SELECT w.store_id, s.applied_through, s.applied_at, c.day, c.verdict, c.outcome, c.failure, c.findings,
           coalesce(n.products, 0), coalesce(n.held, 0),
           coalesce((c.account ->> 'items')::int, 0), coalesce((c.account ->> 'rejected')::int, 0),
           coalesce(n.without_picture, 0), coalesce(n.without_vector, 0),
           coalesce(q.points, 0) + coalesce(x.points, 0)
    FROM unnest(CAST(:stores AS text[])) WITH ORDINALITY AS w (store_id, position)
    LEFT JOIN stores s USING (store_id)
    LEFT JOIN captured c USING (store_id)
    LEFT JOIN counted n USING (store_id)
    LEFT JOIN waiting q USING (store_id)
    LEFT JOIN surplus x USING (store_id)
    ORDER BY w.position
    """
)


def store_health(
    database: Database, stores: list[str], *, collection: str, model_id: str, payload_version: str
) -> list[StoreHealth]:
    """The health of `stores`, in their order, against the serving collection and its model.

    `index_lag` counts what the next run of `product_points` would insert, change or delete.
    """
    parameters = {"stores": stores, "collection": collection, "model": model_id, "version": payload_version}
    with database.connection() as connection:
        rows = connection.execute(_HEALTH, parameters)
        return [StoreHealth(*row) for row in rows]
