"""A data folder with embedded parts and a picture server, for benchmarks of the whole line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fashion_pipeline import parts
from fashion_pipeline.catalog.engine import dispose_shared
from fashion_pipeline.catalog.migrate import migrate
from fashion_pipeline.settings import Settings, load_settings
from fashion_pipeline_tests.conftest import ROOT


@contextmanager
def picture_server(kind: str) -> Iterator[int]:
    """The port of a picture server in a process of its own."""
    command = [sys.executable, "-m", "fashion_pipeline_tests.benchmarks.picture_server", kind]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


class BenchWorld:
    """Settings, database and tables below `folder`; its PostgreSQL runs until `close`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environ = {
            "FASHION_PIPELINE_PROFILE": "embedded",
            "FASHION_PIPELINE_DATA": str(folder / "data"),
            "FASHION_PIPELINE_FEEDS": str(folder / "feeds.yaml"),
            "FASHION_PIPELINE_FILE_ROOTS": str(folder),
            "FASHION_PIPELINE_ALLOWED_HOSTS": "127.0.0.1",
            "FASHION_PIPELINE_DEVICE": "cpu",
            **environment,
        }
        self.server = parts.start_embedded_postgres(self.settings)
        migrate(parts.open_database(self.settings), ROOT / "alembic.ini")

    @property
    def settings(self) -> Settings:
        """Of every process of this world."""
        return load_settings(self.environ)

    def run(self, job: str, *arguments: str, **environment: str) -> dict[str, Any]:
        """What `line_worker` prints of a job.

        Raises:
            AssertionError: a step failed.
        """
        command = [sys.executable, "-m", "fashion_pipeline_tests.benchmarks.line_worker", job, *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | self.environ | environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert not told["failures"], told["failures"]
        return told

    def close(self) -> None:
        """Stop PostgreSQL."""
        dispose_shared()
        self.server.stop()
