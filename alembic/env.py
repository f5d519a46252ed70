"""Runs migrations on the database of the settings, one migrator at a time."""

from sqlalchemy import Connection, text

from alembic import context
from fashion_pipeline.catalog.migrate import LOCK_SECONDS
from fashion_pipeline.catalog.models import Table
from fashion_pipeline.parts import open_database
from fashion_pipeline.settings import load_settings

# Any number that no other user of advisory locks takes; two deployments that start at once queue here.
MIGRATION_LOCK = 7_305_803_415_926


def migrate(connection: Connection) -> None:
    connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
    # A migration must not queue behind a long transaction with everybody else queueing behind it.
    seconds = int(context.config.attributes.get("lock_seconds", LOCK_SECONDS))
    connection.execute(text(f"SET LOCAL lock_timeout = '{seconds}s'"))
    context.configure(connection=connection, target_metadata=Table.metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=Table.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    with open_database(load_settings()).connection() as opened:
        migrate(opened)
