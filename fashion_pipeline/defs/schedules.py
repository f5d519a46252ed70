"""Schedules: stores when they are due, health after them, search quality once a day. All start stopped."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

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


def build(feeds: FeedsConfig, line: AssetJob, others: Sequence[AssetJob]) -> list[dg.ScheduleDefinition]:
    """The schedules over these stores and jobs."""

    @dg.schedule(
        name="due_stores",
        job=line,
        cron_schedule="0 * * * *",
        execution_timezone="UTC",
        description="Each hour: a run of the line for every active store whose time of day has come, once a day.",
    )
    def due_stores_schedule(
        context: dg.ScheduleEvaluationContext,
    ) -> Sequence[dg.RunRequest] | dg.SkipReason:
        requests = [
            dg.RunRequest(
                run_key=f"{partition.day}|{partition.store}",
                partition_key=partition.key,
                tags={"store": partition.store, PRIORITY: DUE},
            )
            for partition in due_stores(feeds, context.scheduled_execution_time)
        ]
        return requests or dg.SkipReason("no active store of feeds.yaml is due on this day")

    crons = {
        "health": ("45 * * * *", "Each hour, when most of the hour's runs have ended: the table of stores."),
        "quality": ("30 4 * * *", "Each night: recall of the search over a sample."),
        "housekeeping": ("15 3 * * *", "Each night: old reports and failed runs leave Dagster's database."),
    }
    return [
        due_stores_schedule,
        *(
            dg.ScheduleDefinition(
                name=f"{job.name}_schedule",
                job=job,
                cron_schedule=crons[job.name][0],
                description=crons[job.name][1],
            )
            for job in others
            if job.name in crons
        ),
    ]
