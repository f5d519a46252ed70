"""Tests of `fashion_pipeline.index`."""
