"""Reading the rejected items of a snapshot."""

from collections.abc import Sequence

from sqlalchemy import any_, func, literal, select

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.models import RejectedProduct
from fashion_pipeline.catalog.snapshots import Snapshot


def count_rejected(database: Database, snapshot: Snapshot) -> int:
    """How many rejected items and broken records of a snapshot are in the table."""
    query = select(func.count()).select_from(RejectedProduct)
    with database.session() as session:
        return session.scalar(query.where(RejectedProduct.snapshot_id == snapshot.id)) or 0


def rejected_items(
    database: Database, snapshot: Snapshot, *, reason: str | None = None, limit: int = 50
) -> tuple[Sequence[RejectedProduct], int]:
    """The first `limit` rejected items in the feed's order, of one reason where it is given; and how many
    there are.
    """
    wanted = [RejectedProduct.snapshot_id == snapshot.id]
    if reason is not None:
        wanted.append(literal(reason) == any_(RejectedProduct.reasons))
    with database.session() as session:
        total = session.scalar(select(func.count()).select_from(RejectedProduct).where(*wanted)) or 0
        query = select(RejectedProduct).where(*wanted).order_by(RejectedProduct.record, RejectedProduct.place)
        return session.scalars(query.limit(limit)).all(), total
