"""Tests of what each command of `fashion-pipeline` does."""
