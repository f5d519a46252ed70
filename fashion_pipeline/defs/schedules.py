"""Schedules: stores when they are due, health after them, search quality once a day. All start stopped."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from fashion_pipeline.defs.day_runs import under_way_or_done
from fashion_pipeline.defs.jobs import AssetJob
from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline.defs.policies import DUE, PRIORITY
from fashion_pipeline.feeds.config import FeedsConfig, StoreConfig

#: Between two ticks of the schedule `due_stores`.
TICK = timedelta(hours=1)


def due_stores(feeds: FeedsConfig, moment: datetime) -> Iterable[LinePartition]:
    """The partitions of the day that are due at `moment`: active stores whose time of day has come.

    The day is the UTC day in which the store's own time falls. At the day's last tick every active store is
    due: a live feed can be captured on its own day only, and the next tick belongs to the next day.
    """
    day = moment.astimezone(UTC).date()
    if day < feeds.first_day or (feeds.last_day is not None and day > feeds.last_day):
        return
    last = (moment + TICK).astimezone(UTC).date() != day
    for store in feeds.stores:
        due = _due_moment(store, day)
        if store.status == "active" and (last or (due is not None and due <= moment)):
            yield LinePartition(store.id, day)


def _due_moment(store: StoreConfig, day: date) -> datetime | None:
    """When the store is due within the UTC day `day`; None on a day that its clock change skips."""
    zone = ZoneInfo(store.timezone)
    for shift in (-1, 0, 1):
        local = datetime.combine(day + timedelta(days=shift), store.due_at, zone)
        if local.astimezone(UTC).date() == day:
            return local.astimezone(UTC)
    return None


#: When each job's schedule ticks. The line: each hour, because stores are due by a time of day of their own.
#: Health: when most of the hour's runs have ended.
CRONS = {
    "line": "0 * * * *",
    "health": "45 * * * *",
    "reconcile": "15 4 * * *",
    "quality": "30 4 * * *",
    "housekeeping": "15 3 * * *",
}
DESCRIPTIONS = {
    "health": "Each hour: the table of stores.",
    "reconcile": "Each night: every point of the serving collection against PostgreSQL.",
    "quality": "Each night: recall of the search over a sample.",
    "housekeeping": "Each night: old reports and failed runs leave Dagster's database.",
}


def build(
    feeds: FeedsConfig, line: AssetJob, others: Sequence[AssetJob], crons: Mapping[str, str] = CRONS
) -> list[dg.ScheduleDefinition]:
    """The schedules over these stores and jobs."""

    @dg.schedule(
        name="due_stores",
        job=line,
        cron_schedule=crons["line"],
        execution_timezone="UTC",
        description="Each hour: a run of the line for every active store whose time of day has come and whose day is "
        "not done. A store whose last run failed is asked again at the next hour; one whose last run succeeded, or "
        "waits in the queue, is not.",
    )
    def due_stores_schedule(
        context: dg.ScheduleEvaluationContext,
    ) -> Sequence[dg.RunRequest] | dg.SkipReason:
        moment = context.scheduled_execution_time
        done = under_way_or_done(context.instance, moment.astimezone(UTC).date())
        requests = [
            dg.RunRequest(
                run_key=f"{partition.day}|{partition.store}",
                partition_key=partition.key,
                tags={"store": partition.store, PRIORITY: DUE},
            )
            for partition in due_stores(feeds, moment)
            if partition.store not in done
        ]
        return requests or dg.SkipReason(
            f"no active store of feeds.yaml is due that has not been brought up to date, {len(done)} have"
        )

    return [
        due_stores_schedule,
        *(
            dg.ScheduleDefinition(
                name=f"{job.name}_schedule",
                job=job,
                cron_schedule=crons[job.name],
                description=DESCRIPTIONS[job.name],
            )
            for job in others
            if job.name in crons
        ),
    ]
