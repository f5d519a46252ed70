"""Sessions, the one database per URL, and locks that end with their holder; on a real PostgreSQL."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select, text

from fashion_pipeline.catalog import engine
from fashion_pipeline.catalog.engine import Database, parse_url, same_database, shared_database
from fashion_pipeline.catalog.models import Store
from fashion_pipeline.errors import SettingsError, TransientError
from fashion_pipeline_tests.conftest import ROOT


async def test_sync_and_async_sessions_see_each_others_commits(database: Database) -> None:
    with database.session() as session:
        session.add(Store(store_id="one", applied_sha256="a"))
    try:
        async with database.async_session() as session:
            found = (await session.scalars(select(Store))).all()
            assert [each.store_id for each in found] == ["one"]
            session.add(Store(store_id="two"))
        with database.session() as session:
            assert sorted(session.scalars(select(Store.store_id))) == ["one", "two"]
        assert database.async_engine is database.async_engine
        assert database.async_engine.url == database.engine.url
    finally:
        await database.async_engine.dispose()


async def test_an_error_rolls_back_in_all_three_ways(database: Database) -> None:
    def in_session() -> None:
        with database.session() as session:
            session.add(Store(store_id="lost"))
            session.flush()
            raise ZeroDivisionError

    def in_connection() -> None:
        with database.connection() as connection:
            connection.execute(text("INSERT INTO stores (store_id) VALUES ('lost')"))
            raise ZeroDivisionError

    async def in_async_session() -> None:
        async with database.async_session() as session:
            session.add(Store(store_id="lost"))
            await session.flush()
            raise ZeroDivisionError

    for failing in (in_session, in_connection):
        with pytest.raises(ZeroDivisionError):
            failing()
    try:
        with pytest.raises(ZeroDivisionError):
            await in_async_session()
    finally:
        await database.async_engine.dispose()
    with database.session() as session:
        assert session.scalars(select(Store)).all() == []


def test_one_database_per_url_in_a_process(database_url: str, empty_database_url: str) -> None:
    first = shared_database(database_url)
    try:
        assert shared_database(database_url) is first
        # The driver is ours, however the URL names it.
        assert shared_database(database_url.replace("postgresql+psycopg:", "postgresql:")) is first
        assert shared_database(empty_database_url) is not first
        found: list[Database] = []
        threads = [
            threading.Thread(target=lambda: found.append(shared_database(database_url))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [first] * 8
    finally:
        engine.dispose_shared()
        engine._shared.clear()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("postgresql://a@db/x", "postgresql+psycopg2://b:secret@db:5432/x", True),
        ("postgresql://a@db/x", "postgresql://a@db/y", False),
        ("postgresql://a@db/x", "postgresql://a@other/x", False),
        ("postgresql://a@db/x", "postgresql://a@db:5433/x", False),
        ("postgresql://a@/x?host=/run/pg", "postgresql+psycopg2://b@/x?host=/run/pg", True),
        ("postgresql://a@/x?host=/run/pg", "postgresql://a@/y?host=/run/pg", False),
        ("postgresql://a@/x?host=/run/pg&port=5432", "postgresql://a@/x?host=/run/pg", True),
        ("postgresql://a@127.0.0.1/x", "postgresql://b@localhost:5432/x", True),
        ("postgresql://a@/x?host=/run/pg&port=5433", "postgresql://a@/x?host=/run/pg", False),
    ],
)
def test_two_urls_of_one_database_are_known_as_such(first: str, second: str, same: bool) -> None:
    assert same_database(first, second) is same
    assert same_database(second, first) is same


def test_only_postgresql_is_taken() -> None:
    assert parse_url("postgresql://a@db/x").drivername == "postgresql+psycopg"
    with pytest.raises(SettingsError, match="mysql"):
        parse_url("mysql://a@db/x")


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    absent = Database("postgresql://someone:geheim@127.0.0.1:1/shop")  # not-a-secret
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:1/shop does not answer") as caught:
        absent.ping()
    assert "geheim" not in str(caught.value)


def test_a_dead_connection_is_replaced_before_use(database: Database) -> None:
    with database.connection() as connection:
        first = connection.scalar(text("SELECT pg_backend_pid()"))
    other = Database(database.url.render_as_string(hide_password=False))
    try:
        with other.connection() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first})
    finally:
        other.dispose()
    with database.connection() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != first


def test_the_planner_knows_of_many_new_rows_at_once(database: Database) -> None:
    def known() -> float:
        with database.connection() as connection:
            found = connection.scalar(text("SELECT reltuples FROM pg_class WHERE relname = 'stores'"))
            assert found is not None
            return float(found)

    def write(first: int, last: int) -> None:
        with database.connection() as connection:
            connection.execute(
                text(
                    "INSERT INTO stores (store_id) SELECT 's' || n "
                    "FROM generate_series(CAST(:first AS int), :last) n"
                ),
                {"first": first, "last": last},
            )
        database.analyze("stores", last - first + 1)

    with database.connection() as connection:
        connection.execute(text("ALTER TABLE stores SET (autovacuum_enabled = off)"))
    write(1, 999)
    assert known() == -1
    write(1_000, 10_000)
    assert known() == 10_000
    write(10_001, 11_500)
    assert known() == 10_000
    write(11_501, 13_500)
    assert known() == 13_500
    write(13_501, 40_000)
    write(40_001, 41_999)
    assert known() == 40_000
    write(42_000, 43_999)
    assert known() == 43_999


def test_statements_are_not_compiled(database: Database) -> None:
    with database.connection() as connection:
        assert connection.scalar(text("SHOW jit")) == "off"


def test_a_lock_is_of_its_store_and_stage_and_free_afterwards(database: Database) -> None:
    with database.lock("shop", "products"), database.lock("shop", "raw_feeds"):
        with database.lock("other", "products"):
            pass
        assert held(database) == 2
    assert held(database) == 0
    with pytest.raises(ZeroDivisionError), database.lock("shop", "products"):
        raise ZeroDivisionError
    with database.lock("shop", "products"):
        assert held(database) == 1


def test_who_waits_too_long_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_TIMEOUT_SECONDS", 1)
    with (
        database.lock("shop", "products"),
        pytest.raises(TransientError, match="products of store shop was held"),
        database.lock("shop", "products"),
    ):
        raise AssertionError("two hold one lock")
    with database.lock("shop", "products"), database.connection() as connection:
        # The limit was of that wait alone.
        assert connection.scalar(text("SHOW lock_timeout")) == "0"


def test_a_killed_holder_frees_its_lock(database: Database, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fashion_pipeline_tests.line.worker", "hold"]
    arguments = [database.url.render_as_string(hide_password=False), str(tmp_path), "shop"]
    with subprocess.Popen(
        [*command, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "held\n"
            got = threading.Event()

            def wait_for_it() -> None:
                with database.lock("shop", "products"):
                    got.set()

            waiter = threading.Thread(target=wait_for_it)
            waiter.start()
            assert not got.wait(0.5), "the lock was held by nobody"
        finally:
            child.kill()
    began = time.monotonic()
    assert got.wait(30)
    waiter.join(10)
    assert time.monotonic() - began < 10
    assert held(database) == 0


def held(database: Database) -> int:
    """Advisory locks in the test's own database."""
    with database.connection() as connection:
        return int(
            connection.scalar(
                text(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = "
                    "(SELECT oid FROM pg_database WHERE datname = current_database())"
                )
            )
            or 0
        )
