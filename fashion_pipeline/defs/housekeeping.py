"""What keeps Dagster's own database small: pool limits, and the retention of runs.

Dagster purges old ticks by itself (dagster.yaml, `retention`), but never a run.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from fashion_pipeline.defs.policies import MAX_RUNTIME, POOL_LIMITS, REPORT_SECONDS, one_line_failures

#: Runs deleted by one run of the job at most: a long history goes over some days.
MOST = 5_000
#: Runs that hold no partition of the line: their last one says all that is asked of them.
REPORTS = ("health", "quality", "collection", "housekeeping")
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def set_pool_limits(instance: dg.DagsterInstance) -> dict[str, int]:
    """Give each pool its limit; running steps keep their slots."""
    for pool, limit in POOL_LIMITS.items():
        instance.event_log_storage.set_concurrency_slots(pool, limit)
    return dict(POOL_LIMITS)


def pool_limits(instance: dg.DagsterInstance) -> dict[str, int | None]:
    """The limit that each of our pools has of its own."""
    own = {
        each.name: each.limit
        for each in instance.event_log_storage.get_pool_limits()
        if not each.from_default
    }
    return {pool: own.get(pool) for pool in POOL_LIMITS}


class RetentionConfig(dg.Config):
    """For how long runs are kept."""

    keep_days: int = Field(default=30, ge=1, description="age in days from which a run is forgotten")


def old_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[str]:
    """Ids of the runs that ended before `before` and that no cell of the grid rests on.

    A run of the line that succeeded stays: deleting it would empty its partition in the grid. So does the
    last run of each report.
    """
    for job in REPORTS:
        kept = {record.dagster_run.run_id for record in instance.get_run_records(_of(job), limit=1)}
        for record in instance.get_run_records(_of(job, before), limit=MOST, ascending=True):
            if record.dagster_run.run_id not in kept:
                yield record.dagster_run.run_id
    failed = dg.RunsFilter(statuses=ENDED[1:], created_before=before)
    for record in instance.get_run_records(failed, limit=MOST, ascending=True):
        run = record.dagster_run
        if run.job_name not in REPORTS and not _holds_a_partition(instance, run.run_id):
            yield run.run_id


def _of(job: str, before: datetime | None = None) -> dg.RunsFilter:
    return dg.RunsFilter(job_name=job, statuses=ENDED, created_before=before)


def _holds_a_partition(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run that failed had materialized something before."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    return bool(instance.get_records_for_run(run_id, of_type=kind, limit=1).records)


@dg.op(description="Delete runs that are over the age and that no cell of the grid rests on.")
def forget_old_runs(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
    """See `old_runs`."""
    with one_line_failures():
        before = datetime.now(UTC) - timedelta(days=config.keep_days)
        forgotten = 0
        for run_id in old_runs(context.instance, before):
            if forgotten == MOST:
                break
            context.instance.delete_run(run_id)
            forgotten += 1
        context.log.info("%d runs from before %s were deleted", forgotten, before.date())


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
