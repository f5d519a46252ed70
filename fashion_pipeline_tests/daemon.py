"""A real `dagster dev` over a small world of its own: webserver, daemon, code server, run workers."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from fashion_pipeline.commands.backfill import graphql
from fashion_pipeline_tests.conftest import ROOT, _execute, _sibling
from fashion_pipeline_tests.small_world import SmallWorld, fresh_database
from fashion_pipeline_tests.web import Web

START_SECONDS, STOP_SECONDS = 240, 40
TODAY = datetime.now(UTC).date()
FIRST_DAY = TODAY - timedelta(days=29)
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

SELECTOR = {
    "repositoryLocationName": "fashion_pipeline",
    "repositoryName": "__repository__",
}
RUNS = """
query Runs($filter: RunsFilter) {
  runsOrError(filter: $filter, limit: 500) {
    ... on Runs { results { runId status jobName tags { key value } } }
  }
}
"""
START_SCHEDULE = """
mutation S($selector: ScheduleSelector!) {
  startSchedule(scheduleSelector: $selector) { __typename ... on PythonError { message } }
}
"""
START_SENSOR = """
mutation S($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on PythonError { message } }
}
"""
RELOAD = """
mutation R($name: String!) {
  reloadRepositoryLocation(repositoryLocationName: $name) { __typename }
}
"""
LAUNCH = """
mutation L($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
TERMINATE = """
mutation T($run: String!) { terminateRun(runId: $run) { __typename } }
"""


@dataclass
class Run:
    """A run as the UI lists it."""

    id: str
    status: str
    job: str
    tags: dict[str, str]

    @property
    def store(self) -> str:
        return self.tags.get("dagster/partition/store", "")

    @property
    def day(self) -> str:
        return self.tags.get("dagster/partition/day", "")


@dataclass
class Daemon:
    """The running processes and the world that they work on."""

    world: SmallWorld
    web: Web
    address: str
    environ: dict[str, str]
    log: Path
    stores: dict[str, dict[str, Any]] = field(default_factory=dict)

    # feeds.yaml

    def write_feeds(self, **changes: dict[str, Any]) -> None:
        """`dated` and `second` are dated files, `live` is on the web; changes are kept."""
        for name, values in changes.items():
            self.stores[name] = self.stores.get(name, {}) | values
        fields = {
            "external_id": "id", "title": "title", "price": "price", "image_url": "image",
            "availability": "stock", "product_type": "kind", "item_group_id": "group",
        }  # fmt: skip
        stores = [
            {"id": name, "format": "delimited", "currency": "EUR", "due_at": "00:00",
             "requests_per_second": 100, "mapping": {"fields": fields, "delimiter": ","}, **values}
            for name, values in self.stores.items()
        ]  # fmt: skip
        whole = {"first_day": FIRST_DAY, "stores": stores}
        self.world.feeds_file.write_text(yaml.safe_dump(whole), encoding="utf-8")

    def page(self, store: str, rows: Sequence[dict[str, str]], etag: str) -> None:
        """What the web serves as a store's feed."""
        path = self.world.feed(store, TODAY, rows)
        self.web.pages[f"/{store}.csv"] = (path.read_bytes(), etag)

    # Dagster

    def ask(self, query: str, **variables: Any) -> Any:
        return graphql(self.address, query, variables)

    def runs(self, **filter_: Any) -> list[Run]:
        found = self.ask(RUNS, filter=filter_)["runsOrError"]["results"]
        return [
            Run(each["runId"], each["status"], each["jobName"],
                {tag["key"]: tag["value"] for tag in each["tags"]})
            for each in found
        ]  # fmt: skip

    def wait(self, what: str, holds: Callable[[], Any], seconds: float = 240) -> Any:
        """What `holds` gives, as soon as it is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = holds()
            if found:
                return found
            time.sleep(1)
        log = self.log.read_text(encoding="utf-8", errors="replace")
        raise AssertionError(f"{what}: not within {seconds} s; runs: {self.runs()}; log: {log[-4000:]}")

    def ended(self, run_id: str, seconds: float = 240) -> Run:
        """The run, once it has ended."""

        def look() -> Run | None:
            (run,) = self.runs(runIds=[run_id])
            return run if run.status in ENDED else None

        found: Run = self.wait(f"end of run {run_id}", look, seconds)
        return found

    def launch(
        self,
        store: str,
        day: date,
        config: dict[str, Any] | None = None,
        *,
        assets: Sequence[str] = (),
        tags: dict[str, str] | None = None,
    ) -> str:
        """Start the line, or some of its assets, for a partition as a click does; the run's id."""
        told = (tags or {}) | {
            "dagster/partition": f"{day}|{store}",
            "dagster/partition/day": str(day),
            "dagster/partition/store": store,
        }
        params = {
            "selector": SELECTOR
            | {"pipelineName": "line"}
            | (
                {"assetSelection": [{"path": [name]} for name in assets], "assetCheckSelection": []}
                if assets
                else {}
            ),
            "mode": "default",
            "runConfigData": config or {},
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in told.items()]},
        }
        answer = self.ask(LAUNCH, params=params)["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def command(self, *words: str) -> str:
        """What `fashion-pipeline` prints."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("fashion-pipeline")), *words],
            env=self.environ | {"FASHION_PIPELINE_UI_URL": self.address},
            cwd=self.log.parent,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_schedule(self, name: str) -> None:
        answer = self.ask(START_SCHEDULE, selector=SELECTOR | {"scheduleName": name})["startSchedule"]
        assert answer["__typename"] == "ScheduleStateResult", answer

    def start_sensor(self, name: str) -> None:
        answer = self.ask(START_SENSOR, selector=SELECTOR | {"sensorName": name})["startSensor"]
        assert answer["__typename"] == "Sensor", answer

    def reload(self) -> None:
        answer = self.ask(RELOAD, name="fashion_pipeline")["reloadRepositoryLocation"]
        assert answer["__typename"] == "WorkspaceLocationEntry", answer

    def worker_of(self, run_id: str) -> int | None:
        """The process that works on a run: of a launcher's command line, or the code server's one spawned child."""
        spawned = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes()
                if run_id.encode() in words and b"execute_run" in words:
                    return int(folder.name)
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if b"spawn_main" in words and self._is_code_server(Path("/proc") / parent):
                    spawned.append(int(folder.name))
        return spawned[0] if len(spawned) == 1 else None

    def _is_code_server(self, folder: Path) -> bool:
        words = (folder / "cmdline").read_bytes()
        variables = (folder / "environ").read_bytes()
        return b"grpc" in words and f"DAGSTER_HOME={self.environ['DAGSTER_HOME']}\0".encode() in variables


@contextmanager
def database_pair(postgres_url: str, template: str) -> Iterator[tuple[str, str]]:
    """URLs of a copy of the database `template` and of an empty one for Dagster, dropped afterwards."""
    with fresh_database(postgres_url, template) as ours:
        name = f"dagster_{uuid.uuid4().hex[:12]}"
        _execute(postgres_url, f'CREATE DATABASE "{name}"')
        try:
            yield ours, _sibling(postgres_url, name).replace("+psycopg:", "+psycopg2:", 1)
        finally:
            _execute(postgres_url, f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def dagster_dev(
    world: SmallWorld,
    web: Web,
    dagster_pg_url: str,
    folder: Path,
    *,
    instance: bytes | None = None,
    **environment: str,
) -> Iterator[Daemon]:
    """Everything of Dagster, on the shipped dagster.yaml, over the definitions of `every_minute`."""
    shipped = (ROOT / "fashion_pipeline" / "dagster.yaml").read_bytes()
    home = folder / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_bytes(instance or shipped)
    workspace = folder / "workspace.yaml"
    workspace.write_text(
        "load_from:\n  - python_module:\n      module_name: fashion_pipeline_tests.every_minute\n"
        f"      working_directory: {ROOT}\n      location_name: fashion_pipeline\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "DAGSTER_HOME": str(home),
        "DAGSTER_PG_URL": dagster_pg_url,
        "FASHION_PIPELINE_ALLOWED_HOSTS": "127.0.0.1",
        "HF_HUB_OFFLINE": "1",
        **world.environ,
        **environment,
    }
    log = folder / "dagster.log"
    daemon = Daemon(world, web, f"http://127.0.0.1:{port}", environ, log)
    daemon.stores = {
        "dated": {"location": "{data}/feeds/dated-{date}.csv"},
        "second": {"location": "{data}/feeds/second-{date}.csv"},
        "live": {"location": f"{web.address}/live.csv"},
    }
    daemon.write_feeds()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("dagster")), "dev", "-w", str(workspace),
             "-h", "127.0.0.1", "-p", str(port)],
            cwd=folder,
            env=environ,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, log.read_text()[-4000:]
            with suppress(OSError), urllib.request.urlopen(f"{daemon.address}/server_info", timeout=5):
                break
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.5)
        yield daemon
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        _kill_session(process.pid)
        process.wait()


def _kill_session(session: int) -> None:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(state[3]) == session:
                os.kill(int(folder.name), signal.SIGKILL)
