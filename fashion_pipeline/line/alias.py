"""Moving the serving alias, so that a crash between the engine's move and PostgreSQL's note of it loses nothing.

A move is written down as intended, made, seen, and confirmed. Whoever moves the alias next finds an intention that
was never confirmed, and the alias itself says whether it was carried out.
"""

import logging
from contextlib import AbstractContextManager

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.index_history import (
    Move,
    Promotion,
    confirm_move,
    forget_move,
    intend_move,
    moves,
)
from fashion_pipeline.errors import CollectionError
from fashion_pipeline.index.store import VectorStore

logger = logging.getLogger(__name__)


def alias_lock(database: Database, alias: str) -> AbstractContextManager[None]:
    """The lock that whoever moves the alias, or drops a collection, holds."""
    return database.lock("*", f"alias {alias}")


def settled_moves(database: Database, vectors: VectorStore, alias: str) -> list[Move]:
    """Every move of the alias that was made, newest first, for a caller that holds `alias_lock`.

    One that was left unconfirmed is confirmed where the alias points to its collection, else forgotten.
    """
    target = vectors.alias(alias)
    for move in moves(database, alias):
        if not move.confirmed:
            made = target == move.collection
            logger.warning(
                "a %s of the alias %r to %r was interrupted: it points to %r, so it %s",
                move.action,
                alias,
                move.collection,
                target,
                "was made and is confirmed" if made else "was not made and is forgotten",
            )
            if made:
                confirm_move(database, move.id)
            else:
                forget_move(database, move.id)
    return moves(database, alias)


def settle_moves(database: Database, vectors: VectorStore, alias: str) -> None:
    """The same for a caller that does not hold the lock and has nothing to wait for where all are confirmed."""
    if any(not move.confirmed for move in moves(database, alias)):
        with alias_lock(database, alias):
            settled_moves(database, vectors, alias)


def move_alias(
    database: Database,
    vectors: VectorStore,
    alias: str,
    *,
    expected: str | None,
    to: str,
    action: str,
    promotion: Promotion | None = None,
) -> None:
    """Point `alias` from `expected` at `to`, see that it does, and have it in its history.

    The caller holds `alias_lock` and has called `settled_moves` since.

    Raises:
        CollectionError: it pointed elsewhere before, or does afterwards: somebody else moves it.
    """
    found = vectors.alias(alias)
    if found != expected:
        raise CollectionError(
            f"the alias {alias!r} points to {found!r}, not to {expected!r} any more: somebody moved it meanwhile; "
            "look with `fashion-pipeline index collections` and start again"
        )
    intended = intend_move(
        database, alias=alias, collection=to, previous=expected, action=action, promotion=promotion
    )
    vectors.set_alias(alias, to)
    found = vectors.alias(alias)
    if found != to:
        raise CollectionError(
            f"the alias {alias!r} was moved to {to!r} and points to {found!r}: somebody else moves it too; look with "
            "`fashion-pipeline index collections`"
        )
    confirm_move(database, intended)
