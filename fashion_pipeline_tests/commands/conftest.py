"""A filled small world in the process's environment, and the console script called in this process."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fashion_pipeline.cli import main
from fashion_pipeline.settings import Settings
from fashion_pipeline_tests.conftest import _execute, _sibling
from fashion_pipeline_tests.small_world import SmallWorld
from fashion_pipeline_tests.small_world_fixtures import filled_world, world, world_template

__all__ = ["filled_world", "world", "world_template"]


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code; a text as exit code is what the terminal shows."""

    code: int
    out: str
    error: str


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting of ours in the environment, and a working directory without a `.env`."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("COLUMNS", "400")
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def fashion_pipeline(
    silent: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    """Call `fashion-pipeline` with these words."""
    root = logging.getLogger()
    handlers, term = list(root.handlers), signal.getsignal(signal.SIGTERM)

    def call(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["fashion-pipeline", *map(str, words)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        out, error = capsys.readouterr()
        if isinstance(code, str):
            return Said(1, out, error + code)
        return Said(int(code or 0), out, error)

    yield call
    signal.signal(signal.SIGTERM, term)
    root.handlers[:] = handlers


@pytest.fixture
def dagster_url(world: SmallWorld, postgres_url: str) -> Iterator[str]:
    """URL of an empty database for Dagster, beside the world's."""
    name = str(world.database.url.database) + "_dagster"
    _execute(postgres_url, f'CREATE DATABASE "{name}"')
    yield _sibling(postgres_url, name).replace("postgresql+psycopg:", "postgresql+psycopg2:", 1)
    _execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def here(world: SmallWorld, silent: Path, dagster_url: str, monkeypatch: pytest.MonkeyPatch) -> SmallWorld:
    """The world, as the process's environment says."""
    for name, value in (world.environ | {"DAGSTER_PG_URL": dagster_url}).items():
        monkeypatch.setenv(name, value)
    return world
