"""Tests of `fashion_pipeline.images`."""
