"""The products table, and uuid-ossp where the server has it.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Ids are made without it, so its absence is said and not fatal: a server may not ship it
# (feature_not_supported), ship it broken (undefined_file) or keep it from us (insufficient_privilege).
UUID_OSSP = """
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS "uuid-ossp";
EXCEPTION
    WHEN feature_not_supported OR undefined_file OR insufficient_privilege THEN
        RAISE INFO 'uuid-ossp was not created (%), and nothing needs it: ids are made without it', SQLERRM;
END
$$
"""


def upgrade() -> None:
    op.execute(UUID_OSSP)
    op.create_table(
        "products",
        sa.Column("id", sa.Uuid(), nullable=False, comment="UUID version 4"),
        sa.Column("store_id", sa.String(length=63), nullable=False, comment="store in feeds.yaml"),
        sa.Column("external_id", sa.Text(), nullable=False, comment="id of the item in the store's feed"),
        sa.Column("title", sa.Text(), nullable=False, comment="title as plain text"),
        sa.Column("description", sa.Text(), nullable=True, comment="description as plain text, full length"),
        sa.Column(
            "price",
            sa.Numeric(precision=18, scale=4),
            nullable=False,
            comment="regular price in major units of currency",
        ),
        sa.Column("currency", sa.String(length=3), nullable=False, comment="ISO 4217 code"),
        sa.Column("image_url", sa.Text(), nullable=True, comment="main picture"),
        sa.Column("product_url", sa.Text(), nullable=True, comment="page of the product in the shop"),
        sa.Column(
            "sale_price",
            sa.Numeric(precision=18, scale=4),
            nullable=True,
            comment="reduced price, below price",
        ),
        sa.Column(
            "sale_starts_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="start of the sale price's window",
        ),
        sa.Column(
            "sale_ends_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="end of the sale price's window",
        ),
        sa.Column(
            "additional_image_urls", sa.ARRAY(sa.Text()), nullable=True, comment="further pictures, in order"
        ),
        sa.Column("brand", sa.Text(), nullable=True, comment="brand"),
        sa.Column("gtin", sa.Text(), nullable=True, comment="GTIN with a right check digit"),
        sa.Column("mpn", sa.Text(), nullable=True, comment="manufacturer part number"),
        sa.Column("item_group_id", sa.Text(), nullable=True, comment="group of variants"),
        sa.Column("product_type", sa.Text(), nullable=True, comment="the shop's own category path"),
        sa.Column("google_product_category", sa.Text(), nullable=True, comment="Google taxonomy id or path"),
        sa.Column("color", sa.Text(), nullable=True, comment="colour"),
        sa.Column("size", sa.Text(), nullable=True, comment="size"),
        sa.Column("gender", sa.Text(), nullable=True, comment="female, male, unisex, or as the feed says"),
        sa.Column("age_group", sa.Text(), nullable=True, comment="newborn to adult, or as the feed says"),
        sa.Column("material", sa.Text(), nullable=True, comment="material"),
        sa.Column("pattern", sa.Text(), nullable=True, comment="pattern"),
        sa.Column(
            "condition", sa.Text(), nullable=True, comment="new, refurbished, used, or as the feed says"
        ),
        sa.Column(
            "availability", sa.Text(), nullable=True, comment="in_stock, out_of_stock, preorder, backorder"
        ),
        sa.Column(
            "raw_attributes",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="raw values that were normalized",
        ),
        sa.Column(
            "image_key",
            sa.String(length=64),
            nullable=True,
            comment="SHA-256 of the picture's URL less cache-busters",
        ),
        sa.Column(
            "content_hash", sa.Text(), nullable=False, comment="hash of the content less cache-busters"
        ),
        sa.Column(
            "snapshot_date",
            sa.Date(),
            nullable=False,
            comment="day of the snapshot that last changed the row",
        ),
        sa.Column(
            "first_seen_on", sa.Date(), nullable=False, comment="earliest day on which the item was seen"
        ),
        sa.Column(
            "held_since", sa.Date(), nullable=True, comment="first day seen but not clean; null when clean"
        ),
        sa.Column(
            "delisted_on", sa.Date(), nullable=True, comment="day it left the feed; a tombstone when set"
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row was made",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the row last changed",
        ),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_products_currency_iso_4217")),
        sa.CheckConstraint("price > 0", name=op.f("ck_products_price_positive")),
        sa.CheckConstraint(
            "sale_price IS NULL OR (sale_price > 0 AND sale_price < price)",
            name=op.f("ck_products_sale_below_price"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_products")),
        sa.UniqueConstraint("store_id", "external_id", name=op.f("uq_products_store_id_external_id")),
    )
    op.create_index(
        "ix_products_held",
        "products",
        ["store_id", "held_since"],
        unique=False,
        postgresql_where=sa.text("held_since IS NOT NULL"),
    )
    op.create_index("ix_products_image_key", "products", ["image_key"], unique=False)
    op.create_index(
        "ix_products_store_active",
        "products",
        ["store_id", "image_key"],
        unique=False,
        postgresql_where=sa.text("delisted_on IS NULL"),
    )
    op.create_index(
        "ix_products_store_id_item_group_id", "products", ["store_id", "item_group_id"], unique=False
    )
    op.create_index("ix_products_updated_at", "products", ["updated_at"], unique=False)


def downgrade() -> None:
    # The extension stays: others may use it, and who made it is not known.
    op.drop_table("products")
