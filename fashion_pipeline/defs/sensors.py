"""`feeds_changed`: a store's line runs again when its feed changed after it was captured today."""

import hashlib
from datetime import UTC, datetime

import dagster as dg

from fashion_pipeline.defs.jobs import AssetJob
from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline.defs.policies import CHANGED, PRIORITY
from fashion_pipeline.defs.resources import DatabaseResource, FeedsResource
from fashion_pipeline.line.changed import changed_feeds

#: Between two askings: a conditional request to each store, which costs it next to nothing.
INTERVAL_SECONDS = 900


def build(line: AssetJob) -> list[dg.SensorDefinition]:
    """The sensor over the stores of feeds.yaml; it starts stopped."""

    @dg.sensor(
        name="feeds_changed",
        job=line,
        minimum_interval_seconds=INTERVAL_SECONDS,
        description="Asks every active store whose feed was captured today, all in one tick and by conditional "
        "requests, whether it changed since; those that did run again. Starts stopped.",
    )
    def feeds_changed(
        context: dg.SensorEvaluationContext, database: DatabaseResource, feeds: FeedsResource
    ) -> dg.SensorResult:
        stores = feeds.open()
        today = datetime.now(UTC).date()
        day = min(today, stores.last_day) if stores.last_day else today
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
        requests = [
            dg.RunRequest(
                # One run per content: a feed that is refused is not asked for again every quarter of an hour.
                run_key=f"{day}|{probe.store_id}|{hashlib.sha256(probe.version.encode()).hexdigest()[:16]}",
                partition_key=LinePartition(probe.store_id, day).key,
                run_config={"ops": {"raw_feeds": {"config": {"refetch": True}}}},
                tags={PRIORITY: CHANGED, "cause": "feed changed"},
            )
            for probe in found.changed
        ]
        skip = None if requests else dg.SkipReason(f"{day}: {found.counted()}")
        return dg.SensorResult(run_requests=requests, cursor=found.next_store or "", skip_reason=skip)

    return [feeds_changed]
