"""Stores, snapshots, rejected items, and the ledgers of pictures, vectors and points.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stores",
        sa.Column("store_id", sa.String(length=63), nullable=False, comment="store in feeds.yaml"),
        sa.Column("applied_through", sa.Date(), nullable=True, comment="day of the newest applied snapshot"),
        sa.Column("applied_sha256", sa.String(length=64), nullable=True, comment="its bytes"),
        sa.Column(
            "applied_cleaning",
            sa.Text(),
            nullable=True,
            comment="digest of the mapping and rules it was cleaned by",
        ),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True, comment="when it was applied"),
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
        sa.PrimaryKeyConstraint("store_id", name=op.f("pk_stores")),
    )
    op.create_table(
        "feed_snapshots",
        sa.Column("id", sa.Uuid(), nullable=False, comment="UUID version 4"),
        sa.Column("store_id", sa.String(length=63), nullable=False, comment="store in feeds.yaml"),
        sa.Column("day", sa.Date(), nullable=False, comment="day whose feed this is"),
        sa.Column("sha256", sa.String(length=64), nullable=False, comment="hash of the exact bytes"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False, comment="size of the exact bytes"),
        sa.Column("file_key", sa.Text(), nullable=False, comment="where the bytes lie in the data location"),
        sa.Column("source", sa.Text(), nullable=False, comment="where they came from, without secrets"),
        sa.Column(
            "captured_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when they were fetched or confirmed unchanged",
        ),
        sa.Column("etag", sa.Text(), nullable=True, comment="validator for the next conditional request"),
        sa.Column(
            "last_modified", sa.Text(), nullable=True, comment="validator for the next conditional request"
        ),
        sa.Column("content_type", sa.Text(), nullable=True, comment="as the server declared it"),
        sa.Column("charset", sa.Text(), nullable=True, comment="as the server declared it"),
        sa.Column(
            "cleaning", sa.Text(), nullable=True, comment="digest of the mapping and rules it was cleaned by"
        ),
        sa.Column("clean_key", sa.Text(), nullable=True, comment="clean rows in the data location"),
        sa.Column("rejected_key", sa.Text(), nullable=True, comment="rejected items in the data location"),
        sa.Column("deletions_key", sa.Text(), nullable=True, comment="deleted ids in the data location"),
        sa.Column(
            "account",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="records, items, reasons: the clean report",
        ),
        sa.Column(
            "verdict",
            sa.String(length=16),
            nullable=True,
            comment="ok, refused, accepted; null before cleaning",
        ),
        sa.Column(
            "findings", postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment="guards that fired"
        ),
        sa.Column("failure", sa.Text(), nullable=True, comment="why the bytes could not be read, one line"),
        sa.Column("accepted_reason", sa.Text(), nullable=True, comment="why a person accepted these bytes"),
        sa.Column(
            "accepted_guards", sa.ARRAY(sa.Text()), nullable=True, comment="guards that the person overruled"
        ),
        sa.Column(
            "outcome", sa.String(length=16), nullable=True, comment="applied or superseded; null before"
        ),
        sa.Column(
            "applied_at", sa.DateTime(timezone=True), nullable=True, comment="when the outcome was decided"
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
        sa.CheckConstraint("outcome IN ('applied', 'superseded')", name=op.f("ck_feed_snapshots_outcome")),
        sa.CheckConstraint(
            "verdict IN ('ok', 'refused', 'accepted')", name=op.f("ck_feed_snapshots_verdict")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_snapshots")),
        sa.UniqueConstraint("store_id", "day", "sha256", name=op.f("uq_feed_snapshots_store_id_day_sha256")),
    )
    op.create_index(
        "ix_feed_snapshots_store_id_sha256", "feed_snapshots", ["store_id", "sha256"], unique=False
    )
    op.create_table(
        "rejected_products",
        sa.Column("id", sa.Uuid(), nullable=False, comment="UUID version 4"),
        sa.Column("snapshot_id", sa.Uuid(), nullable=False, comment="snapshot that holds the item"),
        sa.Column("store_id", sa.String(length=63), nullable=False, comment="store in feeds.yaml"),
        sa.Column("day", sa.Date(), nullable=False, comment="day of the snapshot"),
        sa.Column("external_id", sa.Text(), nullable=True, comment="id, where it could be read"),
        sa.Column("record", sa.BigInteger(), nullable=False, comment="number of the source record, from 1"),
        sa.Column("place", sa.Text(), nullable=False, comment="where the item stood in the feed"),
        sa.Column("reasons", sa.ARRAY(sa.Text()), nullable=False, comment="every reason"),
        sa.Column("severity", sa.String(length=16), nullable=False, comment="error or quarantine"),
        sa.Column("detail", sa.Text(), nullable=False, comment="what was found, in words"),
        sa.Column("raw", sa.Text(), nullable=False, comment="the source content as JSON text"),
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
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["feed_snapshots.id"],
            name=op.f("fk_rejected_products_snapshot_id_feed_snapshots"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejected_products")),
    )
    op.create_index("ix_rejected_products_snapshot_id", "rejected_products", ["snapshot_id"], unique=False)
    op.create_index(
        "ix_rejected_products_store_id_day", "rejected_products", ["store_id", "day"], unique=False
    )
    op.create_table(
        "images",
        sa.Column(
            "image_key", sa.String(length=64), nullable=False, comment="hash of the URL less cache-busters"
        ),
        sa.Column("url", sa.Text(), nullable=False, comment="the URL last asked, cache-busters included"),
        sa.Column("host", sa.Text(), nullable=False, comment="its host, for reports"),
        sa.Column(
            "status",
            sa.String(length=24),
            nullable=False,
            comment="fetched, failed_transient or failed_permanent",
        ),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="failures in a row"),
        sa.Column(
            "next_attempt_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="earliest time of the next try after a failure",
        ),
        sa.Column("checked_on", sa.Date(), nullable=False, comment="day for which it was last asked"),
        sa.Column("http_status", sa.Integer(), nullable=True, comment="of the last answer"),
        sa.Column("error", sa.Text(), nullable=True, comment="class of the last failure"),
        sa.Column("detail", sa.Text(), nullable=True, comment="the last failure in words, without secrets"),
        sa.Column("etag", sa.Text(), nullable=True, comment="validator for the next conditional request"),
        sa.Column(
            "last_modified", sa.Text(), nullable=True, comment="validator for the next conditional request"
        ),
        sa.Column(
            "sha256",
            sa.String(length=64),
            nullable=True,
            comment="hash of the bytes; kept while a later try fails",
        ),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True, comment="size of the bytes"),
        sa.Column("width", sa.Integer(), nullable=True, comment="pixels"),
        sa.Column("height", sa.Integer(), nullable=True, comment="pixels"),
        sa.Column("format", sa.Text(), nullable=True, comment="JPEG, PNG, WEBP, ..."),
        sa.Column("decode_error", sa.Text(), nullable=True, comment="why the bytes could not be embedded"),
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
        sa.CheckConstraint(
            "status IN ('fetched', 'failed_transient', 'failed_permanent')", name=op.f("ck_images_status")
        ),
        sa.PrimaryKeyConstraint("image_key", name=op.f("pk_images")),
    )
    op.create_index("ix_images_sha256", "images", ["sha256"], unique=False)
    op.create_table(
        "embeddings",
        sa.Column(
            "image_sha256", sa.String(length=64), nullable=False, comment="hash of the picture's bytes"
        ),
        sa.Column("model_id", sa.Text(), nullable=False, comment="image model"),
        sa.Column("shard_key", sa.Text(), nullable=False, comment="Parquet file in the data location"),
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
        sa.PrimaryKeyConstraint("model_id", "image_sha256", name=op.f("pk_embeddings")),
    )
    op.create_index("ix_embeddings_shard_key", "embeddings", ["shard_key"], unique=False)
    op.create_table(
        "index_entries",
        sa.Column("collection", sa.Text(), nullable=False, comment="collection in the vector store"),
        sa.Column("product_id", sa.Uuid(), nullable=False, comment="product and point id"),
        sa.Column("store_id", sa.String(length=63), nullable=False, comment="store in feeds.yaml"),
        sa.Column("payload_hash", sa.Text(), nullable=False, comment="hash of the payload written"),
        sa.Column(
            "image_sha256", sa.String(length=64), nullable=False, comment="picture whose vector was written"
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
        sa.PrimaryKeyConstraint("collection", "product_id", name=op.f("pk_index_entries")),
    )
    op.create_index(
        "ix_index_entries_collection_store_id", "index_entries", ["collection", "store_id"], unique=False
    )


def downgrade() -> None:
    for table in ("index_entries", "embeddings", "images", "rejected_products", "feed_snapshots", "stores"):
        op.drop_table(table)
