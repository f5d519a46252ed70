"""Reading and cleaning against the script that a person would write: rows per second and peak memory.

Seconds are of the processor: both ways use one core, and other work on the machine would count against one of them.
"""

import csv
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
#: Sizes of one garment; they share its text and picture, as in the feeds of shops.
SIZES = ("S", "M", "L", "XL")
COLORS = ("Black", "Navy", "Rot", "Ecru", "Vert olive", "Nocturne")
WORDS = (  # noqa: SIM905 - words read better than a list of literals
    "washed linen cotton jersey loose cut long sleeves round neck buttons pocket seam hem lining soft warm "
    "light summer winter evening made Portugal Italy organic wool blend machine wash thirty degrees model "
    "wears size medium fits true relaxed tapered waist elastic drawstring contrast stitching café naïve"
).split()
#: Of the script's peak memory.
MEMORY_GOAL = 1 / 4
#: Bytes that a further record may cost at the peak.
RECORD_BYTES = 64
MOST_MEBIBYTES = 1024


def description(rng: random.Random) -> str:
    """Two paragraphs and a list, about 700 characters of HTML."""

    def words(count: int) -> str:
        return " ".join(rng.choices(WORDS, k=count)).capitalize()

    points = "".join(f"<li>{words(5)} &amp; {words(3)}</li>" for _ in range(4))
    return f"<p>{words(30)}.</p><p><strong>{words(3)}:</strong>&nbsp;{words(25)}.</p><ul>{points}</ul>"


def items(count: int) -> Iterator[dict[str, str]]:
    rng = random.Random(7)
    for group in range(count // len(SIZES)):
        text, title = description(rng), " ".join(rng.choices(WORDS, k=4)).title() + " &amp; More"
        color, price = rng.choice(COLORS), rng.randrange(900, 29_900)
        for size in SIZES:
            yield {
                "id": f"sku-{group}-{size}",
                "title": title,
                "description": text,
                "link": f"https://shop.example/products/{group}?size={size}",
                "image_link": f"https://cdn.shop.example/files/{group}.jpg?v={1_748_264_665 + group}",
                "additional_image_link": f"https://cdn.shop.example/files/{group}b.jpg?v=17,https://cdn.shop.example/files/{group}c.jpg?v=17",
                "availability": rng.choice(["in stock", "out of stock"]),
                "price": f"{price / 100:.2f} EUR",
                "sale_price": f"{price / 125:.2f} EUR" if group % 4 == 0 else "",
                "brand": "Nordlys",
                "item_group_id": str(group),
                "color": color,
                "size": size,
                "gender": "female",
                "condition": "new",
                "product_type": "Women > Dresses > Summer",
            }


def write_csv(path: Path, count: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = items(count)
        first = next(rows)
        writer = csv.DictWriter(stream, list(first))
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(rows)


def write_xml(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write('<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel>\n')
        for row in items(count):
            fields = "".join(f"<g:{name}>{escape(value)}</g:{name}>" for name, value in row.items() if value)
            stream.write(f"<item>{fields}</item>\n")
        stream.write("</channel></rss>\n")


def write_shopify(path: Path, count: int) -> None:
    """All products as one list on a single line."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write('{"products": [')
        for number, (_, rows) in enumerate(groupby(items(count), itemgetter("item_group_id"))):
            stream.write(", " if number else "")
            json.dump(shopify_product(list(rows)), stream)
        stream.write("]}")


def shopify_product(rows: list[dict[str, str]]) -> dict[str, Any]:
    first = rows[0]
    group = int(first["item_group_id"])
    variants = []
    for number, row in enumerate(rows):
        price, sale = row["price"].split()[0], row["sale_price"].split()[:1]
        variants.append(
            {
                "id": group * len(SIZES) + number,
                "option1": row["color"],
                "option2": row["size"],
                "price": sale[0] if sale else price,
                "compare_at_price": price if sale else None,
                "available": row["availability"] == "in stock",
            }
        )
    return {
        "id": group,
        "title": first["title"],
        "body_html": first["description"],
        "vendor": first["brand"],
        "product_type": first["product_type"],
        "handle": f"p-{group}",
        "options": [{"name": "Color", "position": 1}, {"name": "Size", "position": 2}],
        "images": [{"id": 1, "position": 1, "src": first["image_link"], "variant_ids": []}],
        "variants": variants,
    }


def measured(way: str, format_name: str, path: Path) -> dict[str, Any]:
    worker = [
        sys.executable,
        "-m",
        "fashion_pipeline_tests.benchmarks.cleaning_worker",
        way,
        format_name,
        str(path),
    ]
    done = subprocess.run(worker, cwd=ROOT, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


KINDS = {"google_csv": write_csv, "google_xml": write_xml, "shopify_json": write_shopify}


@pytest.mark.parametrize(("format_name", "goal"), [("google_csv", 8), ("google_xml", 4), ("shopify_json", 4)])
def test_reading_and_cleaning(tmp_path: Path, format_name: str, goal: float) -> None:
    path, rows = tmp_path / "feed", 200_000
    KINDS[format_name](path, rows)
    ours, script = (measured(way, format_name, path) for way in ("ours", "script"))
    assert ours["rows"] == script["rows"] == rows
    faster = script["seconds"] / ours["seconds"]
    memory = ours["mebibytes"] / script["mebibytes"]
    print(f"\n{format_name}, {rows:,} rows: {rows / ours['seconds']:,.0f} rows per second of the processor")
    print(f"  against a script of one dict per row: {faster:.1f} x its rows/s (goal {goal:g}),")
    print(f"  {memory:.2f} x its peak memory of {script['mebibytes']:.0f} MiB (goal {MEMORY_GOAL:g})")
    # Runs beside other work differ by a twentieth or so.
    assert faster >= 0.92 * goal
    assert memory <= MEMORY_GOAL * 1.04


@pytest.mark.parametrize("format_name", list(KINDS))
def test_memory_does_not_grow_with_the_feed(tmp_path: Path, format_name: str) -> None:
    peaks = {}
    for rows in (200_000, 1_000_000):
        path = tmp_path / "feed"
        KINDS[format_name](path, rows)
        result = measured("ours", format_name, path)
        assert result["rows"] == rows
        peaks[rows] = result["mebibytes"]
    small, large = peaks.values()
    allowed = 1.2 * small + 800_000 * RECORD_BYTES / (1 << 20)
    print(f"\n{format_name}: peak {small:.0f} MiB for 200,000 items, {large:.0f} MiB for 1,000,000")
    print(f"  (goals: below {MOST_MEBIBYTES} MiB, at most {allowed:.0f} MiB)")
    assert large < MOST_MEBIBYTES
    assert large <= allowed
