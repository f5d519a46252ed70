"""The log of a run on its worker's standard error: Dagster's coloured text, or JSON by the setting."""

import logging
import sys
from typing import Any

import dagster as dg

from fashion_pipeline.logs import JsonFormatter
from fashion_pipeline.settings import Settings

#: Run config of a run in a process that prints something else: Dagster keeps the log, and the UI shows it.
QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def build(settings: Settings) -> dict[str, dg.LoggerDefinition]:
    """What stands in the place of Dagster's `console` logger; nothing where text is wanted."""
    if settings.log_format == "text":
        return {}

    @dg.logger({"log_level": dg.Field(str, is_required=False, default_value="INFO")})
    def console(init: dg.InitLoggerContext) -> logging.Logger:
        """A run's log on standard error, a JSON object per line."""
        level = init.logger_config["log_level"].upper()
        # Not one of the process's: each run has its own, and Dagster passes records to it by hand.
        logger = logging.Logger("dagster", level=level)  # noqa: LOG001
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        return logger

    return {"console": console}
