"""Bringing the tables to the newest migration."""

import logging
from dataclasses import dataclass
from pathlib import Path

import alembic.command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import Diagnostic

from fashion_pipeline.catalog.engine import Database

logger = logging.getLogger(__name__)


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


def migrate(database: Database, ini: Path, *, revision: str = "head") -> MigrationState:
    """Upgrade the database to `revision`, in one transaction, one migrator at a time.

    Returns:
        The state before.
    """
    before = migration_state(database, ini)
    if revision == "head" and before.up_to_date:
        return before
    config = Config(str(ini))
    with database.connection() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.add_notice_handler(_say)
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)
    return before


def _say(notice: Diagnostic) -> None:
    """Pass on what the server remarks, such as an extension that it does not have."""
    levels = {"WARNING": logging.WARNING, "INFO": logging.INFO}
    level = levels.get(str(notice.severity_nonlocalized))
    if level is not None:
        logger.log(level, "PostgreSQL: %s", notice.message_primary)
