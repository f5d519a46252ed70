"""Pools, retries, priorities: every number with its reason; and failures as Dagster knows them."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg

from fashion_pipeline.catalog.engine import connection_was_lost
from fashion_pipeline.errors import PermanentError, TransientError

#: One step at a time encodes: two models on one GPU or two cores only slow each other down.
GPU_POOL = "gpu"
#: One step at a time writes points: the embedded engine has one exclusive lock, a server's optimizer
#: works better behind one writer.
INDEX_POOL = "index"
#: Asking stores for feeds and pictures: politeness is kept per host within a run, so this only bounds the
#: sockets and the bandwidth of the machine.
FETCH_POOL = "fetch"
#: What `fashion-pipeline pools` sets. A pool without a limit of its own has dagster.yaml's default, 1.
POOL_LIMITS = {GPU_POOL: 1, INDEX_POOL: 1, FETCH_POOL: 4}

#: Of two queued runs the one with the higher number starts first. A feed that just changed is what people
#: look at; then the day's own runs; a backfill and the filling of a candidate's collection take what is left.
PRIORITY = "dagster/priority"
CHANGED, DUE, BACKFILL, CANDIDATE = "2", "1", "-1", "-5"
#: A run that takes longer is stuck. The line: the largest feed that was heard of, fetched and embedded on a
#: GPU. The reports: they read a database.
MAX_RUNTIME = "dagster/max_runtime"
LINE_SECONDS, REPORT_SECONDS = str(6 * 3600), str(3600)

#: A shop that is down comes back within minutes or not before the next hourly tick: three tries in
#: some four minutes, apart so that many stores on one host do not come back together.
NETWORK_RETRIES = dg.RetryPolicy(
    max_retries=2, delay=60, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
#: A database or vector store that restarts is back within a minute.
SERVER_RETRIES = dg.RetryPolicy(
    max_retries=2, delay=15, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)

#: Seconds between two lines of progress in a run's log.
PROGRESS_SECONDS = 5.0

#: The table of health is made each hour, so that one older than two says that the daemon or the database is
#: away. It is the only policy: a store's own lateness is a column and a check of that table.
HEALTH_FRESHNESS = dg.FreshnessPolicy.time_window(
    warn_window=timedelta(minutes=90), fail_window=timedelta(hours=2)
)

OWNERS = ["team:catalogue"]

#: Description of the failure of a step that a person or the machine stopped.
INTERRUPTED = "interrupted: what was committed stays, and the next run goes on from there"


@contextmanager
def one_line_failures() -> Iterator[None]:
    """Show errors as one line in the UI, their trace behind it; only what passes is tried again."""
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        # Dagster would try an interrupted step again by its retry policy.
        raise dg.Failure(description=INTERRUPTED, allow_retries=False) from error
    except PermanentError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except TransientError as error:
        raise dg.Failure(description=str(error)) from error
    except Exception as error:
        what = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
        # A database that went away comes back; a defect stays.
        raise dg.Failure(description=what, allow_retries=connection_was_lost(error)) from error


def progress_to(log: logging.Logger | dg.DagsterLogManager, what: str) -> Callable[[int, int | None], None]:
    """A progress callback (done, total) that logs a line with the rate so far every few seconds."""
    began = last = time.monotonic()

    def progress(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS:
            last = now
            far = f"{done:,} of {total:,}" if total else f"{done:,}"
            log.info("%s: %s, %s a second", what, far, f"{done / (now - began):,.0f}")

    return progress
