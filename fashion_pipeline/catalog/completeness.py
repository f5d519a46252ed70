"""How complete a collection is, by the ledger: against the catalogue, and against another collection."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database


@dataclass(frozen=True)
class Completeness:
    """Active products with a readable picture, and how many of them the collection has, as products."""

    wanted: int
    indexed: int

    @property
    def waiting(self) -> int:
        """Products that the collection lacks."""
        return self.wanted - self.indexed

    @property
    def share(self) -> float:
        """Between 0 and 1; an empty catalogue is complete."""
        return self.indexed / self.wanted if self.wanted else 1.0


def completeness(database: Database, collection: str, stores: Sequence[str]) -> Completeness:
    """How much of the stores' active products with a readable picture is in the collection."""
    with database.connection() as connection:
        row = connection.execute(
            text(
                """
                SELECT count(*), count(entry.product_id)
                FROM products p
                JOIN images i ON i.image_key = p.image_key AND i.sha256 IS NOT NULL AND i.decode_error IS NULL
                LEFT JOIN index_entries entry ON entry.collection = :collection AND entry.product_id = p.id
                WHERE p.delisted_on IS NULL AND p.store_id = ANY(CAST(:stores AS text[]))
                """
            ),
            {"collection": collection, "stores": list(stores)},
        ).one()
    return Completeness(*row)


def lacking(database: Database, *, serving: str, candidate: str, stores: Sequence[str]) -> dict[str, int]:
    """By store, the active products that the serving collection has and the candidate has not."""
    with database.connection() as connection:
        rows = connection.execute(
            text(
                """
                SELECT p.store_id, count(*)
                FROM index_entries entry
                JOIN products p ON p.id = entry.product_id AND p.delisted_on IS NULL AND p.image_key IS NOT NULL
                WHERE entry.collection = :serving AND p.store_id = ANY(CAST(:stores AS text[]))
                  AND NOT EXISTS (
                      SELECT FROM index_entries other
                      WHERE other.collection = :candidate AND other.product_id = entry.product_id
                  )
                GROUP BY p.store_id ORDER BY p.store_id
                """
            ),
            {"serving": serving, "candidate": candidate, "stores": list(stores)},
        )
        return {row[0]: row[1] for row in rows}
