"""What all tests share: real parts, one embedded PostgreSQL per session, a database per test."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fashion_pipeline.catalog.embedded_postgres import EmbeddedPostgres
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.migrate import migrate
from fashion_pipeline.storage import DataLocation
from fashion_pipeline_tests.object_store import S3Bucket, s3_server

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "real"


@pytest.fixture(scope="session")
def real_feeds() -> Path:
    """Folder of real feeds; a checkout without them skips the test."""
    if not (REAL / "feeds").is_dir():
        pytest.skip("the real feeds are not beside this checkout")
    return REAL / "feeds"


@pytest.fixture(scope="session")
def real_photos() -> Path:
    """Folder of real photos; a checkout without them skips the test."""
    if not (REAL / "photos").is_dir():
        pytest.skip("the real photos are not beside this checkout")
    return REAL / "photos"


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a database on a server on which tests may create databases.

    `DATABASE_URL` names an outside server; without it the embedded one is started for the session.
    """
    outside = os.environ.get("DATABASE_URL")
    if outside:
        yield outside
        return
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"))
    with server.running():
        server.ensure_database("fashion")
        yield server.url("fashion")
    server.delete()


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> Iterator[str]:
    """Name of a migrated database that tests copy: copying takes 40 ms, migrating ten times that."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    _execute(postgres_url, f'CREATE DATABASE "{name}"')
    database = Database(_sibling(postgres_url, name))
    migrate(database, ROOT / "alembic.ini")
    database.dispose()
    yield name
    _execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """URL of a fresh, migrated database of this test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _execute(postgres_url, f'CREATE DATABASE "{name}" TEMPLATE "{template_database}"')
    yield _sibling(postgres_url, name)
    _execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """URL of a database without any table."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _execute(postgres_url, f'CREATE DATABASE "{name}"')
    yield _sibling(postgres_url, name)
    _execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh, migrated database."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


def data_location(folder: Path) -> DataLocation:
    """An empty data location: `folder`, or a prefix of its own below `TEST_DATA_URL`, an object store."""
    outside = os.environ.get("TEST_DATA_URL")
    own = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return DataLocation(f"{outside}/{own}" if outside else str(folder))


@pytest.fixture
def data(tmp_path: Path) -> DataLocation:
    """An empty data location."""
    return data_location(tmp_path / "data")


@pytest.fixture
def s3_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    """An empty bucket, to which s3:// leads in this process."""
    from s3fs import S3FileSystem

    with s3_server() as bucket:
        for name, value in bucket.environ.items():
            monkeypatch.setenv(name, value)
        # File systems are kept by fsspec, and with them the server that they talk to.
        S3FileSystem.clear_instance_cache()
        yield bucket
        S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A copy of the demo model: the project's own may be trained anew while the tests run."""
    from fashion_pipeline.settings import DEMO_MODEL

    target = tmp_path_factory.mktemp("model") / "demo"
    shutil.copytree(DEMO_MODEL.removeprefix("local-dir:"), target)
    return f"local-dir:{target}"


def _execute(url: str, statement: str) -> None:
    import psycopg

    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def _sibling(url: str, name: str) -> str:
    from sqlalchemy import make_url

    return make_url(url).set(database=name).render_as_string(hide_password=False)
