"""Metadata as people read it: numbers, tables, and text of feeds that stays text."""

import base64
from datetime import date
from decimal import Decimal

import dagster as dg
import pyarrow as pa
import pytest

from fashion_pipeline.catalog.models import Product, describe_columns
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA
from fashion_pipeline.defs import metadata as md

EVIL = '<img src=x onerror="alert(1)"> | a\nb & "q" <script>'


def test_text_of_a_feed_is_harmless() -> None:
    shown = md.escape(EVIL)
    assert not set(shown) & set('<>"\n')
    assert "\\|" in shown
    assert "|" not in shown.replace("\\|", "")
    assert "&lt;img" in shown


def test_a_tally_is_a_table_with_the_greatest_first_and_escaped_names() -> None:
    lines = md.tally("reason", {"rare": 1, EVIL: 1200, "also": 5}).splitlines()
    assert len(lines) == 5
    assert lines[0] == "| reason | count |"
    assert lines[2].endswith("| 1,200 |")
    assert [line.rsplit("|", 2)[1].strip() for line in lines[2:]] == ["1,200", "5", "1"]
    assert "<" not in "".join(lines)
    # Every row has two cells, whatever stands in a name.
    assert {line.replace("\\|", "").count("|") for line in lines} == {3}


def test_an_empty_tally_says_so() -> None:
    assert md.tally("failure", {}) == "no failure"


def test_a_table_of_nothing_says_so() -> None:
    assert md.table([]) == dg.MetadataValue.text("none")
    assert md.table(iter([])) == dg.MetadataValue.text("none")


def test_a_table_keeps_numbers_and_makes_everything_else_text() -> None:
    value = md.table(
        [{"n": 1, "share": 0.5, "ok": True, "none": None, "day": date(2026, 11, 2), "p": Decimal("1.50")}]
    )
    assert isinstance(value, dg.TableMetadataValue)
    assert dict(value.records[0].data) == {
        "n": 1, "share": 0.5, "ok": True, "none": "", "day": "2026-11-02", "p": "1.50",
    }  # fmt: skip


def test_numbers_and_texts() -> None:
    assert md.counts(b=2, a=1) == {"b": dg.MetadataValue.int(2), "a": dg.MetadataValue.int(1)}
    assert list(md.counts(b=2, a=1)) == ["b", "a"]
    assert md.seconds(total=1.23456) == {"seconds_total": dg.MetadataValue.float(1.235)}
    assert md.texts(a="x", gone=None, day=date(2026, 11, 2)) == {
        "a": dg.MetadataValue.text("x"),
        "day": dg.MetadataValue.text("2026-11-02"),
    }


@pytest.mark.parametrize(("value", "size"), [(3, 3), ("4", 4), ([1, 2], 2), ((), 0), ({"a": 1}, 1)])
def test_the_size_of_a_number_or_of_what_is_counted(value: object, size: int) -> None:
    assert md.size(value) == size


def test_a_picture_is_in_the_event_and_its_words_are_escaped() -> None:
    assert md.picture(None, "x") == {}
    shown = md.picture((b"bytes", "image/webp"), "a](evil) <b>")["contact_sheet"].value
    assert f"data:image/webp;base64,{base64.b64encode(b'bytes').decode()}" in shown
    assert "<b>" not in shown


def test_columns_of_an_arrow_schema() -> None:
    schema = pa.schema(
        [
            pa.field("id", pa.string(), nullable=False, metadata={"description": "the id"}),
            pa.field("price", pa.decimal128(12, 3)),
        ]
    )
    first, second = md.arrow_columns(schema).columns
    assert (first.name, first.type, first.description, first.constraints.nullable) == (
        "id", "string", "the id", False,
    )  # fmt: skip
    assert (second.name, second.type, second.constraints.nullable) == ("price", "decimal128(12, 3)", True)


def test_columns_are_those_of_the_schemas_and_described() -> None:
    clean = md.arrow_columns(CLEAN_SCHEMA)
    assert [column.name for column in clean.columns] == CLEAN_SCHEMA.names
    table = md.model_columns(describe_columns(Product))
    assert [column.name for column in table.columns] == [column.name for column in Product.__table__.columns]
    assert [c.name for c in clean.columns if not c.description] == []
    assert [c.name for c in table.columns if not c.description] == []
