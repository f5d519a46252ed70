"""Tests of `fashion_pipeline.cleaning`."""
