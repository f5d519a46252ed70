"""Applying products against the bare staging copy plus one upsert, and against pandas with a row-wise upsert."""

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from fashion_pipeline.catalog import apply
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.staging import copy_batches, read_batches
from fashion_pipeline_tests.line.conftest import DAY, World, item

pytestmark = pytest.mark.bench

ROWS = 200_000
PANDAS_ROWS = 20_000
DESCRIPTION = "A dress of washed linen with a long row of buttons, cut to be worn loose. " * 4
COLUMNS = ", ".join(apply.CONTENT_COLUMNS)
BARE_UPSERT = f"""
    INSERT INTO products (id, store_id, {COLUMNS}, snapshot_date, first_seen_on)
    SELECT gen_random_uuid(), 'bare', {COLUMNS}, :day, :day FROM bare
    ON CONFLICT (store_id, external_id) DO UPDATE SET content_hash = excluded.content_hash
    WHERE products.content_hash <> excluded.content_hash
"""


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bare(database: Database, clean: Path) -> None:
    types = {"price": "numeric", "sale_price": "numeric", "additional_image_urls": "text[]"}
    types |= {"sale_starts_at": "timestamptz", "sale_ends_at": "timestamptz", "raw_attributes": "jsonb"}
    columns = ", ".join(f"{name} {types.get(name, 'text')}" for name in apply.CONTENT_COLUMNS)
    with database.connection() as connection:
        connection.execute(text(f"CREATE TEMP TABLE bare ({columns}) ON COMMIT DROP"))
        copy_batches(connection, "bare", apply.CONTENT_COLUMNS, read_batches(clean, apply.CONTENT_COLUMNS))
        connection.execute(text(BARE_UPSERT), {"day": DAY})


def with_pandas(database: Database, clean: Path) -> None:
    frame = pq.read_table(clean, columns=["external_id", "title", "description", "content_hash"]).to_pandas()
    rows = frame.head(PANDAS_ROWS)
    with database.connection() as connection:
        pd.DataFrame.to_sql(rows, "staged", connection, index=False, method="multi", chunksize=1000)
        for row in rows.itertuples():
            connection.execute(
                text(
                    "INSERT INTO products (id, store_id, external_id, title, description, price, currency, "
                    "content_hash, snapshot_date, first_seen_on) VALUES (gen_random_uuid(), 'pandas', :id, :title, "
                    ":description, 1, 'EUR', :hash, :day, :day) ON CONFLICT (store_id, external_id) DO UPDATE "
                    "SET content_hash = excluded.content_hash"
                ),
                {
                    "id": row.external_id,
                    "title": row.title,
                    "description": row.description,
                    "hash": row.content_hash,
                    "day": date(2026, 11, 2),
                },
            )


def test_applying_200_000_products(world: World) -> None:
    fields = dict(world.store.mapping.fields) | {"description": ("description",)}
    mapping = world.store.mapping.model_copy(update={"fields": fields})
    world.store = world.store.model_copy(update={"mapping": mapping})
    with world.path(DAY).open("w") as stream:
        stream.write("id,title,price,image,stock,description\n")
        for number in range(ROWS):
            row = item(number)
            stream.write(",".join([*row.values(), f'"{DESCRIPTION}{number}"']) + "\n")
    world.capture(DAY)
    snapshot = world.clean(DAY).snapshot
    first = timed(lambda: world.apply(DAY))
    with world.data.local_copy(snapshot.clean_key or "") as clean:
        bare_seconds = timed(lambda: bare(world.database, clean))
        pandas_seconds = timed(lambda: with_pandas(world.database, clean)) * ROWS / PANDAS_ROWS
    with world.path(DAY).open("a") as stream:
        stream.write("\n")
    world.capture(DAY, refetch=True)
    world.clean(DAY)
    again = timed(lambda: world.apply(DAY))
    print(f"\napply {ROWS:,} products: {first:.1f} s, {ROWS / first:,.0f} rows/s")
    print(
        f"  against the bare staging copy and one upsert: {bare_seconds / first:.2f} x its speed (goal 0.6)"
    )
    print(f"  against pandas and a row-wise upsert: {pandas_seconds / first:.1f} x its speed (goal 10)")
    print(f"  equal content again: {first / again:.1f} x the first time's speed (goal 3)")
    assert bare_seconds / first >= 0.6
    assert pandas_seconds / first >= 10
    assert first / again >= 3
