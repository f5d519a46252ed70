"""Log lines as text for people or as JSON for machines, by the setting; JSON carries store, day and run."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

TEXT = "%(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and what Dagster knows of the run."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        } | _run(getattr(record, "dagster_meta", None) or {})
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


def formatter(log_format: str) -> logging.Formatter:
    """The formatter of the setting `FASHION_PIPELINE_LOG_FORMAT`."""
    return JsonFormatter() if log_format == "json" else logging.Formatter(TEXT)


def _run(meta: dict[str, Any]) -> dict[str, Any]:
    tags = meta.get("job_tags") or {}
    told = {
        "message": meta.get("orig_message"),
        "run_id": meta.get("run_id"),
        "job": meta.get("job_name"),
        "step": meta.get("step_key"),
        "store": tags.get("dagster/partition/store"),
        "day": tags.get("dagster/partition/day"),
    }
    return {name: value for name, value in told.items() if value}
