"""`fashion-pipeline index reconcile`, `migrate`, `model check` and `down`."""

import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fashion_pipeline.catalog.engine import Database, dispose_shared
from fashion_pipeline.index.open import close_stores
from fashion_pipeline.index.types import Point
from fashion_pipeline_tests.commands.conftest import Said
from fashion_pipeline_tests.small_world import SmallWorld

Call = Callable[..., Said]


def test_an_index_that_agrees(here: SmallWorld, fashion_pipeline: Call) -> None:
    said = fashion_pipeline("index", "reconcile")
    assert said.code == 0
    assert said.out.count("agrees") == 2
    written = here.vectors().points_written
    assert fashion_pipeline("index", "reconcile", "--repair").code == 0
    assert here.vectors().points_written == written


def test_differences_are_counted_and_mended_when_told(here: SmallWorld, fashion_pipeline: Call) -> None:
    vectors, name = here.vectors(), here.collection()
    lost = [here.products()[f"alpha-{number}"]["id"] for number in (1, 2)]
    payload = {"store_id": "beta", "title": "left behind", "payload_hash": "0" * 32}
    with vectors.session(name):
        vectors.delete(name, lost)
        vectors.upsert(name, [Point(uuid.uuid4(), np.eye(1, 768, dtype=np.float32)[0], payload)])
    before = {id_: payload for id_, payload in vectors.scroll(name, fields=("title",)) if id_ not in lost}
    said = fashion_pipeline("index", "reconcile")
    assert said.code == 1
    (alpha,) = [line for line in said.out.splitlines() if "alpha" in line]
    (beta,) = [line for line in said.out.splitlines() if "beta" in line]
    assert "--repair" in alpha
    assert "--repair" in beta
    assert "2" in re.findall(r"\d+", alpha)
    # Without --repair nothing is written.
    assert {id_ for id_, _ in vectors.scroll(name)} == set(before)
    one = fashion_pipeline("index", "reconcile", "--repair", "--store", "alpha")
    assert one.code == 0
    assert "mended" in one.out
    assert "beta" not in one.out
    whole = fashion_pipeline("index", "reconcile", "--repair")
    assert whole.code == 0
    assert "still differs" not in whole.out
    ids = {id_ for id_, _ in vectors.scroll(name)}
    assert ids == {row["id"] for store in ("alpha", "beta") for row in here.products(store).values()}


def test_a_lost_index_is_made_anew_and_filled(here: SmallWorld, fashion_pipeline: Call) -> None:
    folder = Path(here.environ["FASHION_PIPELINE_DATA"]) / "qdrant"
    wanted = {row["id"] for store in ("alpha", "beta") for row in here.products(store).values()}
    close_stores()
    shutil.rmtree(folder)
    assert fashion_pipeline("index", "reconcile").code == 1
    assert fashion_pipeline("index", "reconcile", "--repair").code == 0
    vectors, name = here.vectors(), here.collection()
    assert {id_ for id_, _ in vectors.scroll(name)} == wanted


def test_an_unknown_store_is_no_agreement(here: SmallWorld, fashion_pipeline: Call) -> None:
    said = fashion_pipeline("index", "reconcile", "--store", "nobody")
    assert said.code == 1
    assert "nobody" in said.error


def test_migrate_goes_to_the_newest_and_then_does_nothing(
    silent: object, fashion_pipeline: Call, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    try:
        first = fashion_pipeline("migrate")
        assert first.code == 0, first.error
        assert "from revision nothing to" in first.out
        second = fashion_pipeline("migrate")
        assert second.code == 0
        assert "nothing to do" in second.out
        database = Database(empty_database_url)
        with database.connection() as connection:
            tables = connection.exec_driver_sql(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).scalars()
            assert {"products", "feed_snapshots", "index_entries", "alembic_version"} <= set(tables)
        database.dispose()
    finally:
        dispose_shared()


def test_a_server_that_is_away_is_one_line(
    silent: object, fashion_pipeline: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+psycopg://me:hunter2@127.0.0.1:1/none")
    said = fashion_pipeline("migrate")
    assert said.code == 1
    assert "DATABASE_URL" in said.error
    assert "hunter2" not in said.error
    assert "Traceback" not in said.error


def test_without_a_world_the_message_names_it(silent: object, fashion_pipeline: Call) -> None:
    said = fashion_pipeline("migrate")
    assert said.code == 1
    assert "DATABASE_URL" in said.error
    assert "FASHION_PIPELINE_PROFILE" in said.error


def test_down_says_what_it_found(
    here: SmallWorld, fashion_pipeline: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = fashion_pipeline("down")
    assert (said.code, said.out.strip()) == (0, "the embedded PostgreSQL was not running")
    monkeypatch.setenv("FASHION_PIPELINE_PROFILE", "server")
    assert "nothing of ours" in fashion_pipeline("down").out


def test_down_stops_the_embedded_server(
    silent: object, fashion_pipeline: Call, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fashion_pipeline import parts
    from fashion_pipeline.settings import load_settings

    monkeypatch.setenv("FASHION_PIPELINE_PROFILE", "embedded")
    monkeypatch.setenv("FASHION_PIPELINE_DATA", f"{tmp_path}/data")
    server = parts.embedded_postgres(load_settings())
    try:
        assert fashion_pipeline("migrate").code == 0
        assert server.status().running
        assert fashion_pipeline("migrate").out.endswith("nothing to do\n")
        assert fashion_pipeline("down").out.strip() == "stopped"
        assert not server.status().running
        assert "not running" in fashion_pipeline("down").out
    finally:
        dispose_shared()
        server.delete()


def test_the_model_is_checked(here: SmallWorld, fashion_pipeline: Call) -> None:
    said = fashion_pipeline("model", "check")
    assert said.code == 0
    assert "768" in said.out
    # Shown for people: no tuple, None or truth value of Python's.
    for raw in ("(", "None", "True", "False"):
        assert raw not in said.out


def test_help_is_quick_and_names_every_command(fashion_pipeline: Call) -> None:
    said = fashion_pipeline("--help")
    assert said.code == 0
    for command in ("demo", "dev", "doctor", "migrate", "down", "search", "rejected", "index", "model"):
        assert command in said.out
