"""`feeds_changed`: a store's line runs again when its feed changed after it was captured today."""

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg

from fashion_pipeline.defs.day_runs import under_way
from fashion_pipeline.defs.jobs import AssetJob
from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline.defs.policies import CHANGED, PRIORITY
from fashion_pipeline.defs.resources import DatabaseResource, FeedsResource
from fashion_pipeline.line.changed import changed_feeds

#: Between two askings: a conditional request to each store, which costs it next to nothing.
INTERVAL_SECONDS = 900


def _now() -> datetime:
    return datetime.now(UTC)


def build(line: AssetJob, clock: Callable[[], datetime] = _now) -> list[dg.SensorDefinition]:
    """The sensor over the stores of feeds.yaml; it starts stopped."""

    @dg.sensor(
        name="feeds_changed",
        job=line,
        minimum_interval_seconds=INTERVAL_SECONDS,
        description="Asks every active store whose feed was captured today, all in one tick and by conditional "
        "requests, whether the feed or one of its supplements changed since; those that did run again. A run that "
        "failed before it captured the change is asked for again at the next hour. Starts stopped.",
    )
    def feeds_changed(
        context: dg.SensorEvaluationContext, database: DatabaseResource, feeds: FeedsResource
    ) -> dg.SensorResult:
        stores = feeds.open()
        now = clock()
        day = min(now.date(), stores.last_day) if stores.last_day else now.date()
        found = changed_feeds(
            database.open(),
            stores,
            day,
            policy=feeds.policy(),
            user_agent=feeds.user_agent(),
            first=context.cursor or None,
        )
        for probe in found.probes:
            if probe.detail:
                context.log.info("store %s: %s: %s", probe.store_id, probe.answer, probe.detail)
        # A run that waits in the queue will fetch what is there when it starts.
        waiting = under_way(context.instance, day) if found.changes else set()
        requests = [
            dg.RunRequest(
                # Dagster starts each key once. What was captured, also where the guards refused it, is no change
                # any more; where nothing was, the hour lets the run be tried again.
                run_key=f"{day}|{change.store_id}|{change.key}|{now:%H}",
                partition_key=LinePartition(change.store_id, day).key,
                run_config={"ops": {"raw_feeds": {"config": {"refetch": True}}}},
                tags={PRIORITY: CHANGED, "cause": "feed changed"},
            )
            for change in found.changes
            if change.store_id not in waiting
        ]
        skip = None if requests else dg.SkipReason(f"{day}: {found.counted()}")
        return dg.SensorResult(run_requests=requests, cursor=found.next_store or "", skip_reason=skip)

    return [feeds_changed]
