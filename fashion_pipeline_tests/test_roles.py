"""Least privilege: the roles of deploy/postgres, the line run as the one that writes, on an embedded server."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from fashion_pipeline.catalog.embedded_postgres import EmbeddedPostgres
from fashion_pipeline.catalog.engine import Database, dispose_shared
from fashion_pipeline.catalog.migrate import migrate
from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.small_world import FIRST, LOOKS, SmallWorld

SQL = ROOT / "deploy" / "postgres" / "sql"


def run_script(url: str, script: str) -> None:
    """As psql would: statement by statement, its variables filled in."""
    text = re.sub(r"--.*", "", (SQL / script).read_text())
    text = re.sub(r":'(\w+)'", r"'planted-\1'", text)
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        for statement in text.split(";"):
            if statement.strip():
                connection.execute(statement.encode())


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """URL of the database of our tables, by role, on a server of its own."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("roles"))
    with server.running():
        run_script(server.url("postgres"), "roles.sql")
        run_script(server.url("fashion"), "grants.sql")
        found = {
            role: as_role(server.url("fashion"), f"fashion_{role}") for role in ("migrate", "write", "read")
        }
        database = Database(found["migrate"])
        migrate(database, ROOT / "alembic.ini")
        database.dispose()
        yield found | {"dagster": as_role(server.url("dagster"), "dagster")}
        dispose_shared()
    server.delete()


def attempt(url: str, statement: str) -> str:
    """Nothing, or the class of the refusal."""
    try:
        with psycopg.connect(url.replace("+psycopg", "", 1)) as connection:
            connection.execute(statement.encode())
            connection.rollback()
    except psycopg.Error as error:
        return type(error).__name__
    return ""


def test_the_line_runs_as_the_role_that_writes(urls: dict[str, str], tmp_path: Path) -> None:
    from fashion_pipeline.demo.garments import draw

    world = SmallWorld(tmp_path / "data", urls["write"], tmp_path / "pictures")
    world.pictures.mkdir()
    for number in range(4):
        draw(LOOKS[number], seed=number, size=96).save(world.pictures / f"{number}.png")
    world.write_feeds_file()
    assert world.run("collection").success
    world.feed("alpha", FIRST, world.rows("alpha", 4))
    assert world.run("line").success
    assert world.run("health").success
    assert len(world.products()) == 4
    assert world.points() == 4
    world.database.dispose()


@pytest.mark.parametrize(
    ("role", "statement", "refusal"),
    [
        ("write", "CREATE TABLE mine (n int)", "InsufficientPrivilege"),
        ("write", "DROP TABLE products", "InsufficientPrivilege"),
        ("write", "ALTER TABLE products ADD COLUMN n int", "InsufficientPrivilege"),
        ("write", "TRUNCATE products", "InsufficientPrivilege"),
        ("write", "CREATE ROLE other", "InsufficientPrivilege"),
        ("write", "DELETE FROM products", ""),
        ("read", "SELECT * FROM products", ""),
        ("read", "SELECT * FROM feed_snapshots", ""),
        ("read", "DELETE FROM products", "InsufficientPrivilege"),
        ("read", "UPDATE products SET title = 'x'", "InsufficientPrivilege"),
        ("read", "CREATE TEMP TABLE t (n int)", "InsufficientPrivilege"),
        ("migrate", "CREATE TABLE other (n int)", ""),
        ("migrate", "CREATE ROLE other", "InsufficientPrivilege"),
        ("dagster", "CREATE TABLE runs (n int)", ""),
    ],
)
def test_each_role_may_do_what_its_work_needs(
    urls: dict[str, str], role: str, statement: str, refusal: str
) -> None:
    assert attempt(urls[role], statement) == refusal


def test_roles_stay_in_their_database(urls: dict[str, str]) -> None:
    other = make_url(urls["read"]).set(database="dagster").render_as_string(hide_password=False)
    assert attempt(other, "SELECT 1") == "OperationalError"
    mine = as_role(urls["read"], "dagster")
    assert attempt(mine, "SELECT 1") == "OperationalError"
