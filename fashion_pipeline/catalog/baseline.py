"""A cleaned snapshot beside the catalogue as it stands: what the guards compare.

Set-based: ids, prices, currencies and picture keys of the snapshot are staged once, and PostgreSQL counts.
Nothing is written but temporary tables.
"""

import math

from sqlalchemy import Connection, text

from fashion_pipeline.catalog.apply import SnapshotFiles
from fashion_pipeline.catalog.staging import copy_batches, read_batches
from fashion_pipeline.cleaning.guards import (
    EXAMPLES,
    LEAST_MOVE,
    SAME_FACTOR_WIDTH,
    Baseline,
    CurrencyChange,
    Pictures,
    PriceMove,
)

_STAGED = ["external_id", "price", "currency", "image_key", "image_url"]
_ACTIVE = "p.store_id = :store AND p.delisted_on IS NULL"

_COUNT_ACTIVE = text(f"SELECT count(*), count(p.image_key) FROM products p WHERE {_ACTIVE}")
# Materialized: for a few names in order the planner would go through the products one by one.
_MISSING = text(
    f"""
    WITH missing AS MATERIALIZED (
        SELECT p.external_id FROM products p
        WHERE {_ACTIVE} AND NOT EXISTS (SELECT FROM mentioned m WHERE m.external_id = p.external_id)
    )
    SELECT (SELECT count(*) FROM missing),
           ARRAY(SELECT external_id FROM missing ORDER BY external_id LIMIT {EXAMPLES})
    """
)
#: Rejected items are staged without a price, so only clean rows are in both.
_BOTH = text(
    f"""
    CREATE TEMP TABLE both_sides ON COMMIT DROP AS
    SELECT m.external_id, p.price AS old_price, m.price AS new_price, p.currency AS old_currency,
           m.currency AS new_currency, ln(m.price::float8 / p.price::float8) AS move
    FROM mentioned m JOIN products p ON p.external_id = m.external_id
    WHERE {_ACTIVE} AND m.price IS NOT NULL
    """
)
_MEDIAN = text(
    "SELECT count(*), coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY move), 0) FROM both_sides "
    "WHERE old_currency = new_currency"
)
# Buckets of half the width, two neighbours together: no cluster is cut by a border.
_SAME_FACTOR = text(
    """
    SELECT bucket, sum(count(*)) OVER (ORDER BY bucket RANGE BETWEEN CURRENT ROW AND 1 FOLLOWING) AS moved
    FROM (
        SELECT floor(move / (:width / 2)) AS bucket FROM both_sides
        WHERE old_currency = new_currency AND abs(move) >= :least
    ) moves GROUP BY bucket ORDER BY moved DESC, bucket LIMIT 1
    """
)
_NAME_MOVED = text(
    f"""
    SELECT external_id, old_price, new_price, new_currency, move FROM both_sides
    WHERE old_currency = new_currency AND move >= :low AND move < :high AND abs(move) >= :least
    ORDER BY external_id LIMIT {EXAMPLES}
    """
)
_COUNT_CURRENCIES = text(
    "SELECT count(*), count(*) FILTER (WHERE old_currency <> new_currency) FROM both_sides"
)
_NAME_CURRENCIES = text(
    f"""
    SELECT external_id, old_currency, new_currency FROM both_sides WHERE old_currency <> new_currency
    ORDER BY external_id LIMIT {EXAMPLES}
    """
)
_PICTURES = text(
    """
    SELECT sum(count(*)) OVER () AS pictured, count(*) AS same, min(image_url) AS url FROM mentioned
    WHERE image_key IS NOT NULL GROUP BY image_key ORDER BY same DESC, image_key LIMIT 1
    """
)
_PICTURES_BEFORE = text(
    f"SELECT count(*) FROM products p WHERE {_ACTIVE} AND p.image_key IS NOT NULL GROUP BY p.image_key "
    "ORDER BY 1 DESC LIMIT 1"
)


def compare_with_catalogue(connection: Connection, store_id: str, files: SnapshotFiles) -> Baseline | None:
    """What the store's active products are, beside those of a snapshot; None where there are none yet."""
    parameters = {"store": store_id}
    active, pictured_before = connection.execute(_COUNT_ACTIVE, parameters).one()
    if not active:
        return None
    connection.execute(
        text(
            "CREATE TEMP TABLE mentioned (external_id text, price numeric(18,4), currency text, image_key text, "
            "image_url text) ON COMMIT DROP"
        )
    )
    copy_batches(connection, "mentioned", _STAGED, read_batches(files.clean, _STAGED))
    copy_batches(connection, "mentioned", ["external_id"], read_batches(files.rejected, ["external_id"]))
    connection.execute(text("ANALYZE mentioned"))
    missing, named = connection.execute(_MISSING, parameters).one()
    connection.execute(_BOTH, parameters)
    return Baseline(
        active=active,
        missing=missing,
        missing_examples=tuple(named),
        prices=_prices(connection),
        currency=_currency(connection),
        pictures=_pictures(connection, store_id, pictured_before),
    )


def _prices(connection: Connection) -> PriceMove:
    compared, median = connection.execute(_MEDIAN).one()
    found = connection.execute(_SAME_FACTOR, {"width": SAME_FACTOR_WIDTH, "least": LEAST_MOVE}).first()
    if found is None:
        return PriceMove(compared, math.exp(median))
    low = found.bucket * SAME_FACTOR_WIDTH / 2
    rows = connection.execute(
        _NAME_MOVED, {"low": low, "high": low + SAME_FACTOR_WIDTH, "least": LEAST_MOVE}
    ).all()
    return PriceMove(
        compared,
        math.exp(median),
        moved=int(found.moved),
        factor=math.exp(rows[0].move) if rows else 1.0,
        examples=tuple(
            f"{row.external_id}: {row.old_price:,.2f} to {row.new_price:,.2f} {row.new_currency}"
            for row in rows
        ),
    )


def _currency(connection: Connection) -> CurrencyChange:
    compared, changed = connection.execute(_COUNT_CURRENCIES).one()
    rows = connection.execute(_NAME_CURRENCIES).all() if changed else ()
    named = tuple(f"{row.external_id}: {row.old_currency} to {row.new_currency}" for row in rows)
    return CurrencyChange(compared, changed, named)


def _pictures(connection: Connection, store_id: str, pictured_before: int) -> Pictures:
    now = connection.execute(_PICTURES).first()
    if now is None:
        return Pictures()
    before = connection.scalar(_PICTURES_BEFORE, {"store": store_id}) or 0
    return Pictures(
        pictured=int(now.pictured),
        same=now.same,
        url=now.url,
        pictured_before=pictured_before,
        same_before=before,
    )
