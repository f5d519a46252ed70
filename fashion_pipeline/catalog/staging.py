"""Arrow into temporary tables by COPY: the bulk way into PostgreSQL.

Arrow's own CSV writer makes the bytes, so no row becomes a Python object on its way.
"""

import io
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from psycopg import sql
from sqlalchemy import Connection

#: Rows per COPY message: some megabytes, so that memory stays flat.
BATCH_ROWS = 16_384


def read_batches(path: Path, columns: list[str]) -> Iterable[pa.RecordBatch]:
    """Record batches of some columns of a Parquet file, one after the other."""
    with pq.ParquetFile(path) as parquet:
        yield from parquet.iter_batches(batch_size=BATCH_ROWS, columns=columns)


def copy_batches(
    connection: Connection, table: str, columns: list[str], batches: Iterable[pa.RecordBatch]
) -> int:
    """COPY `batches` into `columns` of `table` within the connection's transaction.

    Lists of text become PostgreSQL arrays; decimals and times go as text, exactly.

    Returns:
        Rows copied.
    """
    raw = connection.connection.driver_connection
    assert raw is not None
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    options = pacsv.WriteOptions(include_header=False)
    rows = 0
    with raw.cursor() as cursor, cursor.copy(statement) as copy:
        for batch in batches:
            plain = pa.RecordBatch.from_arrays(
                [_plain(batch.column(name)) for name in columns], names=columns
            )
            buffer = io.BytesIO()
            pacsv.write_csv(plain, buffer, options)
            copy.write(buffer.getbuffer())
            rows += batch.num_rows
    return rows


def _plain(array: pa.Array) -> pa.Array:
    if pa.types.is_list(array.type):
        return pa.array([_array_literal(value) for value in array.to_pylist()], pa.string())
    if pa.types.is_timestamp(array.type):
        return pc.strftime(array, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return array
    return array.cast(pa.string())


def _array_literal(value: list[str] | None) -> str | None:
    if value is None:
        return None
    escaped = (item.replace("\\", "\\\\").replace('"', '\\"') for item in value)
    return "{" + ",".join(f'"{item}"' for item in escaped) + "}"
