"""Where the serving alias pointed since when, and what searches were measured."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.models import AliasMove, SearchMeasurement


@dataclass(frozen=True)
class Move:
    """One change of where the alias points; not `confirmed` while it is not known whether it was made."""

    id: UUID
    collection: str
    previous: str | None
    action: str
    at: datetime
    confirmed: bool


@dataclass(frozen=True)
class Promotion:
    """The figures by name that a promotion rests on; those of the candidate are what later ones are held against."""

    model_id: str
    candidate: Mapping[str, Any]
    serving: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """One measurement of the search; `figures` by name."""

    collection: str
    model_id: str
    figures: Mapping[str, Any]
    promoted: bool
    at: datetime


def intend_move(
    database: Database,
    *,
    alias: str,
    collection: str,
    previous: str | None,
    action: str,
    promotion: Promotion | None = None,
) -> UUID:
    """Note that `alias` is about to point at `collection`; `action` is a value of `AliasMove.action`."""
    with database.session() as session:
        row = AliasMove(
            alias=alias,
            collection=collection,
            previous=previous,
            action=action,
            details=asdict(promotion) if promotion is not None else None,
        )
        session.add(row)
        session.flush()
        return row.id


def confirm_move(database: Database, move_id: UUID) -> None:
    """Note that the alias points where it was to point, and keep a promotion's figures, in one transaction."""
    with database.session() as session:
        row = session.get_one(AliasMove, move_id)
        row.confirmed_at = datetime.now(UTC)
        if row.details is not None:
            promotion = Promotion(**row.details)
            session.add(
                SearchMeasurement(
                    alias=row.alias,
                    collection=row.collection,
                    model_id=promotion.model_id,
                    figures=dict(promotion.candidate),
                    promoted=True,
                )
            )


def forget_move(database: Database, move_id: UUID) -> None:
    """Take back a move that was intended and not made."""
    with database.session() as session:
        session.delete(session.get_one(AliasMove, move_id))


def moves(database: Database, alias: str) -> list[Move]:
    """Every move of the alias, those that are only intended too, newest first."""
    with database.session() as session:
        rows = session.scalars(
            select(AliasMove).where(AliasMove.alias == alias).order_by(AliasMove.created_at.desc())
        )
        return [
            Move(
                row.id, row.collection, row.previous, row.action, row.created_at, row.confirmed_at is not None
            )
            for row in rows
        ]


def record_measurement(
    database: Database,
    *,
    alias: str,
    collection: str,
    model_id: str,
    figures: Mapping[str, Any],
    promoted: bool = False,
) -> None:
    """Keep a measurement; one that is `promoted` is what later ones are held against."""
    with database.session() as session:
        session.add(
            SearchMeasurement(
                alias=alias,
                collection=collection,
                model_id=model_id,
                figures=dict(figures),
                promoted=promoted,
            )
        )


def measurements(database: Database, alias: str, *, limit: int = 60) -> list[Measured]:
    """The last measurements of the alias, oldest first."""
    with database.session() as session:
        rows = session.scalars(
            select(SearchMeasurement)
            .where(SearchMeasurement.alias == alias)
            .order_by(SearchMeasurement.created_at.desc())
            .limit(limit)
        ).all()
        return [_measured(row) for row in reversed(rows)]


def baseline(database: Database, alias: str, model_id: str) -> Measured | None:
    """What a model's figures are held against: those of its last promotion, else its first ones."""
    with database.session() as session:
        row = session.scalars(
            select(SearchMeasurement)
            .where(SearchMeasurement.alias == alias, SearchMeasurement.model_id == model_id)
            .order_by(SearchMeasurement.promoted.desc(), text("CASE WHEN promoted THEN created_at END DESC"))
            .order_by(SearchMeasurement.created_at)
            .limit(1)
        ).first()
        return _measured(row) if row is not None else None


def _measured(row: SearchMeasurement) -> Measured:
    return Measured(row.collection, row.model_id, row.figures, row.promoted, row.created_at)
