"""One of the two lines that are compared: a data folder with PostgreSQL and index in it, and runs over it."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from fashion_pipeline import parts
from fashion_pipeline.catalog.embedded_install import PORT
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.line.image_care import collect_garbage
from fashion_pipeline.line.prune import prune
from fashion_pipeline.line.shards import collect_shards
from fashion_pipeline.settings import Settings, load_settings
from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.crash.runner import STACKS, Order
from fashion_pipeline_tests.crash.state import State, observe, unfinished_files
from fashion_pipeline_tests.crash.watch import Moment
from fashion_pipeline_tests.crash.world import Step, World

#: A run waits up to a minute before it tries a step again; the crasher does not, and kills it.
PATIENCE = 25.0
#: A run without a fault takes 3 s; on a machine that others use, longer.
RUN_SECONDS = 180.0
ORPHAN_SECONDS = 10.0
STACKS_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """What became of a run: it ended by itself, with what it told, or it was lost."""

    told: dict[str, Any] | None
    #: The event at which the moment came, or None where the run ended before.
    moment: str | None
    given_up: bool = False
    #: Decode workers of the run that were there long after it.
    orphans: tuple[str, ...] = ()

    @property
    def success(self) -> bool:
        return self.told is not None and bool(self.told.get("success"))

    @property
    def failures(self) -> dict[str, str]:
        """Error by step; empty where the run was lost."""
        return dict(self.told.get("failures", {})) if self.told else {}


class Runners:
    """The process that starts runs; `preload` is a library that it is started with."""

    def __init__(self, preload: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fashion_pipeline_tests.crash.runner"],
            cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **(preload or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def start(self, order: Order) -> int:
        """The id of a new process, the leader of its group."""
        assert self._process.stdin is not None
        self._process.stdin.write(order.to_json() + "\n")
        self._process.stdin.flush()
        return int(self._answer())

    def close(self) -> None:
        """End it; runs go on."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(RUN_SECONDS)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the process that starts runs died; its error stands above")
        return line


class Run:
    """A process that works on an order."""

    def __init__(self, runners: Runners, order: Order) -> None:
        link = Path(order.link)
        link.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(link))
            listener.listen(1)
            self.pid = runners.start(order)
            listener.settimeout(60)
            self._link, _ = listener.accept()
        self._buffer = b""
        self._ended = False
        self.told: dict[str, Any] | None = None
        self.moment: str | None = None

    def wait_for_moment(self) -> bool:
        """Whether the moment came before the run ended."""
        self._read(RUN_SECONDS, until=lambda: self.moment is not None)
        return self.moment is not None and not self._ended

    def lives(self) -> bool:
        """Whether the run goes on."""
        self._read(0.0, until=lambda: False)
        return not self._ended

    def go_on(self) -> None:
        """Let a run go on that stands still at its moment; nothing happens where it is dead."""
        with suppress(OSError):
            self._link.sendall(b"\n")

    def kill(self) -> None:
        """SIGKILL the run and its decode workers."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def kill_alone(self) -> None:
        """SIGKILL the run; its decode workers are orphans."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def decode_workers(self) -> list[int]:
        """Ids of the run's decode workers."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.pid and b"embeddings.worker" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return sorted(found)

    def end(self, seconds: float) -> Outcome:
        """Wait for the end; a run that takes longer is killed."""
        self._read(seconds, until=lambda: False)
        given_up = not self._ended
        if given_up:
            with suppress(ProcessLookupError):
                os.kill(self.pid, STACKS)
            time.sleep(STACKS_SECONDS)
            self.kill()
            self._read(30, until=lambda: False)
        self._link.close()
        orphans = self._orphans()
        self.kill()
        return Outcome(self.told, self.moment, given_up, tuple(orphans))

    def _orphans(self) -> list[str]:
        """Decode workers that did not end with their run, as they do by the pipe that ends."""
        give_up = time.monotonic() + ORPHAN_SECONDS
        while left := [told for folder in Path("/proc").glob("[0-9]*") if (told := self._in_group(folder))]:
            if time.monotonic() > give_up:
                break
            time.sleep(0.02)
        return left

    def _in_group(self, folder: Path) -> str | None:
        """A decode worker that lives in the run's group. Dagster's own helpers may outlive a killed run."""
        with suppress(OSError):
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if int(group) == self.pid and state != "Z" and "embeddings.worker" in words:
                return f"{folder.name} ({state}): {words[:200]}"
        return None

    def _read(self, seconds: float, until: Callable[[], bool]) -> None:
        give_up = time.monotonic() + seconds
        while not self._ended and not until():
            left = max(0.0, give_up - time.monotonic())
            if not select.select([self._link], [], [], left)[0]:
                return
            try:
                data = self._link.recv(65_536)
            except ConnectionError:
                data = b""
            self._ended = not data
            self._buffer += data
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "moment" in message:
                    self.moment = message["moment"]
                else:
                    self.told = message


class Side:
    """A data folder below `root`, its settings, and what runs do to it.

    With `own_file_system` that of `root` is nobody else's, so that it can be filled and made read-only.
    """

    def __init__(
        self, world: World, shared: Path, root: Path, runners: Runners, *, own_file_system: bool
    ) -> None:
        self.own_file_system = own_file_system
        self.world = world
        self.root = root
        self.data = root / "data"
        self.runners = runners
        self.logs = shared / "logs" / root.name
        self.logs.mkdir(parents=True, exist_ok=True)
        self._links = shared / f"{root.name}.links"
        self._links.mkdir(exist_ok=True)
        self._orders = 0
        self._lease: psycopg.Connection[Any] | None = None
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "HF_HUB_OFFLINE": "1",
            "FASHION_PIPELINE_PROFILE": "embedded",
            "FASHION_PIPELINE_DATA": str(self.data),
            "FASHION_PIPELINE_FEEDS": str(shared / "feeds.yaml"),
            "FASHION_PIPELINE_FILE_ROOTS": str(shared),
            "FASHION_PIPELINE_ALLOWED_HOSTS": "127.0.0.1",
            "FASHION_PIPELINE_DEVICE": "cpu",
            "FASHION_PIPELINE_DECODE_WORKERS": "1",
        }

    @property
    def settings(self) -> Settings:
        return load_settings(self.environ)

    def start(
        self,
        step: Step | None = None,
        *,
        task: str = "run",
        job: str = "line",
        store: str = "",
        config: dict[str, Any] | None = None,
        moment: Moment | None = None,
        late_write: int | None = None,
        runners: Runners | None = None,
        alone: bool = True,
        **environment: str,
    ) -> Run:
        """Start a process on this side."""
        self._orders += 1
        order = Order(
            task=task,
            environ=self.environ | environment,
            link=str(self._links / str(self._orders)),
            log=str(self.logs / f"{self._orders:03}.log"),
            job=job,
            store=step.store if step else store,
            day=str(step.day) if step else "",
            config=config,
            moment=asdict(moment) if moment else None,
            late_write=late_write,
            alone=alone,
        )
        return Run(runners or self.runners, order)

    def run(self, step: Step) -> Outcome:
        """Run a partition undisturbed."""
        self.keep_postgres()
        return self.start(step).end(RUN_SECONDS)

    def retry_pictures(self, step: Step) -> int:
        """`fashion-pipeline images retry --error ...`: pictures of the store whose failure may pass are due at once."""
        told = self.start(step, task="retry").end(RUN_SECONDS).told
        assert told is not None, self.log()
        return int(told["retried"])

    def failing_pictures(self, step: Step) -> int:
        """Pictures whose failure may pass."""
        self.keep_postgres()
        assert self._lease is not None
        row = self._lease.execute("SELECT count(*) FROM images WHERE status = 'failed_transient'").fetchone()
        return int(row[0])

    def observe(self) -> State:
        self.keep_postgres()
        return observe(self.settings, self.world.stores)

    def garbage(self) -> list[str]:
        """Collect what killed runs left, as upkeep does; what stays although nothing needs it."""
        self.keep_postgres()
        settings = self.settings
        database, data = parts.open_database(settings), parts.open_data(settings)
        try:
            tomorrow = datetime.now(UTC).date() + timedelta(days=1)
            prune(database, data, tomorrow, per_product={}, delete=True)
            collect_shards(database, data, age=timedelta(0), remove=True)
            collect_garbage(database, ImageStore(data), older_than_days=-1, delete=True)
        finally:
            database.dispose()
        return sorted(unfinished_files(data))

    def keep_postgres(self) -> None:
        """Have PostgreSQL run, and stay running between runs."""
        if self._lease is not None:
            with suppress(psycopg.Error):
                self._lease.execute("SELECT 1")
                return
            self._lease.close()
        parts.start_embedded_postgres(self.settings)
        self._lease = psycopg.connect(self.postgres_url, autocommit=True)

    @property
    def postgres_url(self) -> str:
        """Where our tables are, for psycopg."""
        return parts.embedded_postgres(self.settings).url(parts.CATALOG_DATABASE).replace("+psycopg", "")

    @property
    def postgres_socket(self) -> Path:
        """Where PostgreSQL listens."""
        return parts.embedded_postgres(self.settings).status().socket_dir / f".s.PGSQL.{PORT}"

    @property
    def postgres(self) -> int | None:
        """The id of PostgreSQL's first process."""
        return parts.embedded_postgres(self.settings).status().pid

    def close(self) -> None:
        """Stop PostgreSQL."""
        if self._lease is not None:
            self._lease.close()
            self._lease = None
        parts.embedded_postgres(self.settings).stop()

    def log(self) -> str:
        """The end of what the last process wrote."""
        path = self.logs / f"{self._orders:03}.log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""


def copy_side(source: Path, target: Path) -> None:
    """Copy a data folder with owners and all; nothing may run on it."""
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
    shutil.rmtree(target / "postgres" / "run", ignore_errors=True)
