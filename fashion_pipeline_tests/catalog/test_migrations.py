"""Migrations on a real server: up, down, equal to the models, and without the extension."""

import logging
import threading
import uuid

import alembic.command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from fashion_pipeline.catalog import migrate as migrations
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.migrate import migrate, migration_state
from fashion_pipeline.catalog.models import Product, Table
from fashion_pipeline.errors import TransientError
from fashion_pipeline_tests.conftest import ROOT

INI = ROOT / "alembic.ini"
TABLES = {
    "products",
    "stores",
    "feed_snapshots",
    "rejected_products",
    "images",
    "embeddings",
    "index_entries",
    "unreferenced_shards",
    "alias_moves",
    "search_measurements",
}


def tables(database: Database) -> set[str]:
    with database.connection() as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def migrate_on(connection: Connection) -> None:
    config = Config(str(INI))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")


def test_upgrade_makes_every_table_and_a_second_one_does_nothing(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    before = migrate(database, INI)
    assert (before.current, tables(database)) == (None, TABLES)
    assert migration_state(database, INI).up_to_date
    assert migrate(database, INI).current == before.newest
    database.dispose()


def test_a_migration_leaves_no_setting_on_pooled_connections(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate(database, INI)
    with database.connection() as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "0"
    database.dispose()


def test_a_table_in_use_delays_a_migration_and_then_refuses_it(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "PAUSE_SECONDS", 0.1)
    database = Database(empty_database_url)
    migrate(database, INI, revision="0002")
    with database.connection() as reader:
        reader.execute(text("SELECT count(*) FROM feed_snapshots"))
        with pytest.raises(TransientError, match=r"stopped 3 times .*lock timeout.* changed nothing"):
            migrate(database, INI, lock_seconds=1)
        assert migration_state(database, INI).current == "0002"
        # Somebody who is through by the second try.
        monkeypatch.setattr(migrations, "PAUSE_SECONDS", 1.0)
        leaving = threading.Timer(1.2, reader.rollback)
        leaving.start()
        assert migrate(database, INI, lock_seconds=1).current == "0002"
        leaving.join()
    assert migration_state(database, INI).up_to_date
    database.dispose()


def test_downgrade_takes_everything_away_and_upgrade_brings_it_back(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate(database, INI)
    with database.connection() as connection:
        config = Config(str(INI))
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "base")
    assert tables(database) == set()
    migrate(database, INI)
    assert tables(database) == TABLES
    database.dispose()


def test_first_migration_makes_products_with_its_indexes_alone(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate(database, INI, revision="0001")
    with database.connection() as connection:
        found = {index["name"] for index in inspect(connection).get_indexes("products")}
    assert tables(database) == {"products"}
    assert {str(index.name) for index in Product.__table__.indexes} <= found
    assert "uq_products_store_id_external_id" in found
    database.dispose()


def test_models_equal_migrations(database: Database) -> None:
    with database.connection() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Table.metadata) == []


def test_models_and_migrations_are_really_compared(database: Database) -> None:
    with database.connection() as connection:
        connection.execute(text("ALTER TABLE products DROP COLUMN brand"))
        found = compare_metadata(MigrationContext.configure(connection), Table.metadata)
        connection.rollback()
    assert any(change[0] == "add_column" and change[3].name == "brand" for change in found)


def test_migration_goes_on_without_the_extension_and_says_so(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The embedded server does not offer uuid-ossp; an outside one may."""
    caplog.set_level(logging.INFO, logger="fashion_pipeline")
    database = Database(empty_database_url)
    migrate(database, INI)
    with database.connection() as connection:
        made = connection.scalar(text("SELECT count(*) FROM pg_extension WHERE extname = 'uuid-ossp'"))
    assert tables(database) == TABLES
    assert bool(made) != ("uuid-ossp was not created" in caplog.text)
    # Nothing needs it, so that nobody has to be alarmed.
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    database.dispose()


def test_migration_goes_on_where_the_extension_may_not_be_made(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A role that owns its schema but may not create extensions, on a server that has one by that name."""
    admin = Database(empty_database_url)
    role = f"role_{uuid.uuid4().hex[:12]}"
    with admin.connection() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'"))
        connection.execute(text(f"GRANT ALL ON SCHEMA public TO {role}"))
    with admin.connection() as connection:
        connection.execute(text(f"SET LOCAL ROLE {role}"))
        migrate_on(connection)
        assert set(inspect(connection).get_table_names()) >= TABLES
    with admin.connection() as connection:
        connection.execute(text(f"DROP OWNED BY {role} CASCADE"))
        connection.execute(text(f"DROP ROLE {role}"))
    admin.dispose()
