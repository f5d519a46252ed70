"""Tests of `fashion_pipeline.embeddings`."""
