"""The line's runs of a day by store, as Dagster keeps them: what is asked before more runs are asked for.

Some assets alone, as a person or a backfill asks for them, are not the day and do not count here.
"""

from datetime import date

import dagster as dg

from fashion_pipeline.defs.jobs import LINE_ASSETS
from fashion_pipeline.defs.partitions import DAY, STORE

FAILED = frozenset({dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED})
ENDED = FAILED | {dg.DagsterRunStatus.SUCCESS}


def under_way_or_done(instance: dg.DagsterInstance, day: date) -> set[str]:
    """The stores whose last run of the line for `day` succeeded, or is queued or running.

    A run key does not tell: Dagster compares it within one tick of a schedule only.
    """
    return {store for store, status in _last(instance, day).items() if status not in FAILED}


def under_way(instance: dg.DagsterInstance, day: date) -> set[str]:
    """The stores whose last run of the line for `day` is queued or running."""
    return {store for store, status in _last(instance, day).items() if status not in ENDED}


def _last(instance: dg.DagsterInstance, day: date) -> dict[str, dg.DagsterRunStatus]:
    line = {dg.AssetKey(name) for name in LINE_ASSETS}
    last: dict[str, dg.DagsterRunStatus] = {}
    # The newest comes first.
    for run in instance.get_runs(dg.RunsFilter(tags={f"dagster/partition/{DAY}": day.isoformat()})):
        if not run.asset_selection or line <= run.asset_selection:
            last.setdefault(run.tags[f"dagster/partition/{STORE}"], run.status)
    return last
