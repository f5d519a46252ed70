"""`fashion-pipeline dev` as a person starts it: it answers, runs the line when told to, and stops cleanly."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fashion_pipeline_tests.small_world import SECOND, SmallWorld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLI = Path(sys.executable).with_name("fashion-pipeline")
START_SECONDS, STOP_SECONDS, RUN_SECONDS = 180, 40, 240


def processes_of(group: int) -> list[str]:
    """Command lines of the live processes whose group or session is `group`, or that name it as parent."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()
            if state[0] != "Z" and group in {int(state[2]), int(state[3])}:
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


@contextmanager
def dev(
    world: SmallWorld, folder: Path, *, ignore_interrupt: bool = False
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The running command in a session of its own, and the address that it printed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONUNBUFFERED": "1"} | world.environ
    shell = "trap '' INT; " if ignore_interrupt else ""
    log = folder / "dev.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["sh", "-c", f'{shell}exec "$0" dev', str(CLI)],
            cwd=folder,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        address = None
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()[-4000:]
            said = re.search(r"Dagster UI: (http://127\.0\.0\.1:\d+)", log.read_text())
            if said:
                address = said.group(1)
                with suppress(OSError), urllib.request.urlopen(f"{address}/server_info", timeout=5) as answer:
                    if answer.status == 200:
                        break
            time.sleep(0.5)
        else:
            pytest.fail(f"no answer in {START_SECONDS} s: {log.read_text()[-4000:]}")
        assert address is not None
        yield process, address
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for folder_ in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ValueError):
                state = (folder_ / "stat").read_text().rpartition(")")[2].split()
                if int(state[3]) == process.pid:
                    os.kill(int(folder_.name), signal.SIGKILL)


def stop(process: subprocess.Popen[bytes], number: signal.Signals, log: Path) -> None:
    began = time.monotonic()
    process.send_signal(number)
    try:
        code = process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"still there {STOP_SECONDS} s after {number.name}: {log.read_text()[-3000:]}")
    assert time.monotonic() - began < STOP_SECONDS
    assert code == 0, log.read_text()[-3000:]
    # The session is ours: whatever it left would be in it.
    time.sleep(0.5)
    assert processes_of(process.pid) == []


def launch(address: str) -> str:
    """Start the line for one partition as a click in the UI does; the run's last status."""
    from dagster_graphql import DagsterGraphQLClient

    host, port = address.removeprefix("http://").split(":")
    client = DagsterGraphQLClient(host, port_number=int(port))
    run = client.submit_job_execution(
        "line",
        tags={
            "dagster/partition": f"{SECOND}|alpha",
            "dagster/partition/day": str(SECOND),
            "dagster/partition/store": "alpha",
        },
    )
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        status = client.get_run_status(run).value
        if status in {"SUCCESS", "FAILURE", "CANCELED"}:
            return str(status)
        time.sleep(1)
    return f"still {status}"


@pytest.fixture
def started(here: SmallWorld) -> SmallWorld:
    """The world with Dagster's database in its environment."""
    here.environ["DAGSTER_PG_URL"] = os.environ["DAGSTER_PG_URL"]
    return here


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_answers_runs_the_line_and_stops_on_ctrl_c(started: SmallWorld, tmp_path: Path) -> None:
    rows = started.rows("alpha")
    rows[0] |= {"price": "77.00 EUR"}
    started.feed("alpha", SECOND, rows)
    with dev(started, tmp_path) as (process, address):
        assert launch(address) == "SUCCESS", (tmp_path / "dev.log").read_text()[-4000:]
        assert float(started.products()["alpha-0"]["price"]) == 77.0
        stop(process, signal.SIGINT, tmp_path / "dev.log")
    # What the run wrote is whole, and this process can use it again.
    point = started.products()["alpha-0"]["id"]
    assert started.vectors().retrieve(started.collection(), [point])[point].payload["price"] == 77.0


@pytest.mark.parametrize(
    ("number", "ignore_interrupt"),
    [(signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGTERM, True)],
    ids=["term", "ctrl-c from a background job", "term from a background job"],
)
def test_it_stops_and_leaves_no_process(
    started: SmallWorld, tmp_path: Path, number: signal.Signals, ignore_interrupt: bool
) -> None:
    with dev(started, tmp_path, ignore_interrupt=ignore_interrupt) as (process, _):
        stop(process, number, tmp_path / "dev.log")
