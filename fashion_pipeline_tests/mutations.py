"""What the fuzz test feeds on: parts of real files, generated ones, and ways to break their bytes."""

import csv
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.feeds.mapping import known_formats

OWN_FIELDS = {
    "external_id": "id",
    "title": "title",
    "description": "description",
    "price": "price",
    "image_url": "image",
    "color": "color",
    "action": "action",
}
PARQUET_FIELDS = {
    "external_id": "id",
    "title": "title",
    "description": "description",
    "price": "price_min_usd",
    "image_url": "featured_image_url",
    "product_type": "product_type",
}
#: Bytes that mean something to one of the readers.
TOKENS = (
    b'"', b'""', b"'", b"\x00", b"\r", b"\n", b"\r\n", b"\t", b",", b";", b"|", b"\xef\xbb\xbf", b"\xff\xfe",
    b"\xed\xa0\x80", b"\xc3", b"\x1a", b"<", b">", b"</item>", b"<item>", b"</channel></rss>", b"<![CDATA[",
    b"]]>", b"&", b"&amp;", b"&#0;", b"&#xD800;", b"&nbsp;", b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"<!--", b"-->",
    b"<?xml version='1.0' encoding='utf-16'?>", b"{", b"}", b"[", b"]", b":", b"null", b"NaN", b"1e400", b"-0",
    b'"\\ud800"', b"\\", b"9" * 400, b"delete", b"\x1f\x8b\x08", b"PK\x03\x04", b"PAR1", b" " * 300, b"1.234",
    b"http://[::1", b"https://xn--a.example/", b"2026-13-45T99:99/", b"1" * 19,
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """Bytes of a good feed and the store that sends it."""

    name: str
    data: bytes
    format: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> StoreConfig:
        return StoreConfig(
            **{"id": "shop", "format": self.format, "location": "feed", "currency": "EUR", **self.settings}
        )


def _rows() -> list[dict[str, str]]:
    texts = (
        'Dress "Ada", lined',
        "Größe & Länge",
        "Ünïcode ✓ 夏のドレス",
        "line one\nline two",
        "<b>Bold</b> &amp; <i>big</i>",
    )
    prices = ("10.00 EUR", "1.234,50 €", "$12", "", "0", "12-15 EUR", "9350 JPY")
    return [
        {
            "id": f"id-{n % 28}",
            "title": f"{texts[n % 5]} {n % 28}" if n % 11 else "",
            "description": texts[(n * 3) % 5] * 4,
            "price": prices[n % 7],
            "image": f"https://cdn.example/{n}.jpg?v={n}" if n % 6 else "no picture",
            "color": ("Rot", "navy", "Nocturne")[n % 3],
            "action": "delete" if n == 17 else "",
        }
        for n in range(30)
    ]


def _delimited(delimiter: str, names: dict[str, str]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerow(names.values())
    writer.writerows([row[name] for name in names] for row in _rows())
    return buffer.getvalue().encode()


def _xml() -> bytes:
    from xml.sax.saxutils import escape

    tags = {"id": "g:id", "title": "title", "description": "g:description", "price": "g:price"}
    items = "".join(
        "<item>" + "".join(f"<{tag}>{escape(row[name])}</{tag}>" for name, tag in tags.items()) + "</item>\n"
        for row in _rows()
    )
    head = '<?xml version="1.0" encoding="utf-8"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
    return f"{head}{items}</channel></rss>".encode()


def _shopify() -> bytes:
    products = [
        {
            "id": 1000 + n,
            "title": row["title"],
            "body_html": row["description"],
            "options": [{"name": "Color", "position": 1, "values": [row["color"]]}],
            "images": [{"id": n, "src": row["image"], "position": 1, "variant_ids": []}],
            "variants": [
                {"id": 10 * n + k, "price": f"{n}.50", "compare_at_price": None, "option1": row["color"]}
                for k in range(1 + n % 3)
            ],
        }
        for n, row in enumerate(_rows())
    ]
    return json.dumps({"products": products}, ensure_ascii=False).encode()


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_rows()), buffer, row_group_size=7)
    return buffer.getvalue()


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _generated() -> list[Sample]:
    google = {
        "id": "id",
        "title": "title",
        "description": "description",
        "price": "price",
        "image": "image_link",
    }
    own = {"mapping": {"fields": OWN_FIELDS}}
    plain = {name: name for name in _rows()[0]}
    return [
        Sample("own csv", _delimited(",", plain), "delimited", own),
        Sample("own semicolons, delta", _delimited(";", plain), "delimited", own | {"mode": "delta"}),
        Sample("google csv, gzip", gzip.compress(_delimited(",", google), mtime=0), "google_csv"),
        Sample("google tsv, utf-16", _delimited("\t", google).decode().encode("utf-16"), "google_tsv"),
        Sample("google xml", _xml(), "google_xml"),
        Sample("google xml, zip", _zipped({"feed.xml": _xml(), "readme.md": b"hello"}), "google_xml"),
        Sample("shopify", _shopify(), "shopify_json"),
        Sample("shopify pages", _zipped({"1.json": _shopify(), "2.json": _shopify()}), "shopify_json"),
        Sample("own parquet", _parquet(), "parquet", own),
    ]


def _lines(path: Path, count: int) -> bytes:
    return b"".join(path.read_bytes().splitlines(keepends=True)[:count])


def _elements(path: Path, count: int) -> bytes:
    end = b"</item>"
    return end.join(path.read_bytes().split(end)[:count]) + end + b"</channel></rss>"


def _products(path: Path, count: int) -> bytes:
    return json.dumps({"products": json.loads(path.read_bytes())["products"][:count]}).encode()


def _table(path: Path, count: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pq.read_table(path).slice(0, count), buffer)
    return buffer.getvalue()


def _whole(path: Path, _: int) -> bytes:
    return path.read_bytes()


def _framed(path: Path, _: int) -> bytes:
    """The documentation's record between the header and trailer that a file of Rakuten's has."""
    records = [line for line in path.read_bytes().splitlines() if line.count(b"|") > 20]
    return b"\n".join([b"HDR|1|Shop|11/02/2026 10:00:00", *records, b"TRL|%d" % len(records), b""])


#: Real file, what is taken of it (a case has to be quick), its format, settings of the store.
_REAL: tuple[tuple[str, Callable[[Path, int], bytes], int, str, dict[str, Any]], ...] = (
    ("gmc_rss_hardlife.xml", _elements, 25, "google_xml", {}),
    ("gmc_tsv_lake_erie.tsv", _lines, 60, "google_tsv", {}),
    ("meta_catalog_bath_ec_t1.csv", _lines, 60, "meta_csv", {}),
    ("awin_lululemon.csv", _whole, 0, "awin", {}),
    ("awin_lululemon.csv.gz", _whole, 0, "awin", {}),
    ("shopify_products_kith.json", _products, 8, "shopify_json", {}),
    ("livostyle_products.parquet", _table, 60, "parquet", {"mapping": {"fields": PARQUET_FIELDS}}),
    ("woo_store_api_marilynhellman.json", _whole, 0, "woocommerce_store", {}),
    ("woocommerce_export_sample.csv", _whole, 0, "woocommerce_csv", {}),
    ("shopify_export_apparel.csv", _whole, 0, "shopify_csv", {}),
    ("rakuten_vendor_doc_sample.txt", _framed, 0, "rakuten", {}),
    ("jsonl_google_merch_store.jsonl", _lines, 60, "google_retail", {}),
    ("jsonld_decathlon_productgroup.html", _whole, 0, "jsonld", {}),
)


@cache
def samples(real: Path) -> tuple[Sample, ...]:
    """Generated feeds, and parts of the real ones that lie under `real` and whose format is known."""
    found = _generated()
    for name, take, count, format_name, options in _REAL:
        if (real / name).is_file() and format_name in known_formats():
            found.append(Sample(name, take(real / name, count), format_name, options))
    return tuple(found)


def _flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 10, 100])):
        at = rng.randrange(len(changed))
        changed[at] = rng.choice([changed[at] ^ (1 << rng.randrange(8)), rng.randrange(256)])
    return bytes(changed)


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice([1, 4, 30, 300, 3000]))


def _cut(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] if rng.random() < 0.7 else data[at:]


def _double(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return data + data
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * rng.choice([1, 1, 2, 50]) + data[end:]


def _drop(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _shuffle_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def _shuffle_blocks(data: bytes, rng: random.Random) -> bytes:
    size = max(1, len(data) // rng.choice([2, 5, 40]))
    blocks = [data[at : at + size] for at in range(0, len(data), size)]
    rng.shuffle(blocks)
    return b"".join(blocks)


def _insert(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(data) + 1)
        token = rng.choice(TOKENS) if rng.random() < 0.8 else rng.randbytes(rng.randrange(1, 20))
        data = data[:at] + token * rng.choice([1, 1, 1, 40]) + data[at:]
    return data


def _replace_all(data: bytes, rng: random.Random) -> bytes:
    start, _ = _span(data, rng)
    return data.replace(data[start : start + rng.choice([1, 1, 2, 6])], rng.choice(TOKENS), 200)


def _gzip_wrong(data: bytes, rng: random.Random) -> bytes:
    packed = gzip.compress(data, mtime=0)
    return rng.choice(
        [
            packed[:10] + data,
            packed + rng.randbytes(20),
            packed[: -rng.randrange(1, 12)],
            gzip.compress(packed, mtime=0),
            packed + packed,
            _flip(packed, rng),
            _cut(packed, rng),
        ]
    )


def _zip_wrong(data: bytes, rng: random.Random) -> bytes:
    packed = _zipped({"a/feed.bin": data, ".DS_Store": b"x"})
    return rng.choice([_flip(packed, rng), _cut(packed, rng), packed + b"tail", packed[4:], packed])


def _recode(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(["utf-16", "utf-16-be", "cp1252", "cp932", "utf-32", "utf-7"]), "replace")


#: What breaks rows stands more often than what breaks the file, so that both are reached.
MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_flip, _insert, _double, _drop, _shuffle_lines, _replace_all) * 2,
    *(_insert, _cut, _shuffle_blocks, _gzip_wrong, _zip_wrong, _recode),
)


def mutated(known: tuple[Sample, ...], seed: str) -> tuple[Sample, str]:
    """One broken feed, and what was done to it; equal seeds give equal bytes."""
    rng = random.Random(seed)
    sample = rng.choice(known)
    data, steps = sample.data, [sample.name]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        mutate = rng.choice(MUTATIONS)
        data = mutate(data, rng) or b"\n"
        steps.append(mutate.__name__.strip("_"))
    if rng.random() < 0.05:
        # The store changed its format, and nobody told us.
        other = rng.choice(known)
        steps.append(f"read as {other.format}")
        return Sample(sample.name, data, other.format, other.settings), ", ".join(steps)
    settings = dict(sample.settings)
    if rng.random() < 0.4:
        settings["encoding_fallback"] = rng.choice(["cp1252", "shift_jis", "utf-16", "cp037"])
    return Sample(sample.name, data, sample.format, settings), ", ".join(steps)
