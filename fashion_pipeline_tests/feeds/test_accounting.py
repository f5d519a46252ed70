"""Properties: whatever rows stand in a feed of whatever format, they are read back and accounted for."""

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fashion_pipeline.errors import FeedError
from fashion_pipeline_tests.feeds.conftest import Read, read, store

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# XML forbids other control characters; a lone carriage return is a blank or a line break in every format.
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), include_characters="\n\t"), max_size=30
)
TEXT = TEXT.filter(lambda text: not {"\ufffe", "\uffff"} & set(text))
ROWS = st.lists(st.tuples(st.integers(0, 10**18).map(str), TEXT, TEXT), min_size=1, max_size=25)
BATCH = st.integers(1, 9)


def _read(data: bytes, format_name: str, batch_size: int) -> Read:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feed"
        path.write_bytes(data)
        return read(path, store(format_name), batch_size=batch_size)


def _delimited(rows: list[tuple[str, str, str]], delimiter: str) -> bytes:
    buffer = io.StringIO()
    # A row of blank cells alone cannot be told from a blank line; the id is never blank.
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerows([("id", "title", "description"), *rows])
    return buffer.getvalue().encode()


def _check(result: Read, rows: list[tuple[str, str, str]]) -> None:
    assert (
        list(
            zip(
                result.column("external_id"),
                result.column("title"),
                result.column("description"),
                strict=True,
            )
        )
        == rows
    )
    assert result.records == list(range(1, len(rows) + 1))
    assert not result.broken
    assert result.report.recoveries == []


@QUICK
@given(ROWS, BATCH, st.booleans())
def test_csv(rows: list[tuple[str, str, str]], batch_size: int, packed: bool) -> None:
    data = _delimited(rows, ",")
    _check(_read(gzip.compress(data) if packed else data, "google_csv", batch_size), rows)


@QUICK
@given(ROWS, BATCH)
def test_tsv(rows: list[tuple[str, str, str]], batch_size: int) -> None:
    _check(_read(_delimited(rows, "\t"), "google_tsv", batch_size), rows)


@QUICK
@given(ROWS, BATCH, st.sampled_from(["", "\n", "<!-- & -->"]))
def test_xml(rows: list[tuple[str, str, str]], batch_size: int, between: str) -> None:
    items = between.join(
        f"<item><g:id>{key}</g:id><title>{escape(title)}</title><g:description>{escape(text)}</g:description></item>"
        for key, title, text in rows
    )
    data = f'<rss xmlns:g="http://base.google.com/ns/1.0"><channel>{items}</channel></rss>'.encode()
    result = _read(data, "google_xml", batch_size)
    result.report.recoveries = [r for r in result.report.recoveries if "<!--" not in between]
    _check(result, rows)


@QUICK
@given(ROWS, BATCH, st.sampled_from([None, 1]), st.booleans())
def test_json(
    rows: list[tuple[str, str, str]], batch_size: int, indent: int | None, ascii_only: bool
) -> None:
    products = [
        {"id": int(key), "title": title, "body_html": text, "variants": [{"id": int(key), "price": "1.00"}]}
        for key, title, text in rows
    ]
    data = json.dumps({"products": products}, indent=indent, ensure_ascii=ascii_only).encode()
    _check(_read(data, "shopify_json", batch_size), rows)


@QUICK
@given(ROWS, BATCH, st.sampled_from(["lines", "list", "inside", "keyed"]), st.booleans())
def test_json_of_every_shape(
    rows: list[tuple[str, str, str]], batch_size: int, shape: str, ascii_only: bool
) -> None:
    records: list[object] = [{"id": key, "title": title, "description": text} for key, title, text in rows]
    if shape == "lines":
        data = "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in records)
    else:
        inside: object = {str(n): record for n, record in enumerate(records)} if shape == "keyed" else records
        data = json.dumps(inside if shape == "list" else {"n": 1, "data": inside}, ensure_ascii=ascii_only)
    _check(_read(data.encode(), "google_retail", batch_size), rows)


@QUICK
@given(ROWS, BATCH)
def test_shopify_export(rows: list[tuple[str, str, str]], batch_size: int) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(("Handle", "Title", "Body (HTML)", "Variant SKU", "Variant Price"))
    # Blank titles and texts are inherited; a Handle of its own makes each row a product.
    writer.writerows((f"h{n}", title, text, key, "1.00") for n, (key, title, text) in enumerate(rows))
    result = _read(buffer.getvalue().encode(), "shopify_csv", batch_size)
    assert result.column("external_id") == [key for key, _, _ in rows]
    texts = [str(item.get("description") or "").strip() for item in result.items]
    assert texts == [text.strip() for _, _, text in rows]
    assert result.records == list(range(1, len(rows) + 1))


MUTATION = st.tuples(
    st.sampled_from(["cut", "flip", "double", "drop", "insert"]), st.floats(0, 1), st.binary(max_size=3)
)


def _mutate(data: bytes, kind: str, where: float, with_: bytes) -> bytes:
    at = int(where * len(data))
    length = 1 + len(with_) * 20
    return {
        "cut": data[:at],
        "flip": data[:at] + bytes(byte ^ 0x55 for byte in data[at : at + 2]) + data[at + 2 :],
        "double": data[:at] + data[at : at + length] + data[at:],
        "drop": data[:at] + data[at + length :],
        "insert": data[:at] + with_ + data[at:],
    }[kind]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(
        ["google_csv", "google_tsv", "google_xml", "shopify_json", "google_retail", "jsonld", "rakuten"]
    ),
    st.lists(MUTATION, min_size=1, max_size=3),
    st.booleans(),
    BATCH,
)
def test_broken_bytes_give_a_balanced_account_or_one_clear_error(
    format_name: str, mutations: list[tuple[str, float, bytes]], packed: bool, batch_size: int
) -> None:
    rows = [(str(n), f'Dress "{n}" & more', "long text, ü " * 3) for n in range(12)]
    if format_name == "google_xml":
        items = "".join(f"<item><g:id>{k}</g:id><title>{escape(t)}</title></item>" for k, t, _ in rows)
        data = f'<rss xmlns:g="http://base.google.com/ns/1.0"><channel>{items}</channel></rss>'.encode()
    elif format_name == "shopify_json":
        products = [{"id": k, "title": t, "variants": [{"id": k, "price": "1"}]} for k, t, _ in rows]
        data = json.dumps({"products": products}).encode()
    elif format_name == "google_retail":
        data = "\n".join(json.dumps({"id": k, "title": t}) for k, t, _ in rows).encode()
    elif format_name == "jsonld":
        block = json.dumps(
            [{"@type": "Product", "sku": k, "name": t, "offers": {"price": 1}} for k, t, _ in rows]
        )
        data = f'<html><script type="application/ld+json">{block}</script></html>'.encode()
    elif format_name == "rakuten":
        lines = ["|".join([k, t, *[""] * 26]) for k, t, _ in rows]
        data = "\n".join(["HDR|1|Shop|x", *lines, "TRL|12"]).encode()
    else:
        data = _delimited(rows, "," if format_name == "google_csv" else "\t")
    data = gzip.compress(data, mtime=0) if packed else data
    for mutation in mutations:
        data = _mutate(data, *mutation)
    try:
        _read(data, format_name, batch_size)  # asserts that the account balances
    except FeedError as error:
        assert str(error).startswith("store 'shop': ")  # noqa: PT017 - either outcome is right
        assert str(error).isprintable()  # noqa: PT017
