"""Readers: one module for each kind of file, bytes to records in columns."""
