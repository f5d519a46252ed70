"""Bringing the tables to the newest migration."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import DeadlockDetected, Diagnostic, LockNotAvailable
from sqlalchemy.exc import OperationalError

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.errors import TransientError

logger = logging.getLogger(__name__)

#: A migration waits this long for a table's lock: longer, and everybody queues behind it.
LOCK_SECONDS = 30
#: Runs of the line that hold a table are through it within seconds; a pause lets them.
TRIES = 3
PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class MigrationState:
    """Revision of the database, and the newest one that there is."""

    current: str | None
    newest: str | None

    @property
    def up_to_date(self) -> bool:
        """Whether nothing is to be done."""
        return self.current == self.newest


def migration_state(database: Database, ini: Path) -> MigrationState:
    """Where the database stands."""
    newest = ScriptDirectory.from_config(Config(str(ini))).get_current_head()
    with database.connection() as connection:
        return MigrationState(MigrationContext.configure(connection).get_current_revision(), newest)


def migrate(
    database: Database, ini: Path, *, revision: str = "head", lock_seconds: int = LOCK_SECONDS
) -> MigrationState:
    """Upgrade the database to `revision`, in one transaction, one migrator at a time.

    Runs of the line may go on meanwhile: where one is in the way, it is tried again.

    Returns:
        The state before.

    Raises:
        TransientError: tables were in use at every try, and nothing was changed.
    """
    before = migration_state(database, ini)
    if revision == "head" and before.up_to_date:
        return before
    for attempt in range(1, TRIES + 1):
        try:
            _upgrade(database, ini, revision, lock_seconds)
            break
        except OperationalError as error:
            if not isinstance(error.orig, DeadlockDetected | LockNotAvailable):
                raise
            reason = str(error.orig).splitlines()[0]
            if attempt == TRIES:
                raise TransientError(
                    f"the migration to {revision} was stopped {TRIES} times by others who use the tables ({reason}), "
                    "and changed nothing: let runs of the line end, or pause the schedules, and migrate again"
                ) from error
            logger.info("the migration waits for others who use the tables: %s", reason)
            time.sleep(PAUSE_SECONDS)
    return before


def _upgrade(database: Database, ini: Path, revision: str, lock_seconds: int) -> None:
    config = Config(str(ini))
    config.attributes["lock_seconds"] = lock_seconds
    with database.connection() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.add_notice_handler(_say)
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)


def _say(notice: Diagnostic) -> None:
    """Pass on what the server remarks, such as an extension that it does not have."""
    levels = {"WARNING": logging.WARNING, "INFO": logging.INFO}
    level = levels.get(str(notice.severity_nonlocalized))
    if level is not None:
        logger.log(level, "PostgreSQL: %s", notice.message_primary)
