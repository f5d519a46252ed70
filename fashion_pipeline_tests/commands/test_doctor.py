"""`fashion-pipeline doctor`: each part seen right and in trouble; the advice names what to change."""

import socket
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fashion_pipeline.catalog.engine import dispose_shared
from fashion_pipeline.commands import doctor
from fashion_pipeline.commands.doctor import examine
from fashion_pipeline.defs.housekeeping import set_pool_limits
from fashion_pipeline.settings import load_settings
from fashion_pipeline_tests.commands.conftest import Said
from fashion_pipeline_tests.conftest import _sibling
from fashion_pipeline_tests.small_world import SmallWorld

PARTS = [
    "settings", "data folder", "feeds file", "addresses", "PostgreSQL", "migrations", "Dagster's database", "Qdrant",
    "model",
]  # fmt: skip


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def troubles(world: SmallWorld, **changes: str) -> dict[str, str]:
    """Parts in trouble to the advice, with these variables changed."""
    findings = examine(load_settings(world.environ | changes))
    assert [finding.part for finding in findings] == PARTS
    assert [finding.part for finding in findings if not finding.ok and not finding.advice] == []
    assert [finding.part for finding in findings if finding.ok and finding.advice] == []
    return {finding.part: finding.advice for finding in findings if not finding.ok}


@pytest.fixture
def right(
    filled_world: SmallWorld, silent: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> SmallWorld:
    """The world in which nothing is wrong, in the process's environment; nothing in it may be changed."""
    filled_world.environ["DAGSTER_PG_URL"] = postgres_url.replace("psycopg:", "psycopg2:", 1)
    for name, value in filled_world.environ.items():
        monkeypatch.setenv(name, value)
    return filled_world


def test_everything_is_right(right: SmallWorld, fashion_pipeline: Callable[..., Said]) -> None:
    said = fashion_pipeline("doctor")
    assert said.code == 0, said.out
    for part in PARTS:
        assert part in said.out
    assert "trouble" not in said.out
    for shown in (
        "2 stores, 2 active; 4 partition keys",
        "qdrant-edge-py",
        "alias products -> products-",
        str(right.data),
    ):
        assert shown in said.out


def test_trouble_is_the_exit_code_and_is_shown_with_what_to_do(
    right: SmallWorld, fashion_pipeline: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_PIPELINE_FEEDS", "/none/[/b]/feeds.yaml")
    said = fashion_pipeline("doctor")
    assert said.code == 1
    assert "trouble" in said.out
    # Brackets of a path are no markup of the terminal's.
    assert "/none/[/b]/feeds.yaml" in said.out


def test_settings(right: SmallWorld) -> None:
    found = troubles(right, FASHION_PIPELINE_PROFILE="server")
    assert "FASHION_PIPELINE_MODEL" in found["settings"]
    assert "QDRANT_URL" in found["settings"]
    assert "QDRANT_URL" in found["Qdrant"]
    assert "FASHION_PIPELINE_MODEL" in found["model"]
    assert "PostgreSQL" not in found


def test_a_data_folder_that_is_a_file(right: SmallWorld, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = troubles(right, FASHION_PIPELINE_DATA=str(tmp_path / "file"))
    assert str(tmp_path / "file") in found["data folder"]


def test_a_disk_that_is_almost_full(right: SmallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage(10**12, 10**12, 10**9))
    assert "FASHION_PIPELINE_DATA" in troubles(right)["data folder"]


def test_a_feeds_file_that_is_missing_or_wrong(right: SmallWorld, tmp_path: Path) -> None:
    missing = str(tmp_path / "none.yaml")
    assert missing in troubles(right, FASHION_PIPELINE_FEEDS=missing)["feeds file"]
    wrong = tmp_path / "feeds.yaml"
    wrong.write_text("first_day: 2026-11-02\nstores: []\n")
    assert "feeds.yaml:2" in troubles(right, FASHION_PIPELINE_FEEDS=str(wrong))["feeds file"]


def test_a_grid_that_grows_too_large(right: SmallWorld, tmp_path: Path) -> None:
    text = right.feeds_file.read_text().replace("2026-11-02", "1900-01-01")
    (tmp_path / "feeds.yaml").write_text(text)
    advice = troubles(right, FASHION_PIPELINE_FEEDS=str(tmp_path / "feeds.yaml"))["feeds file"]
    assert "first_day" in advice
    assert "2 stores" in advice


def test_addresses(right: SmallWorld) -> None:
    found = troubles(right, FASHION_PIPELINE_ALLOWED_HOSTS="10.0.0.0/99")
    assert "allowed hosts" in found["addresses"]
    (finding,) = [
        each
        for each in examine(
            load_settings(right.environ | {"FASHION_PIPELINE_ALLOWED_HOSTS": "cdn.internal,10.1.0.0/16"})
        )
        if each.part == "addresses"
    ]
    assert "allowed by name besides: 10.1.0.0/16, cdn.internal;" in finding.used
    assert str(right.pictures) in finding.used


def test_a_postgresql_that_does_not_answer(right: SmallWorld) -> None:
    url = f"postgresql+psycopg://me:hunter2@127.0.0.1:{closed_port()}/none"
    found = troubles(right, DATABASE_URL=url)
    assert set(found) == {"PostgreSQL", "migrations"}
    assert "DATABASE_URL" in found["PostgreSQL"]
    assert "hunter2" not in str(found)
    assert "\n" not in found["migrations"]


def test_tables_that_are_not_migrated(right: SmallWorld, empty_database_url: str) -> None:
    try:
        found = troubles(right, DATABASE_URL=empty_database_url)
        assert set(found) == {"migrations"}
        assert "fashion-pipeline migrate" in found["migrations"]
        assert "nothing" in found["migrations"]
    finally:
        dispose_shared()


def test_dagsters_database(right: SmallWorld, postgres_url: str) -> None:
    missing = _sibling(postgres_url, "no_such_database").replace("psycopg:", "psycopg2:", 1)
    found = troubles(right, DAGSTER_PG_URL=missing)
    assert set(found) == {"Dagster's database"}
    assert "no_such_database" in found["Dagster's database"]
    assert "DAGSTER_PG_URL" in found["Dagster's database"]


@pytest.fixture
def dagsters(empty_database_url: str, tmp_path: Path) -> Iterator[tuple[str, dg.DagsterInstance]]:
    """A Dagster instance on PostgreSQL: its URL, and itself."""
    url = empty_database_url.replace("psycopg:", "psycopg2:", 1)
    storage = {"storage": {"postgres": {"postgres_url": url}}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=storage) as instance:
        yield url, instance


def test_pools_without_a_limit(right: SmallWorld, dagsters: tuple[str, dg.DagsterInstance]) -> None:
    url, instance = dagsters
    assert instance.event_log_storage.get_pool_limits() == []
    advice = troubles(right, DAGSTER_PG_URL=url)
    assert set(advice) == {"Dagster's database"}
    assert "fetch, gpu, index: run `fashion-pipeline pools`" in advice["Dagster's database"]
    set_pool_limits(instance)
    (finding,) = [
        each
        for each in examine(load_settings(right.environ | {"DAGSTER_PG_URL": url}))
        if each.part == "Dagster's database"
    ]
    assert finding.ok
    assert "fetch 4, gpu 1, index 1" in finding.used


def test_no_path_is_broken_where_there_is_no_terminal(
    right: SmallWorld, fashion_pipeline: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")
    assert str(right.feeds_file) in fashion_pipeline("doctor").out


def test_one_database_for_both_is_refused(right: SmallWorld) -> None:
    """Both keep a table `alembic_version`: each would break the other."""
    same = right.database_url.replace("psycopg:", "psycopg2:", 1)
    found = troubles(right, DAGSTER_PG_URL=same)
    assert set(found) == {"Dagster's database"}
    assert "DATABASE_URL" in found["Dagster's database"]
    assert "of its own" in found["Dagster's database"]


def test_a_qdrant_that_does_not_answer(right: SmallWorld) -> None:
    found = troubles(right, QDRANT_URL=f"http://127.0.0.1:{closed_port()}", QDRANT_API_KEY="")
    assert set(found) == {"Qdrant"}
    assert "127.0.0.1" in found["Qdrant"]


def test_a_qdrant_folder_that_cannot_be_used(right: SmallWorld, tmp_path: Path) -> None:
    data = tmp_path / "other"
    data.mkdir()
    (data / "qdrant").write_text("a file where the folder should be")
    found = troubles(right, FASHION_PIPELINE_DATA=str(data))
    assert "Qdrant" in found


def test_a_world_before_its_first_run_has_no_alias_and_no_trouble(right: SmallWorld, tmp_path: Path) -> None:
    settings: Any = load_settings(right.environ | {"FASHION_PIPELINE_ALIAS": "other"})
    (finding,) = [each for each in examine(settings) if each.part == "Qdrant"]
    assert finding.ok
    assert "no alias other yet" in finding.used


def test_a_model_folder_that_is_missing(right: SmallWorld, tmp_path: Path) -> None:
    found = troubles(right, FASHION_PIPELINE_MODEL=f"local-dir:{tmp_path}/none")
    assert set(found) == {"model"}
    assert f"{tmp_path}/none" in found["model"]
