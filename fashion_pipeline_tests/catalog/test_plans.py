"""How PostgreSQL reads the tables of a store."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import text

from fashion_pipeline.catalog import points
from fashion_pipeline.catalog.engine import Database

ROWS = 2_000


def add_store(database: Database, store: str) -> None:
    """Products and what the collection acknowledged of them, written as the line writes a first day."""
    with database.connection() as connection:
        connection.execute(
            text(
                """
                INSERT INTO products (id, store_id, external_id, title, price, currency, image_key, content_hash,
                                      snapshot_date, first_seen_on)
                SELECT gen_random_uuid(), CAST(:store AS text), n::text, 'title', 1, 'EUR',
                       md5(CAST(:store AS text) || n), 'hash', now(), now()
                FROM generate_series(1, CAST(:rows AS int)) n
                """
            ),
            {"store": store, "rows": ROWS},
        )
        connection.execute(
            text(
                "INSERT INTO index_entries (collection, product_id, store_id, payload_hash, image_sha256) "
                "SELECT 'c', id, store_id, 'hash', 'sha256' FROM products WHERE store_id = :store"
            ),
            {"store": store},
        )
    for table in ("products", "index_entries"):
        database.analyze(table, ROWS)


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from steps(below)


def test_a_new_store_s_ledger_is_not_read_once_for_each_product(database: Database) -> None:
    with database.connection() as connection:
        for table in ("products", "index_entries"):
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = off)"))
    for number in range(7):
        add_store(database, f"store-{number}")
    with database.connection() as connection:
        ((top,),) = connection.scalars(
            text(f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT count(*) FROM ({points.WANTED}) w"),
            {"collection": "c", "stores": ["store-6"], "model": "m", "version": "1"},
        )
    removed = sum(step.get("Rows Removed by Join Filter", 0) for step in steps(top["Plan"]))
    assert removed < ROWS


def test_a_streamed_result_is_planned_for_all_of_its_rows(database: Database) -> None:
    add_store(database, "store")
    parameters = {
        "collection": "c",
        "stores": ["store"],
        "model": "m",
        "version": "1",
        "first": points.FIRST_ID,
        "last": points.LAST_ID,
    }
    with database.connection() as connection:
        at_once, streamed = (
            list(connection.scalars(text(f"EXPLAIN {how}{points._EXPECTED.text}"), parameters))
            for how in ("", "DECLARE points CURSOR FOR ")
        )
    assert streamed == at_once
