"""What keeps Dagster's own database small: pool limits, and the retention of runs.

Dagster purges old ticks by itself (dagster.yaml, `retention`), but never a run.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import dagster as dg
from pydantic import Field

from fashion_pipeline.defs.policies import MAX_RUNTIME, POOL_LIMITS, REPORT_SECONDS, one_line_failures

#: Runs deleted by one run of the job at most: a long history goes over some days.
MOST = 5_000
#: Of a run of a partitioned job.
PARTITION = "dagster/partition"
#: Run records read by one query.
PAGE = 1_000
#: Jobs whose runs hold no partition of the line: the last run, of each store where the job is by store, says all
#: that is asked of them. What was promoted stands in `alias_moves`.
REPORTS = (
    "health",
    "quality",
    "collection",
    "reconcile",
    "housekeeping",
    "fill_candidate",
    "promote",
    "rollback",
)
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def set_pool_limits(instance: dg.DagsterInstance) -> dict[str, int]:
    """Give each pool its limit; running steps keep their slots."""
    for pool, limit in POOL_LIMITS.items():
        instance.event_log_storage.set_concurrency_slots(pool, limit)
    return dict(POOL_LIMITS)


class RetentionConfig(dg.Config):
    """For how long runs are kept."""

    keep_days: int = Field(default=30, ge=1, description="age in days from which a run is forgotten")


def old_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[str]:
    """Ids of the runs that ended before `before` and that no cell of the grid rests on, oldest first by job.

    A run of the line that succeeded stays: deleting it would empty its partition in the grid. So does the
    last run of each report. None may be deleted before the last id was taken.
    """
    for job in REPORTS:
        every = _runs(instance, dg.RunsFilter(job_name=job, statuses=ENDED))
        last = {run.tags.get(PARTITION): run.run_id for run in every}
        kept = set(last.values())
        old = _runs(instance, _before(before, ENDED, job))
        yield from (run.run_id for run in old if run.run_id not in kept)
    for run in _runs(instance, _before(before, ENDED[1:])):
        if run.job_name not in REPORTS and not _holds_a_partition(instance, run.run_id):
            yield run.run_id


def _before(before: datetime, statuses: list[dg.DagsterRunStatus], job: str | None = None) -> dg.RunsFilter:
    return dg.RunsFilter(job_name=job, statuses=statuses, created_before=before)


def _runs(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> Iterator[dg.DagsterRun]:
    """Oldest first, a page at a time: those that stay must not hide those behind them."""
    cursor = None
    while True:
        page = instance.get_run_records(wanted, limit=PAGE, cursor=cursor, ascending=True)
        yield from (record.dagster_run for record in page)
        if len(page) < PAGE:
            return
        cursor = page[-1].dagster_run.run_id


def _holds_a_partition(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run that failed had materialized something before."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    return bool(instance.get_records_for_run(run_id, of_type=kind, limit=1).records)


@dg.op(description="Delete runs that are over the age and that no cell of the grid rests on.")
def forget_old_runs(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
    """See `old_runs`."""
    with one_line_failures():
        before = datetime.now(UTC) - timedelta(days=config.keep_days)
        forgotten = list(islice(old_runs(context.instance, before), MOST))
        for run_id in forgotten:
            context.instance.delete_run(run_id)
        context.log.info("%d runs from before %s were deleted", len(forgotten), before.date())


def housekeeping_job() -> dg.JobDefinition:
    """The job; its schedule runs it each night."""

    @dg.job(
        name="housekeeping",
        tags={MAX_RUNTIME: REPORT_SECONDS},
        description="Deletes reports and failed runs older than 30 days from Dagster's database. Runs of the line that "
        "succeeded stay, for the grid rests on them.",
    )
    def housekeeping() -> None:
        forget_old_runs()

    return housekeeping
