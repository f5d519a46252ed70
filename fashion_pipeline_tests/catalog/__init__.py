"""Tests of `fashion_pipeline.catalog`."""
