"""The composition root: settings and feeds.yaml in, one Dagster code location out."""

import warnings
from collections.abc import Mapping

import dagster as dg

from fashion_pipeline import parts
from fashion_pipeline.defs import alerts, housekeeping, index_jobs, jobs, loggers, schedules, sensors
from fashion_pipeline.defs.assets import catalog, feeds, index, pictures, reports
from fashion_pipeline.defs.checks import line as line_checks
from fashion_pipeline.defs.checks import reports as report_checks
from fashion_pipeline.defs.executor import one_process
from fashion_pipeline.defs.partitions import line_partitions
from fashion_pipeline.defs.resources import (
    DatabaseResource,
    EncoderResource,
    FeedsResource,
    StorageResource,
    VectorStoreResource,
)
from fashion_pipeline.settings import load_settings


def build_definitions(
    environ: Mapping[str, str] | None = None, *, crons: Mapping[str, str] | None = None
) -> dg.Definitions:
    """Assets, checks, jobs, schedules and resources for the stores of feeds.yaml.

    Args:
        environ: used in place of the process's environment, here and in every resource.
        crons: used in place of `schedules.CRONS`, by job.

    Raises:
        SettingsError: a setting is missing, or feeds.yaml is wrong.
    """
    settings = load_settings(environ)
    settings.check()
    stores = parts.open_feeds(settings, environ)
    partitions = line_partitions(stores)
    line = jobs.line_job(settings.line_tags)
    others = [*jobs.other_jobs(), housekeeping.housekeeping_job()]
    given = dict(environ or {})
    with warnings.catch_warnings():
        # Partitioned checks are in preview; what we rely on is held by tests, and the notice is no user's concern.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        checks = line_checks.build(partitions)
    return dg.Definitions(
        assets=[
            *feeds.build(partitions),
            *catalog.build(partitions),
            *pictures.build(partitions),
            *index.build(partitions),
            *reports.build(),
        ],
        asset_checks=[*checks, *report_checks.build(stores)],
        jobs=[line, *others, *index_jobs.build(stores)],
        schedules=schedules.build(stores, line, others, schedules.CRONS | dict(crons or {})),
        sensors=[*sensors.build(line), alerts.build(settings, given)],
        loggers=loggers.build(settings),
        resources={
            "database": DatabaseResource(environment=given),
            "storage": StorageResource(environment=given),
            "feeds": FeedsResource(environment=given),
            "vectors": VectorStoreResource(environment=given),
            "encoder": EncoderResource(environment=given),
        },
        executor=one_process,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev` and `dagster definitions validate` load."""
    return build_definitions()
