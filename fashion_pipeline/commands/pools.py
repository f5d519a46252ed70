"""`fashion-pipeline pools`: how many steps at once encode, write points, and fetch."""

import dagster as dg

from fashion_pipeline.defs.housekeeping import set_pool_limits
from fashion_pipeline.home import enter_home
from fashion_pipeline.settings import Settings


def run_pools(settings: Settings) -> int:
    """Give Dagster's pools the limits that the code asks for."""
    enter_home(settings)
    with dg.DagsterInstance.get() as instance:
        limits = set_pool_limits(instance)
    print("; ".join(f"pool {pool}: {limit} at a time" for pool, limit in limits.items()))
    return 0
