"""What applying copies is what cleaning writes and what the table has."""

from fashion_pipeline.catalog.apply import CONTENT_COLUMNS
from fashion_pipeline.catalog.models import Product
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA


def test_every_applied_column_is_in_the_clean_file_and_in_the_table() -> None:
    assert set(CONTENT_COLUMNS) <= set(CLEAN_SCHEMA.names)
    assert set(CONTENT_COLUMNS) <= set(Product.__table__.columns.keys())
    # Without these nothing would tell that a row or its picture changed.
    assert {"content_hash", "image_key"} <= set(CONTENT_COLUMNS)


def test_every_clean_column_is_applied_but_where_it_stood() -> None:
    assert set(CLEAN_SCHEMA.names) - set(CONTENT_COLUMNS) == {"warnings", "record", "place"}
