"""Runs of Dagster in processes of their own, forked from one that has imported everything: 2 s each instead of 10.

`python -m fashion_pipeline_tests.crash.runner` reads orders, one line of JSON each, starts a process for each and
prints its id. The process leads a process group of its own and does what `fashion-pipeline demo` does for one
partition: the settings come from its environment, PostgreSQL is started where it does not run, the Dagster instance is
that of the shipped dagster.yaml, and the job is the real one. It tells the crasher over the Unix socket that the order
names what came of it.
"""

import atexit
import faulthandler
import json
import logging
import os
import signal
import socket
import sys
import traceback
import uuid
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import open_clip  # noqa: F401 - what the model needs, imported before forking
import torch  # noqa: F401
from sqlalchemy import text

from fashion_pipeline.catalog.image_care import retry_failed
from fashion_pipeline.catalog.migrate import migrate
from fashion_pipeline.definitions import build_definitions
from fashion_pipeline.defs.executor import keep_connections
from fashion_pipeline.defs.housekeeping import set_pool_limits
from fashion_pipeline.defs.loggers import QUIET
from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline.embeddings import encoder, pipeline  # noqa: F401
from fashion_pipeline.home import enter_home, project_root
from fashion_pipeline.parts import open_database
from fashion_pipeline.settings import load_settings
from fashion_pipeline_tests.crash.watch import Moment, Watch

#: A run whose worker was killed stays in one of these.
#: Has a run write what each of its threads does into its log.
STACKS = signal.SIGUSR1
UNFINISHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]


@dataclass(frozen=True)
class Order:
    """What a process is to do: run `job`, or `prepare` a data folder, or ask again for failed pictures (`retry`).

    Where it is `alone`, runs that are unfinished were lost.
    """

    task: str
    environ: dict[str, str]
    link: str
    log: str
    job: str = "line"
    store: str = ""
    day: str = ""
    config: dict[str, Any] | None = None
    moment: dict[str, Any] | None = None
    late_write: int | None = None
    alone: bool = True

    @property
    def partition(self) -> str | None:
        """The key of the partition: of a store and a day, or of a store."""
        if self.day:
            return LinePartition(self.store, date.fromisoformat(self.day)).key
        return self.store or None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def free_slots(instance: dg.DagsterInstance) -> None:
    """What Dagster's run monitoring does a minute after a worker was lost: its run failed, its slots are free."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        instance.report_run_failed(record.dagster_run)
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def work(order: Order, watch: Watch) -> dict[str, Any]:
    """Do what is ordered; what is to be told of it."""
    settings = load_settings()
    watch.begin()
    enter_home(settings)
    if order.task == "retry":
        database = open_database(settings)
        with database.connection() as connection:
            passing = list(
                connection.scalars(
                    text("SELECT DISTINCT error FROM images WHERE status = 'failed_transient'")
                )
            )
        # Without classes those that failed for good would be asked, too, which the twin does not.
        found = retry_failed(database, order.store, errors=passing)
        return {"retried": found.total()}
    with dg.DagsterInstance.get() as instance:
        if order.task == "prepare":
            migrate(open_database(settings), project_root() / "alembic.ini")
            set_pool_limits(instance)
        keep_connections(instance)
        if order.alone:
            free_slots(instance)
        run_id = str(uuid.uuid4())
        watch.follow(instance, run_id)
        result = (
            build_definitions()
            .resolve_job_def(order.job)
            .execute_in_process(
                instance=instance,
                run_id=run_id,
                partition_key=order.partition,
                run_config=QUIET | {"ops": order.config or {}},
                raise_on_error=False,
            )
        )
    failures = {}
    for step in result.all_events:
        if step.is_step_failure:
            data = step.step_failure_data
            told = data.user_failure_data.description if data.user_failure_data else None
            failures[str(step.step_key)] = str(told or data.error)
    return {"success": result.success, "failures": failures}


def run(order: Order) -> int:
    """The life of a forked process."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # What a run that is given up was doing is told in its log.
    faulthandler.register(STACKS, all_threads=True)
    os.environ.clear()
    os.environ.update(order.environ)
    link = socket.socket(socket.AF_UNIX)
    link.connect(order.link)
    moment = Moment(**order.moment) if order.moment else None
    watch = Watch(link, order.environ["FASHION_PIPELINE_DATA"], moment, order.late_write)
    try:
        told = work(order, watch)
        code = 0
    except BaseException as error:
        traceback.print_exc()
        told = {"success": False, "failures": {"process": f"{type(error).__name__}: {error}"}}
        code = 1
    logging.shutdown()
    atexit._run_exitfuncs()
    watch.tell(told | {"counts": dict(watch.counts), "vector_writes": watch.vector_writes})
    sys.stdout.flush()
    return code


def main() -> None:
    """Fork a process for each order, until there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        order = Order(**json.loads(line))
        process = os.fork()
        if process == 0:
            Path(order.log).parent.mkdir(parents=True, exist_ok=True)
            os._exit(run(order))
        print(process, flush=True)


if __name__ == "__main__":
    main()
