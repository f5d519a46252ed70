"""Comparing points with PostgreSQL id by id, and mending what differs."""

from collections.abc import Iterator
from uuid import UUID

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.engine import Database
