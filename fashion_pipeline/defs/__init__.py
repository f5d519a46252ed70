"""Dagster: the only package, with definitions.py, that imports it."""
