"""`images.url` holds no secrets; whether a URL changed is told by its hash.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

URL = "the URL last asked, {}"


def upgrade() -> None:
    op.add_column(
        "images",
        sa.Column("url_sha256", sa.String(length=64), nullable=True, comment="SHA-256 of the URL last asked"),
    )
    op.execute("UPDATE images SET url_sha256 = encode(sha256(convert_to(url, 'UTF8')), 'hex')")
    op.alter_column("images", "url_sha256", nullable=False)
    # Queries are where tokens stand; the next answer writes the URL anew.
    op.execute("UPDATE images SET url = split_part(url, '?', 1) WHERE url LIKE '%?%'")
    op.alter_column("images", "url", comment=URL.format("without secrets"))


def downgrade() -> None:
    op.drop_column("images", "url_sha256")
    op.alter_column("images", "url", comment=URL.format("cache-busters included"))
