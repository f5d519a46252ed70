"""Feeds that were made to hurt: refused, or read, in bounded memory and time; each in a limited process."""

import gzip
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_pipeline_tests.hostile_worker import CPU_SECONDS

ROOT = Path(__file__).resolve().parents[1]
Outcome: TypeAlias = dict[str, Any]

MILLION = 1_000_000
OWN = {
    "format": "delimited",
    "mapping": {"fields": {"external_id": "id", "title": "title", "price": "price"}},
}
TABLE = OWN | {"format": "parquet"}
XML, CSV, SHOPIFY = {"format": "google_xml"}, {"format": "google_csv"}, {"format": "shopify_json"}
SECRET = "nobody-may-read-this"  # not-a-secret


def rss(inside: str, doctype: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?>{doctype}<rss xmlns:g="http://base.google.com/ns/1.0"><channel>{inside}</channel></rss>'
    ).encode()


def xml_item(title: str = "Dress", more: str = "") -> str:
    return f"<item><g:id>1</g:id><title>{title}</title><g:price>10 EUR</g:price>{more}</item>"


def shopify(product: str) -> bytes:
    return b'{"products": [' + product.encode() + b"]}"


def csv_row(title: str, price: str = "10 EUR", **more: str) -> bytes:
    cells = {"id": "1", "title": title, "price": price, **more}
    head, row = ",".join(cells), ",".join('"' + cell.replace('"', '""') + '"' for cell in cells.values())
    return f"{head}\n{row}\n".encode()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def zeros(mebibytes: int) -> bytes:
    """A CSV that shrinks as nothing else does."""
    return b"id,title,price\n" + b"0,000000000000,0\n" * (mebibytes * 61_680)


def gzip_bomb(gibibytes: int) -> bytes:
    """Many members, each of 64 MiB."""
    return gzip.compress(zeros(64), 9, mtime=0) * (16 * gibibytes)


def laughs(levels: int) -> str:
    entities = "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' if n else '<!ENTITY a0 "ha">' for n in range(levels)
    )
    return f"<!DOCTYPE rss [{entities}]>"


def many_columns() -> bytes:
    names = ",".join(f"c{n}" for n in range(100_000))
    return f"id,title,price,{names}\n1,Dress,10 EUR,{',' * 99_999}\n".encode()


def wide_parquet() -> bytes:
    buffer = io.BytesIO()
    names = ["id", "title", "price", *(f"c{n}" for n in range(20_000))]
    pq.write_table(pa.table({name: ["1"] for name in names}), buffer)
    return buffer.getvalue()


def long_parquet() -> bytes:
    """A value of 10 million characters, which a dictionary makes small."""
    buffer = io.BytesIO()
    table = pa.table({"id": ["1", "2"], "title": ["x" * 10 * MILLION] * 2, "price": ["1 EUR"] * 2})
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


#: Name, settings of the store, the bytes, what may become of them ("refused", "read", or both).
CASES: tuple[tuple[str, dict[str, Any], Callable[[], bytes], str], ...] = (
    ("a billion laughs", XML, lambda: rss(xml_item("&a9;"), laughs(10)), "refused"),
    ("a quadratic entity", XML,
     lambda: rss(xml_item("&b;" * 50_000), f'<!DOCTYPE rss [<!ENTITY b "{"x" * 50_000}">]>'), "refused"),
    ("an external entity", XML,
     lambda: rss(xml_item("&e;"), '<!DOCTYPE rss [<!ENTITY e SYSTEM "file://SECRET">]>'), "refused"),
    ("an external DTD", XML, lambda: rss(xml_item(), '<!DOCTYPE rss SYSTEM "file://SECRET">'), "refused|read"),
    ("a parameter entity", XML,
     lambda: rss(xml_item("&x;"), '<!DOCTYPE rss [<!ENTITY % p SYSTEM "file://SECRET"> %p;]>'), "refused"),
    ("an inclusion", XML, lambda: rss(xml_item(
        more='<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file://SECRET" parse="text"/>')), "read"),
    ("deep XML", XML, lambda: rss("<item>" + "<a>" * MILLION), "refused"),
    ("deep XML, closed", XML, lambda: rss(xml_item(more="<a>" * 200_000 + "</a>" * 200_000)), "refused|read"),
    ("many attributes", XML,
     lambda: rss("<item " + " ".join(f'a{n}="{n}"' for n in range(300_000)) + "></item>"), "refused"),
    ("many children", XML, lambda: rss(xml_item(more="".join(f"<c{n}/>" for n in range(100_000)))), "refused|read"),
    ("a long XML field", XML, lambda: rss(xml_item("x" * 10 * MILLION)), "refused|read"),
    ("XML that never ends a tag", XML, lambda: rss("<item><title " + "x" * 20 * MILLION), "refused"),
    ("a CDATA that never ends", XML, lambda: rss("<item><![CDATA[" + "x" * 20 * MILLION), "refused"),
    ("a gzip bomb", CSV, lambda: gzip_bomb(4), "refused"),
    ("a gzip bomb in gzip", CSV, lambda: gzip.compress(gzip_bomb(4), mtime=0), "refused"),
    ("a zip bomb", CSV, lambda: zip_of({f"{n}.csv": zeros(64) for n in range(3)}), "refused"),
    ("zip in zip in zip", CSV,
     lambda: zip_of({"a.zip": zip_of({"b.zip": zip_of({"c.zip": zip_of({"d.zip": zip_of({"e.csv": b"id"})})})})}),
     "refused"),
    ("a zip of 20,000 members", CSV, lambda: zip_of({f"{n}.csv": b"id,title\n" for n in range(20_000)}), "refused"),
    ("a long CSV field", OWN, lambda: csv_row("x" * 10 * MILLION), "refused|read"),
    ("a CSV without line ends", OWN, lambda: b"id,title,price\n" + b"1,x,y " * 10 * MILLION, "refused"),
    ("a quote that opens", OWN, lambda: b'id,title,price\n1,"' + b"x,y\n" * (MILLION // 5), "refused|read"),
    ("100,000 columns", OWN, many_columns, "refused"),
    ("nothing but quotes", OWN, lambda: b"id,title,price\n" + b'"' * 10 * MILLION, "refused|read"),
    ("a long JSON field", SHOPIFY, lambda: shopify(
        '{"id": 1, "title": "' + "x" * 10 * MILLION + '", "variants": [{"id": 1, "price": "1"}]}'), "refused|read"),
    ("deep JSON", SHOPIFY, lambda: shopify("[" * MILLION), "refused"),
    ("deep JSON, closed", SHOPIFY, lambda: shopify(
        '{"id": 1, "title": "x", "variants": ' + "[" * 100_000 + "]" * 100_000 + "}"), "refused|read"),
    ("100,000 JSON keys", SHOPIFY, lambda: shopify(
        '{"id": 1, "title": "x", "variants": [{"id": 1, "price": "1", '
        + ", ".join(f'"k{n}": 1' for n in range(100_000)) + "}]}"), "refused|read"),
    ("a number of a million digits", SHOPIFY, lambda: shopify(
        '{"id": 1, "title": "x", "variants": [{"id": 1, "price": ' + "9" * MILLION + "}]}"), "refused|read"),
    ("100,000 variants", SHOPIFY, lambda: shopify('{"id": 1, "title": "x", "variants": ['
        + ", ".join(f'{{"id": {n}, "price": "1"}}' for n in range(100_000)) + "]}"), "refused|read"),
    ("20,000 Parquet columns", TABLE, wide_parquet, "refused|read"),
    ("a long Parquet field", TABLE, long_parquet, "refused|read"),
    *((f"text: {name}", OWN, lambda text=text: csv_row((text * MILLION)[:MILLION]), "refused|read")
      for name, text in {
          "open tags": "<a ", "open comments": "<!--", "open scripts": "<script", "references": "&amp;amp;",
          "broken references": "&#x", "quotes in tags": "<a b='", "mojibake": "Ã¢â‚¬", "joiners": "\u200d",
          "combining": "a\u0301", "brackets": "]]>", "edges": "</b><b>",
      }.items()),
    *((f"value: {column} of {text[:9]}", CSV,
       lambda text=text, column=column: csv_row("Dress", **{column: (text * 400_000)[:400_000]}), "refused|read")
      for column, text in (
          ("price", "1."), ("price", "1 "), ("price", "from "), ("size", "1/"), ("color", "red/"),
          ("product_type", "a > "), ("gtin", "0"), ("availability", "9"), ("sale_price_effective_date", "2026-"),
          ("additional_image_link", "https://a.example/1,"), ("additional_image_link", "[["),
          ("image_link", "http://a.example/http:/"), ("link", "http://" + "a." * 500),
      )),
)  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Every case read in its own limited process."""
    folder = tmp_path_factory.mktemp("hostile")
    secret = folder / "secret"
    secret.write_text(SECRET)
    for number, (_, settings, make, _) in enumerate(CASES):
        data = make().replace(b"file://SECRET", f"file://{secret}".encode())
        (folder / f"{number:03}.feed").write_bytes(data)
        (folder / f"{number:03}.json").write_text(json.dumps(settings))
    worker = [sys.executable, "-m", "fashion_pipeline_tests.hostile_worker", str(folder)]
    done = subprocess.run(worker, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    for path in folder.glob("*.clean"):
        assert SECRET.encode() not in path.read_bytes()
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {CASES[int(line["name"])][0]: line for line in lines}


@pytest.mark.parametrize(
    ("name", "allowed"), [(case[0], case[3]) for case in CASES], ids=[c[0] for c in CASES]
)
def test_a_hostile_feed_is_refused_or_read_within_bounds(
    outcomes: dict[str, Outcome], name: str, allowed: str
) -> None:
    found = outcomes[name]
    assert found["told"].split(":")[0] in allowed.split("|"), found
    assert SECRET not in found["told"]
    assert found["seconds"] < CPU_SECONDS / 3, found
