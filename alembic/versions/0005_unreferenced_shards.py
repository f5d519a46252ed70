"""Shard files that no row of the ledger names, and since when.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "unreferenced_shards",
        sa.Column("shard_key", sa.Text(), nullable=False, comment="Parquet file in the data location"),
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when it was first found, or lost its rows to a merged shard",
        ),
        sa.PrimaryKeyConstraint("shard_key", name=op.f("pk_unreferenced_shards")),
    )


def downgrade() -> None:
    op.drop_table("unreferenced_shards")
