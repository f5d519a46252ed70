"""The project's own definitions, with schedules that a test can wait for."""

import dagster as dg

from fashion_pipeline.definitions import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """What the tests' `dagster dev` loads."""
    return build_definitions(crons={"line": "* * * * *", "health": "* * * * *"})
