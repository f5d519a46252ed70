"""Tests of fashion_pipeline."""
