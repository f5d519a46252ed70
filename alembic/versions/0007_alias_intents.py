"""A move of the serving alias is written down before it is made, and confirmed after.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "alias_moves",
        sa.Column(
            "confirmed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the alias was seen to point there; null while it is only intended",
        ),
    )
    # What was written down until now had been made before.
    op.execute("UPDATE alias_moves SET confirmed_at = created_at")


def downgrade() -> None:
    op.execute("DELETE FROM alias_moves WHERE confirmed_at IS NULL")
    op.drop_column("alias_moves", "confirmed_at")
