"""A run's process keeps its connections to Dagster's database."""

from pathlib import Path

import dagster as dg
import psycopg

from fashion_pipeline.defs.executor import keep_connections

READS = 30


def sessions(url: str) -> int:
    """How many connections the database has been opened, this one included."""
    with psycopg.connect(url, autocommit=True) as connection:
        # What another backend counted is told once it has ended or a second has passed.
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute("SELECT sessions FROM pg_stat_database WHERE datname = current_database()")
        (count,) = row.fetchone() or (0,)
    return int(count)


def test_reads_share_a_connection(empty_database_url: str, tmp_path: Path) -> None:
    plain = empty_database_url.replace("postgresql+psycopg:", "postgresql:", 1)
    storage = {
        "storage": {"postgres": {"postgres_url": empty_database_url.replace("psycopg:", "psycopg2:", 1)}}
    }
    opened = {}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=storage) as instance:
        for kept in (False, True):
            if kept:
                keep_connections(instance)
            before = sessions(plain)
            for _ in range(READS):
                assert instance.get_runs() == []
            opened[kept] = sessions(plain) - before
    assert opened[False] >= READS
    assert opened[True] <= 3
