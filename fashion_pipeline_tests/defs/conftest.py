"""A filled small world, copied for each test."""

from fashion_pipeline_tests.small_world_fixtures import filled_world, world, world_template

__all__ = ["filled_world", "world", "world_template"]
