"""Ctrl-C in the middle of the demo ends it, and what it started; a second run goes on from there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fashion_pipeline.catalog.embedded_postgres import EmbeddedPostgres
from fashion_pipeline_tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_within_seconds_and_stops_its_server(tmp_path: Path, number: int) -> None:
    environment = os.environ | {
        "FASHION_PIPELINE_PROFILE": "embedded",
        "FASHION_PIPELINE_DATA": str(tmp_path / "data"),
    }
    for name in ("DATABASE_URL", "DAGSTER_PG_URL", "QDRANT_URL", "DAGSTER_HOME", "FASHION_PIPELINE_FEEDS"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-m", "fashion_pipeline.cli", "demo"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("[3/"):
            break
    else:
        pytest.fail("".join(said))
    time.sleep(2)
    asked = time.monotonic()
    process.send_signal(number)
    # From the same stream, which has read ahead.
    rest = process.stdout.read()
    process.communicate(timeout=60)
    assert time.monotonic() - asked < 40, rest
    assert process.returncode not in (0, 1), rest
    assert "[5/" not in rest
    assert not EmbeddedPostgres(tmp_path / "data" / "postgres").status().running
