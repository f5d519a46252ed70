"""One sync and one async engine per URL and process, their sessions, and advisory locks."""

import atexit
import hashlib
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    column,
    create_engine,
    event,
    inspect,
    make_url,
    select,
    table,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool, Pool

from fashion_pipeline.errors import SettingsError, TransientError

logger = logging.getLogger(__name__)

#: A loser of a lock waits for the winner's whole stage; the longest stages take hours, not days.
LOCK_TIMEOUT_SECONDS = 6 * 3600

#: From this share of a table's rows on, and so many, or from what may be a whole store, new rows change its statistics.
ANALYZE_SHARE, ANALYZE_ROWS, ANALYZE_STORE = 0.2, 1_000, 2_000

#: Names of this machine: two URLs may call it differently.
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Database:
    """Engines and sessions on one PostgreSQL database, through psycopg 3."""

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        # Servers restart and proxies drop idle connections: a dead one is replaced before use.
        self.engine: Engine = create_engine(
            self.url, pool_pre_ping=True, pool_size=5, max_overflow=10, connect_args=_connect_args()
        )
        event.listen(self.engine, "connect", _plan_for_all_rows)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._async_engine: AsyncEngine | None = None
        self._guard = threading.Lock()

    @property
    def async_engine(self) -> AsyncEngine:
        """The async engine of the same URL, made on first use."""
        with self._guard:
            if self._async_engine is None:
                self._async_engine = create_async_engine(
                    self.url, pool_pre_ping=True, connect_args=_connect_args()
                )
            return self._async_engine

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session in one transaction: committed on leaving, rolled back on an error."""
        with self._sessions.begin() as session:
            yield session

    @asynccontextmanager
    async def async_session(self) -> AsyncIterator[AsyncSession]:
        """The same on the async engine."""
        async with async_sessionmaker(self.async_engine, expire_on_commit=False).begin() as session:
            yield session

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in one transaction: committed on leaving, rolled back on an error."""
        with self.engine.begin() as connection:
            yield connection

    def ping(self) -> str:
        """The server's version.

        Raises:
            TransientError: the server does not answer.
        """
        try:
            with self.engine.connect() as connection:
                return str(connection.scalar(text("SHOW server_version")))
        except OperationalError as error:
            raise TransientError(
                f"PostgreSQL at {self.url.render_as_string(hide_password=True)} does not answer: "
                f"{str(error.orig).strip().splitlines()[0]}; start it or mend DATABASE_URL"
            ) from error

    @contextmanager
    def lock(self, store_id: str, stage: str) -> Iterator[None]:
        """Hold the advisory lock of (store, stage); the loser waits.

        The lock lives on a connection of its own and ends with it, so that a killed run never keeps it.

        Raises:
            TransientError: another run held it for `LOCK_TIMEOUT_SECONDS`.
        """
        name = f"fashion_pipeline/{store_id}/{stage}"
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
                logger.info("another run holds %s of store %s: waiting for it to end", stage, store_id)
                self._wait_for_lock(connection, key, store_id, stage)
            try:
                yield
            finally:
                # Closing the connection would free it as well, but pooled connections stay open. Where the
                # connection is lost, so is the lock, and that error would hide the one that matters.
                with suppress(DBAPIError):
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})

    @staticmethod
    def _wait_for_lock(connection: Connection, key: int, store_id: str, stage: str) -> None:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
        try:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
        except OperationalError as error:
            raise TransientError(
                f"stage {stage} of store {store_id} was held by another run for "
                f"{LOCK_TIMEOUT_SECONDS // 3600} hours: end that run, then start this one again"
            ) from error
        finally:
            connection.execute(text("RESET lock_timeout"))

    def analyze(self, table: str, added: int) -> None:
        """Tell the planner of a table what the rows that a run added made of it, if they are many.

        The server does so by itself, but a minute later, and only once a tenth of the table is new: until then a
        new store is planned as if it had no rows, and two of its tables are compared each row with each.
        """
        if added < ANALYZE_ROWS:
            return
        with self.connection() as connection:
            known = connection.scalar(
                text("SELECT reltuples FROM pg_class WHERE oid = CAST(:name AS regclass)"), {"name": table}
            )
            if added >= ANALYZE_STORE or added >= ANALYZE_SHARE * (known or 0):
                connection.exec_driver_sql(
                    f"ANALYZE (SKIP_LOCKED) {self.engine.dialect.identifier_preparer.quote(table)}"
                )

    def dispose(self) -> None:
        """Close pooled connections of the sync engine; the next use opens new ones."""
        self.engine.dispose()


_shared: dict[URL, Database] = {}
_shared_guard = threading.Lock()


def shared_database(url: str) -> Database:
    """The process's `Database` for `url`: one for all who ask."""
    parsed = parse_url(url)
    with _shared_guard:
        if parsed not in _shared:
            _shared[parsed] = Database(url)
        return _shared[parsed]


def dispose_shared() -> None:
    """Close the pooled connections of every shared database; each opens new ones when it is used again."""
    with _shared_guard:
        for database in _shared.values():
            database.dispose()


def ping_url(url: str) -> str:
    """Name of the database that a psycopg 2 URL leads to, asked by that driver.

    Raises:
        TransientError: it does not answer.
    """
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 10})
    try:
        with engine.connect() as connection:
            return str(connection.scalar(text("SELECT current_database()")))
    except OperationalError as error:
        place = engine.url.render_as_string(hide_password=True)
        raise TransientError(f"{place} does not answer: {str(error.orig).strip().splitlines()[0]}") from error
    finally:
        engine.dispose()


def stored_pool_limits(url: str) -> dict[str, int] | None:
    """Limits of Dagster's pools, by pool, that its database holds; None where Dagster made no tables yet.

    Read without Dagster, whose instance would make the tables by being opened.

    Raises:
        TransientError: the database does not answer.
    """
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": 10})
    limits = table("concurrency_limits", column("concurrency_key"), column("limit"))
    try:
        if not inspect(engine).has_table(limits.name):
            return None
        with engine.connect() as connection:
            return {str(pool): int(limit) for pool, limit in connection.execute(select(limits))}
    except OperationalError as error:
        place = engine.url.render_as_string(hide_password=True)
        raise TransientError(f"{place} does not answer: {str(error.orig).strip().splitlines()[0]}") from error
    finally:
        engine.dispose()


def parse_url(url: str, *, driver: str = "postgresql+psycopg") -> URL:
    """`url` with an explicit driver.

    Raises:
        SettingsError: it is no PostgreSQL URL.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise SettingsError(f"a {parsed.get_backend_name()} URL was given where PostgreSQL is needed")
    return parsed.set(drivername=driver)


def same_database(first: str, second: str) -> bool:
    """Whether two URLs name one database of one server, whatever their drivers and users."""
    a, b = make_url(first), make_url(second)

    def place(url: URL) -> tuple[object, ...]:
        host = str(url.query.get("host", url.host or "localhost"))
        port = int(url.port or str(url.query.get("port", 5432)))
        return "localhost" if host in LOOPBACK else host, port, url.database

    return place(a) == place(b)


def connection_was_lost(error: BaseException) -> bool:
    """Whether an error says that the server went away in the middle, rather than that it refused."""
    return isinstance(error, OperationalError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def _connect_args() -> dict[str, object]:
    return {"application_name": "fashion_pipeline", "connect_timeout": 10}


def _plan_for_all_rows(connection: Any, record: object) -> None:
    """Statements of this project read most of their tables once, and all of their results.

    Compiling them takes longer than running them. A cursor's are planned for its first rows otherwise: 2,000 points
    of a store then take 75 ms instead of 10.
    """
    del record
    with connection.cursor() as cursor:
        cursor.execute("SET jit = off; SET cursor_tuple_fraction = 1")
    connection.commit()


_opened: "weakref.WeakSet[Any]" = weakref.WeakSet()


def close_connections_at_exit() -> None:
    """Close at the process's end what any pool of it opens from now on, also pools that are not ours."""
    if not event.contains(Pool, "connect", _remember):
        event.listen(Pool, "connect", _remember)
        atexit.register(_close_opened)


def _remember(connection: Any, record: object) -> None:
    with suppress(TypeError):  # those of an event loop cannot be referred to weakly, and close with it
        _opened.add(connection)


def _close_opened() -> None:
    for connection in list(_opened):
        connection.close()
