"""Supplements beside the feed of a snapshot, and snapshots that a person gave up.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = "feed_snapshots"
OUTCOME = "ck_feed_snapshots_outcome"
SHA256 = "hash of the exact bytes"
SHA256_OF_ALL = "file_sha256, or a hash of it and those of the supplements"
DECIDED = "applied or superseded; null before"
DECIDED_OR_SKIPPED = "applied, superseded or skipped; null before"


def upgrade() -> None:
    op.add_column(
        TABLE, sa.Column("file_sha256", sa.String(length=64), comment="hash of the feed's exact bytes")
    )
    # Until now a snapshot was one file.
    op.execute("UPDATE feed_snapshots SET file_sha256 = sha256")
    op.alter_column(TABLE, "file_sha256", nullable=False)
    op.add_column(
        TABLE,
        sa.Column(
            "supplements",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="files captured with the feed: source, hash, place, validators of each",
        ),
    )
    op.add_column(
        TABLE,
        sa.Column("skipped_reason", sa.Text(), nullable=True, comment="why a person gave the snapshot up"),
    )
    op.create_index("ix_feed_snapshots_store_id_file_sha256", TABLE, ["store_id", "file_sha256"])
    _comment("sha256", SHA256_OF_ALL, SHA256, 64)
    _comment("outcome", DECIDED_OR_SKIPPED, DECIDED, 16)
    op.drop_constraint(op.f(OUTCOME), TABLE, type_="check")
    op.create_check_constraint(op.f(OUTCOME), TABLE, "outcome IN ('applied', 'superseded', 'skipped')")


def downgrade() -> None:
    op.drop_constraint(op.f(OUTCOME), TABLE, type_="check")
    # The rules before know no skipped snapshot: an older day that was left alone is the nearest to it.
    op.execute("UPDATE feed_snapshots SET outcome = 'superseded' WHERE outcome = 'skipped'")
    op.create_check_constraint(op.f(OUTCOME), TABLE, "outcome IN ('applied', 'superseded')")
    _comment("outcome", DECIDED, DECIDED_OR_SKIPPED, 16)
    _comment("sha256", SHA256, SHA256_OF_ALL, 64)
    op.drop_index("ix_feed_snapshots_store_id_file_sha256", table_name=TABLE)
    for column in ("skipped_reason", "supplements", "file_sha256"):
        op.drop_column(TABLE, column)


def _comment(column: str, comment: str, before: str, length: int) -> None:
    op.alter_column(
        TABLE,
        column,
        existing_type=sa.String(length=length),
        comment=comment,
        existing_comment=before,
        existing_nullable=column == "outcome",
    )
