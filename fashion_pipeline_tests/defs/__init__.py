"""Tests of `fashion_pipeline.defs`."""
