"""Where the serving alias pointed, and what searches were measured.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _stamps() -> list[sa.Column]:
    return [
        sa.Column(
            name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment=comment
        )
        for name, comment in (
            ("created_at", "when the row was made"),
            ("updated_at", "when the row last changed"),
        )
    ]


def upgrade() -> None:
    op.create_table(
        "alias_moves",
        sa.Column("id", sa.Uuid(), nullable=False, comment="UUID version 4"),
        sa.Column("alias", sa.Text(), nullable=False, comment="serving alias"),
        sa.Column("collection", sa.Text(), nullable=False, comment="collection that it points to since"),
        sa.Column("previous", sa.Text(), nullable=True, comment="collection that it pointed to before"),
        sa.Column(
            "action", sa.String(length=16), nullable=False, comment="first, promote, rollback or rebuild"
        ),
        sa.Column("details", postgresql.JSONB(), nullable=True, comment="figures that the decision rests on"),
        *_stamps(),
        sa.CheckConstraint(
            "action IN ('first', 'promote', 'rollback', 'rebuild')", name=op.f("ck_alias_moves_action")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alias_moves")),
    )
    op.create_index("ix_alias_moves_alias_created_at", "alias_moves", ["alias", "created_at"], unique=False)
    op.create_table(
        "search_measurements",
        sa.Column("id", sa.Uuid(), nullable=False, comment="UUID version 4"),
        sa.Column("alias", sa.Text(), nullable=False, comment="serving alias"),
        sa.Column("collection", sa.Text(), nullable=False, comment="collection that was searched"),
        sa.Column("model_id", sa.Text(), nullable=False, comment="image model"),
        sa.Column("figures", postgresql.JSONB(), nullable=False, comment="recall, precision, MRR, latency"),
        sa.Column(
            "promoted", sa.Boolean(), nullable=False, comment="measured as the collection was promoted"
        ),
        *_stamps(),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_measurements")),
    )
    op.create_index(
        "ix_search_measurements_alias_created_at",
        "search_measurements",
        ["alias", "created_at"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_table("search_measurements")
    op.drop_table("alias_moves")
