"""The version of this pipeline, as installed."""

from importlib.metadata import version


def pipeline_version() -> str:
    """Version of the installed distribution."""
    return version("fashion-pipeline")
