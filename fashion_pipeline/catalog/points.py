"""The ledger of points: what the vector store should hold for a store, and what it acknowledged."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, text

from fashion_pipeline.catalog.engine import Database

#: Rows per round trip of the server-side cursor.
FETCH_ROWS = 1000
FIRST_ID, LAST_ID = UUID(int=0), UUID(int=(1 << 128) - 1)

# A payload is a function of the content, the picture's address as it stands and the picture's bytes.
_PAYLOAD_HASH = (
    "md5(concat_ws('|', CAST(:version AS text), p.content_hash, coalesce(p.image_url, ''), {sha}))"
)

# A product keeps the vector of its last picture while the new one is awaited; a point whose vector was forgotten
# stays, without a digest here, until there is one again.
_SHOWN = f"""
    SELECT p.*, w.sha256, w.shard_key,
           {_PAYLOAD_HASH.format(sha="w.sha256")} AS payload_hash,
           entry.payload_hash AS old_payload_hash, entry.image_sha256 AS old_sha256
    FROM products p
    LEFT JOIN index_entries entry ON entry.collection = :collection AND entry.product_id = p.id
        AND entry.store_id = ANY(CAST(:stores AS text[]))
    LEFT JOIN images i ON i.image_key = p.image_key
    LEFT JOIN embeddings fresh ON fresh.model_id = :model AND fresh.image_sha256 = i.sha256
    LEFT JOIN embeddings kept ON fresh.image_sha256 IS NULL
        AND kept.model_id = :model AND kept.image_sha256 = entry.image_sha256
    CROSS JOIN LATERAL (
        SELECT coalesce(fresh.image_sha256, kept.image_sha256) AS sha256,
               coalesce(fresh.shard_key, kept.shard_key) AS shard_key
    ) w
    WHERE p.store_id = ANY(CAST(:stores AS text[]))
      AND p.delisted_on IS NULL AND p.image_key IS NOT NULL
      AND (w.sha256 IS NOT NULL OR entry.product_id IS NOT NULL)
"""
WANTED = f"SELECT * FROM ({_SHOWN}) shown WHERE sha256 IS NOT NULL"

#: The columns of `products` that a payload is made of.
_PAYLOAD_COLUMNS = """
    w.id, w.store_id, w.external_id, w.title, w.brand, w.color, w.gender, w.currency, w.availability,
    w.image_url, w.product_url, w.price, w.sale_price, w.product_type, w.item_group_id
"""


@dataclass(frozen=True)
class PointChange:
    """A product whose point differs from what it should be.

    `kind` is `insert`, `vector` (another picture) or `payload` (the same picture, other data).
    """

    kind: str
    shard_key: str
    image_sha256: str
    payload_hash: str
    product: dict[str, Any]

    @property
    def product_id(self) -> UUID:
        """Product and point id."""
        return self.product["id"]  # type: ignore[no-any-return]


#: In place of a payload's hash: the whole point is to be written again.
WHOLE = "whole"

_CHANGES = text(
    f"""
    SELECT CASE WHEN w.old_sha256 IS NULL THEN 'insert'
                WHEN w.old_sha256 <> w.sha256 OR w.old_payload_hash = '{WHOLE}' THEN 'vector'
                ELSE 'payload' END AS change_kind,
           w.shard_key AS change_shard, w.sha256 AS change_sha256, w.payload_hash AS change_hash,
           {_PAYLOAD_COLUMNS}
    FROM ({WANTED}) w
    WHERE w.old_payload_hash IS DISTINCT FROM w.payload_hash
    ORDER BY w.shard_key, w.id
    """
)

#: Why a point of the ledger should be there no longer; `p` is its product, or null.
GONE = "(p.id IS NULL OR p.delisted_on IS NOT NULL OR p.image_key IS NULL)"

_DELETES = text(
    f"""
    SELECT entry.product_id FROM index_entries entry
    LEFT JOIN products p ON p.id = entry.product_id
    WHERE entry.collection = :collection AND entry.store_id = :store AND {GONE}
    ORDER BY entry.product_id
    """
)


def changes(
    database: Database, collection: str, store_id: str, model_id: str, *, payload_version: str
) -> Generator[PointChange]:
    """Products of a store to insert, give a new vector or a new payload, ordered by shard; streamed."""
    parameters = {
        "collection": collection,
        "stores": [store_id],
        "model": model_id,
        "version": payload_version,
    }
    for row in _streamed(database, _CHANGES, parameters):
        product = dict(row._mapping)
        yield PointChange(
            product.pop("change_kind"),
            product.pop("change_shard"),
            product.pop("change_sha256"),
            product.pop("change_hash"),
            product,
        )


def deletes(database: Database, collection: str, store_id: str) -> list[UUID]:
    """Points of a store whose products left, lost their picture or do not exist."""
    with database.connection() as connection:
        return list(connection.scalars(_DELETES, {"collection": collection, "store": store_id}))


def record_points(database: Database, collection: str, store_id: str, written: Iterable[PointChange]) -> None:
    """Enter acknowledged writes into the ledger, in one transaction."""
    changes = list(written)
    if changes:
        with database.connection() as connection:
            connection.execute(
                text(
                    "INSERT INTO index_entries (collection, product_id, store_id, payload_hash, image_sha256) "
                    "SELECT :collection, given.product, :store, given.hash, given.sha256 FROM unnest("
                    "CAST(string_to_array(:products, ',') AS uuid[]), string_to_array(:hashes, ','), "
                    "string_to_array(:digests, ',')) AS given (product, hash, sha256) "
                    "ON CONFLICT (collection, product_id) DO UPDATE SET payload_hash = excluded.payload_hash, "
                    "image_sha256 = excluded.image_sha256, store_id = excluded.store_id, updated_at = now()"
                ),
                # Ids and hashes have no comma, and joining them costs a tenth of what escaping arrays does.
                {
                    "collection": collection,
                    "store": store_id,
                    "products": ",".join(str(change.product_id) for change in changes),
                    "hashes": ",".join(change.payload_hash for change in changes),
                    "digests": ",".join(change.image_sha256 for change in changes),
                },
            )


def forget_points(database: Database, collection: str, product_ids: Iterable[UUID]) -> None:
    """Take acknowledged deletes out of the ledger, in one transaction."""
    ids = list(product_ids)
    if ids:
        with database.connection() as connection:
            connection.execute(
                text(
                    "DELETE FROM index_entries "
                    "WHERE collection = :collection AND product_id = ANY(CAST(:ids AS uuid[]))"
                ),
                {"collection": collection, "ids": ids},
            )


def forget_collection(database: Database, collection: str) -> None:
    """Take a whole collection out of the ledger."""
    with database.connection() as connection:
        connection.execute(
            text("DELETE FROM index_entries WHERE collection = :collection"), {"collection": collection}
        )


def mark_stale(
    database: Database, collection: str, product_ids: Iterable[UUID], *, whole: bool = False
) -> None:
    """Make the next run write these points' payloads, and whole points where the store has none or if `whole`.

    Their rows stay: a product whose new picture is awaited is told by its row which vector it keeps.
    """
    ids = list(product_ids)
    if ids:
        with database.connection() as connection:
            connection.execute(
                text(
                    "UPDATE index_entries SET payload_hash = :hash "
                    "WHERE collection = :collection AND product_id = ANY(CAST(:ids AS uuid[]))"
                ),
                {"collection": collection, "ids": ids, "hash": WHOLE if whole else ""},
            )


_EXPECTED = text(
    f"SELECT w.id, w.payload_hash, coalesce(w.sha256, ''), w.store_id FROM ({_SHOWN}) w "
    "WHERE w.id BETWEEN :first AND :last ORDER BY w.id"
)


def expected_points(
    database: Database,
    collection: str,
    model_id: str,
    stores: Sequence[str],
    *,
    payload_version: str,
    first: UUID = FIRST_ID,
    last: UUID = LAST_ID,
) -> Iterator[tuple[UUID, str, str, str]]:
    """(product id, payload hash, image sha256, store) that the collection should hold, sorted by id; streamed.

    Of ids from `first` to `last`, both included.

    The digest is empty where the point's vector was forgotten: whatever it has, it is to be embedded anew.
    """
    parameters = {
        "collection": collection,
        "model": model_id,
        "version": payload_version,
        "stores": list(stores),
        "first": first,
        "last": last,
    }
    for row in _streamed(database, _EXPECTED, parameters):
        yield row[0], row[1], row[2], row[3]


def _streamed(
    database: Database, statement: TextClause, parameters: dict[str, Any]
) -> Iterator[Row[*tuple[Any, ...]]]:
    """Rows through a cursor of the server, which is closed wherever the caller stops."""
    with (
        database.engine.connect().execution_options(
            stream_results=True, max_row_buffer=FETCH_ROWS
        ) as connection,
        connection.execute(statement, parameters) as result,
    ):
        for part in result.partitions(FETCH_ROWS):
            yield from part


def expected_among(
    database: Database,
    collection: str,
    model_id: str,
    stores: Sequence[str],
    ids: Sequence[UUID],
    *,
    payload_version: str,
) -> set[UUID]:
    """Those of `ids` that the collection should hold right now."""
    with database.connection() as connection:
        statement = text(f"SELECT w.id FROM ({_SHOWN}) w WHERE w.id = ANY(CAST(:ids AS uuid[]))")
        return set(
            connection.scalars(
                statement,
                {
                    "collection": collection,
                    "model": model_id,
                    "version": payload_version,
                    "stores": list(stores),
                    "ids": list(ids),
                },
            )
        )


def stores_of(database: Database, ids: Sequence[UUID]) -> dict[UUID, str]:
    """The store of each of `ids` that is a product, tombstones included."""
    with database.connection() as connection:
        rows = connection.execute(
            text("SELECT id, store_id FROM products WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(ids)}
        )
        return {row[0]: row[1] for row in rows}


def collections_with_entries(database: Database) -> list[str]:
    """Every collection of the ledger."""
    with database.connection() as connection:
        return list(connection.scalars(text("SELECT DISTINCT collection FROM index_entries ORDER BY 1")))


_LAG = text(
    f"""
    SELECT store_id, sum(points)::bigint FROM (
        SELECT w.store_id, count(*) AS points FROM ({WANTED}) w
        WHERE w.old_payload_hash IS DISTINCT FROM w.payload_hash
        GROUP BY w.store_id
        UNION ALL
        SELECT entry.store_id, count(*)
        FROM index_entries entry LEFT JOIN products p ON p.id = entry.product_id
        WHERE entry.collection = :collection AND entry.store_id = ANY(CAST(:stores AS text[])) AND {GONE}
        GROUP BY entry.store_id
    ) found GROUP BY store_id ORDER BY store_id
    """
)


def index_lag(
    database: Database, collection: str, model_id: str, stores: Sequence[str], *, payload_version: str
) -> dict[str, int]:
    """By store, the points that the next run of `product_points` would insert, change or delete (absent: none)."""
    parameters = {
        "collection": collection,
        "model": model_id,
        "version": payload_version,
        "stores": list(stores),
    }
    with database.connection() as connection:
        return {row[0]: row[1] for row in connection.execute(_LAG, parameters)}


def has_entries(database: Database, collection: str, store_id: str) -> bool:
    """Whether anything of the store was ever acknowledged by the collection."""
    with database.connection() as connection:
        found = connection.scalar(
            text(
                "SELECT EXISTS (SELECT FROM index_entries WHERE collection = :collection AND store_id = :store)"
            ),
            {"collection": collection, "store": store_id},
        )
        return bool(found)


def count_entries(database: Database, collection: str, store_id: str) -> int:
    """How many points of the store the collection acknowledged."""
    with database.connection() as connection:
        found = connection.scalar(
            text("SELECT count(*) FROM index_entries WHERE collection = :collection AND store_id = :store"),
            {"collection": collection, "store": store_id},
        )
        return int(found or 0)


@dataclass(frozen=True)
class PointCounts:
    """How a store's active products stand in a collection, in products."""

    active: int
    indexed: int
    without_picture: int
    without_vector: int


def point_counts(database: Database, collection: str, store_id: str, model_id: str) -> PointCounts:
    """Count a store's active products by what is missing for their point."""
    with database.connection() as connection:
        row = connection.execute(
            text(
                """
                SELECT count(*), count(entry.product_id),
                       count(*) FILTER (WHERE i.sha256 IS NULL),
                       count(*) FILTER (WHERE i.sha256 IS NOT NULL AND e.image_sha256 IS NULL)
                FROM products p
                LEFT JOIN images i ON i.image_key = p.image_key
                LEFT JOIN embeddings e ON e.model_id = :model AND e.image_sha256 = i.sha256
                LEFT JOIN index_entries entry ON entry.collection = :collection AND entry.product_id = p.id
                    AND entry.store_id = :store
                WHERE p.store_id = :store AND p.delisted_on IS NULL
                """
            ),
            {"collection": collection, "store": store_id, "model": model_id},
        ).one()
    return PointCounts(*row)
