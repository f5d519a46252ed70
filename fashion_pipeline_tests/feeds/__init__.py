"""Tests of `fashion_pipeline.feeds`."""
