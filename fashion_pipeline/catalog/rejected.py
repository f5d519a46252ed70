"""Reading the rejected items of a store's day."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import any_, literal, select

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.models import RejectedProduct


def rejected_items(
    database: Database, store_id: str, day: date, *, reason: str | None = None, limit: int = 50
) -> Sequence[RejectedProduct]:
    """The first `limit` rejected items in the feed's order, of one reason where it is given."""
    query = select(RejectedProduct).where(RejectedProduct.store_id == store_id, RejectedProduct.day == day)
    if reason is not None:
        query = query.where(literal(reason) == any_(RejectedProduct.reasons))
    with database.session() as session:
        return session.scalars(query.order_by(RejectedProduct.record).limit(limit)).all()
