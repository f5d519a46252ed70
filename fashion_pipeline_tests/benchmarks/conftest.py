"""The small world of the line's tests serves the benchmarks too."""

from fashion_pipeline_tests.line.conftest import world

__all__ = ["world"]
