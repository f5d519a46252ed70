"""The ledger of vectors as its upkeep sees it: shards, samples, files that no row names."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.points import WHOLE


@dataclass(frozen=True)
class LedgerShard:
    """A shard of the ledger: its model, its key and how many rows name it."""

    model_id: str
    key: str
    rows: int


def ledger_shards(database: Database) -> list[LedgerShard]:
    """Every shard that the ledger names, by model, oldest first."""
    with database.connection() as connection:
        rows = connection.execute(
            text(
                "SELECT model_id, shard_key, count(*) FROM embeddings GROUP BY model_id, shard_key "
                "ORDER BY model_id, min(created_at), shard_key"
            )
        )
        return [LedgerShard(*row) for row in rows]


def shard_images(database: Database, model_id: str, shard_key: str) -> list[str]:
    """SHA-256 of each picture whose vector the ledger places in a shard."""
    with database.connection() as connection:
        return list(
            connection.scalars(
                text(
                    "SELECT image_sha256 FROM embeddings WHERE model_id = :model AND shard_key = :key "
                    "ORDER BY image_sha256"
                ),
                {"model": model_id, "key": shard_key},
            )
        )


def sample_vectors(database: Database, model_id: str, count: int, seed: int) -> list[tuple[str, str]]:
    """(shard key, SHA-256) of some vectors of a model, ordered by shard; the same ones for the same seed."""
    with database.connection() as connection:
        rows = connection.execute(
            text(
                "SELECT shard_key, image_sha256 FROM (SELECT shard_key, image_sha256 FROM embeddings "
                "WHERE model_id = :model ORDER BY md5(image_sha256 || :seed) LIMIT :count) drawn "
                "ORDER BY shard_key, image_sha256"
            ),
            {"model": model_id, "count": count, "seed": str(seed)},
        )
        return [(key, sha256) for key, sha256 in rows]


def repoint(
    database: Database, model_id: str, old_keys: Iterable[str], new_key: str, image_sha256s: Iterable[str]
) -> int:
    """Have rows of merged shards name the new one, and mark the old files, in one transaction.

    Returns:
        Rows that name the new shard.
    """
    old = sorted(old_keys)
    with database.connection() as connection:
        moved = connection.execute(
            text(
                "UPDATE embeddings SET shard_key = :new, updated_at = now() WHERE model_id = :model "
                "AND shard_key = ANY(CAST(:old AS text[])) AND image_sha256 = ANY(CAST(:hashes AS text[]))"
            ),
            {"new": new_key, "model": model_id, "old": old, "hashes": sorted(image_sha256s)},
        ).rowcount
        connection.execute(
            text(
                "INSERT INTO unreferenced_shards (shard_key) SELECT k FROM unnest(CAST(:old AS text[])) k "
                "WHERE NOT EXISTS (SELECT FROM embeddings e WHERE e.shard_key = k) ON CONFLICT DO NOTHING"
            ),
            {"old": old},
        )
    return moved


def mark_unreferenced(
    database: Database, file_keys: Iterable[str], age: timedelta
) -> tuple[list[str], list[str]]:
    """Of shard files, mark those that no row of the ledger names, and forget the marks of all others.

    Returns:
        (files that no row names, those of them that were marked at least `age` ago).
    """
    keys = sorted(file_keys)
    with database.connection() as connection:
        connection.execute(
            text(
                "INSERT INTO unreferenced_shards (shard_key) SELECT k FROM unnest(CAST(:keys AS text[])) k "
                "WHERE NOT EXISTS (SELECT FROM embeddings e WHERE e.shard_key = k) ON CONFLICT DO NOTHING"
            ),
            {"keys": keys},
        )
        connection.execute(
            text(
                "DELETE FROM unreferenced_shards u WHERE NOT (u.shard_key = ANY(CAST(:keys AS text[]))) "
                "OR EXISTS (SELECT FROM embeddings e WHERE e.shard_key = u.shard_key)"
            ),
            {"keys": keys},
        )
        rows = connection.execute(
            text("SELECT shard_key, since <= now() - :age FROM unreferenced_shards ORDER BY shard_key"),
            {"age": age},
        ).all()
    return [key for key, _ in rows], [key for key, old in rows if old]


def forget_vectors(
    database: Database, model_id: str, image_sha256s: Iterable[str], *, collections: Iterable[str]
) -> int:
    """Have pictures embedded and their points written anew, in one transaction; how many vectors are forgotten.

    `collections` are those of this model; points of other models' collections have other vectors.
    """
    values = {"model": model_id, "hashes": sorted(image_sha256s), "collections": sorted(collections)}
    with database.connection() as connection:
        forgotten = connection.execute(
            text(
                "DELETE FROM embeddings WHERE model_id = :model "
                "AND image_sha256 = ANY(CAST(:hashes AS text[]))"
            ),
            values,
        ).rowcount
        # The digest stays: it says which vector a point has.
        connection.execute(
            text(
                "UPDATE index_entries SET payload_hash = :whole "
                "WHERE collection = ANY(CAST(:collections AS text[])) "
                "AND image_sha256 = ANY(CAST(:hashes AS text[]))"
            ),
            values | {"whole": WHOLE},
        )
    return forgotten
