"""Tests of `fashion_pipeline.demo`."""
