"""Tests of `fashion_pipeline.line`."""
