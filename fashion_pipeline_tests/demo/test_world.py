"""The demo's world: the same everywhere, different between its two days by exactly what is planned."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
from PIL import Image

from fashion_pipeline.demo.garments import COLORS, KINDS, PATTERNS
from fashion_pipeline.demo.stores import DAYS, STORES, products, store_named
from fashion_pipeline.demo.world import write_world

FIRST, SECOND = DAYS
ENDINGS = {"nordlys": "xml", "marchetti": "json", "sunday-market": "csv.gz", "kiyomi": "parquet"}


@dataclass(frozen=True)
class Row:
    id: str
    title: str
    price: str
    picture: str
    group: str


def _rows(root: Path, store: str, day: date) -> list[Row]:
    """The feed's rows as its format holds them, broken ones included."""
    content = (root / "feeds" / f"{store}-{day}.{ENDINGS[store]}").read_bytes()
    if store == "nordlys":
        g = "{http://base.google.com/ns/1.0}"
        return [
            Row(
                *(
                    item.findtext(g + name) or ""
                    for name in ("id", "title", "price", "image_link", "item_group_id")
                )
            )
            if item.find(g + "sale_price") is None
            else Row(
                *(
                    item.findtext(g + name) or ""
                    for name in ("id", "title", "sale_price", "image_link", "item_group_id")
                )
            )
            for item in ElementTree.fromstring(content).iter("item")
        ]
    if store == "marchetti":
        return [
            Row(
                str(variant["id"] or ""),
                product["title"] or "",
                variant["price"],
                product["images"][0]["src"],
                str(product["id"]),
            )
            for product in json.loads(content)["products"]
            for variant in product["variants"]
        ]
    if store == "sunday-market":
        reader = csv.DictReader(
            io.StringIO(gzip.decompress(content).decode(), newline=""), delimiter=";", restval=""
        )
        return [
            Row(r["sku"], r["name"], r["our_price"] or r["list_price"], r["photo"], r["parent_sku"])
            for r in reader
        ]
    return [
        Row(r["item"], r["name"] or "", str(r["sale"] or r["price"]), r["photo"], r["item"])
        for r in pq.read_table(io.BytesIO(content)).to_pylist()
    ]


def _file_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _good(root: Path, store: str, day: date) -> dict[str, Row]:
    """Rows by id that can be cleaned: an id with one content, a title, a price above zero."""
    rows = _rows(root, store, day)
    counts = Counter(row.id for row in set(rows))

    def number(price: str) -> float:
        try:
            return float(price.strip("$").split(" ")[0])
        except ValueError:
            return 0.0

    return {r.id: r for r in rows if r.id and counts[r.id] == 1 and r.title.strip() and number(r.price) > 0}


def _digests(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*")
        if p.is_file()
    }


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], dict[str, str]]:
    """A world at its second day, and the digests of its files on each day."""
    root = tmp_path_factory.mktemp("world")
    write_world(root, day=FIRST)
    first = _digests(root)
    write_world(root, day=SECOND)
    return root, first, _digests(root)


World = tuple[Path, dict[str, str], dict[str, str]]


def test_a_day_before_the_first_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="begins on 2026-11-02"):
        write_world(tmp_path, day=date(2026, 11, 1))
    assert list(tmp_path.iterdir()) == []


def test_the_first_day_has_no_feed_of_the_second(worlds: World) -> None:
    _, first, second = worlds
    assert sum(name.startswith("feeds/") for name in first) == len(STORES) >= 3
    assert sum(name.startswith("feeds/") for name in second) == 2 * len(STORES)


def test_about_600_rows_share_about_350_pictures(worlds: World) -> None:
    root, first, _ = worlds
    rows = [row for store in STORES for row in _good(root, store.id, FIRST).values()]
    assert 550 <= len(rows) <= 680
    pictures = {row.picture for row in rows}
    assert 300 <= len(pictures) <= 360
    assert {url for url in pictures if not _file_of(url).is_file()} == {"htp:/photo missing"}
    assert {Path(name).suffix for name in first if name.startswith("images/")} >= {".jpg", ".png", ".webp"}


def test_the_assortment_covers_the_vocabulary() -> None:
    sold = {p.garment for store in STORES for p in products(store, FIRST)}
    assert {g.kind for g in sold} == set(KINDS)
    assert {g.color for g in sold} == set(COLORS)
    assert {g.pattern for g in sold} == set(PATTERNS)


def test_writing_again_touches_nothing(worlds: World) -> None:
    root, _, second = worlds
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
    write_world(root, day=SECOND)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()} == before
    write_world(root, day=date(2030, 1, 1))
    assert _digests(root) == second


def test_a_damaged_or_missing_file_is_mended(worlds: World) -> None:
    root, _, second = worlds
    names = [name for name in second if name.startswith("images/kiyomi/")][:2]
    (root / names[0]).write_bytes(b"no picture")
    (root / names[1]).unlink()
    write_world(root, day=SECOND)
    assert _digests(root) == second


def test_the_world_does_not_go_back(worlds: World) -> None:
    """Or a demo that is run again would see pictures change to and fro."""
    root, _, second = worlds
    write_world(root, day=FIRST)
    assert _digests(root) == second


def test_the_second_day_needs_no_first(worlds: World, tmp_path: Path) -> None:
    """Only the pictures of what left on the second day were never written."""
    write_world(tmp_path, day=SECOND)
    _, first, second = worlds
    pictures = {n: d for n, d in _digests(tmp_path).items() if n.endswith((".jpg", ".png", ".webp"))}
    assert pictures.items() <= second.items()
    gone = {n for n in second if n.startswith("images/") and not n.endswith(".json")} - pictures.keys()
    assert len(gone) == 11
    assert gone <= first.keys()
    assert len(list((tmp_path / "feeds").iterdir())) == 2 * len(STORES)


def test_pictures_are_whole_and_of_their_format(worlds: World) -> None:
    root, first, _ = worlds
    for name in list(first)[::9]:
        if name.startswith("images/") and not name.endswith(".json"):
            with Image.open(root / name) as opened:
                opened.load()
                assert opened.size == (400, 400)
                assert opened.format == {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[Path(name).suffix]


@pytest.mark.parametrize(
    ("store", "gone", "new", "repriced", "bad_first", "bad_second"),
    [
        ("nordlys", 7, 7, 42, 4, 8),
        ("marchetti", 4, 8, 19, 5, 5),
        ("sunday-market", 7, 12, 29, 4, 5),
        ("kiyomi", 3, 5, 7, 4, 4),
    ],
)
def test_the_days_differ_as_planned(
    worlds: World, store: str, gone: int, new: int, repriced: int, bad_first: int, bad_second: int
) -> None:
    """For Nordlys three of the rows that are not clean any more are the held product's."""
    root, _, _ = worlds
    first, second = _good(root, store, FIRST), _good(root, store, SECOND)
    both = first.keys() & second.keys()
    assert (len(first.keys() - second.keys()), len(second.keys() - first.keys())) == (gone, new)
    assert sum(first[i].price != second[i].price for i in both) == repriced
    assert all(first[i].title == second[i].title for i in both)
    assert gone / len(first) < 0.10
    bad = [len(_rows(root, store, day)) - len(_good(root, store, day)) for day in DAYS]
    assert bad == [bad_first, bad_second]
    assert all(count / len(_rows(root, store, day)) < 0.10 for count, day in zip(bad, DAYS, strict=True))


def test_one_product_is_seen_but_not_clean_on_the_second_day(worlds: World) -> None:
    root, _, _ = worlds
    lost = _good(root, "nordlys", FIRST).keys() - _good(root, "nordlys", SECOND).keys()
    assert sum(row.id in lost for row in _rows(root, "nordlys", SECOND)) == 3


def test_two_pictures_change_one_behind_the_same_address(worlds: World) -> None:
    root, first, second = worlds
    pictures = {name for name in first if name.startswith("images/") and not name.endswith(".json")}
    assert {name for name in pictures if first[name] != second[name]} == {
        "images/nordlys/nor-1010.jpg",
        "images/marchetti/mar-1008.jpg",
    }
    moved = {
        (one.picture.rpartition("/")[2], two.picture.rpartition("/")[2])
        for store in STORES
        for i, one in _good(root, store.id, FIRST).items()
        if (two := _good(root, store.id, SECOND).get(i)) is not None and one.picture != two.picture
    }
    assert moved == {("mar-1008.jpg?v=1", "mar-1008.jpg?v=2")}


def test_one_picture_is_sold_by_two_stores(worlds: World) -> None:
    _, first, second = worlds
    for digests in (first, second):
        pictures = Counter(digest for name, digest in digests.items() if name.startswith("images/"))
        assert sorted(pictures.values())[-2:] == [1, 2]
    assert first["images/nordlys/nor-1004.jpg"] == first["images/sunday-market/sun-1020.jpg"]


def test_sizes_share_title_group_and_picture() -> None:
    for product in products(store_named("nordlys"), FIRST):
        assert product.sizes
        assert len(set(product.sizes)) == len(product.sizes)
        assert product.sold_out <= set(product.sizes)


def test_the_configuration_is_valid_and_finds_the_feeds(worlds: World) -> None:
    from importlib import resources

    from fashion_pipeline.feeds.config import load_feeds, location_for

    root, _, _ = worlds
    data = root.parent / "data"
    data.mkdir(exist_ok=True)
    if not (data / "demo").exists():
        (data / "demo").symlink_to(root)
    with resources.as_file(resources.files("fashion_pipeline.demo") / "feeds.yaml") as path:
        config = load_feeds(path, environ={}, variables={"data": str(data)})
    assert (config.first_day, config.last_day) == DAYS
    assert [store.id for store in config.stores] == [store.id for store in STORES]
    for store in config.stores:
        assert store.currency == store_named(store.id).currency
        for day in DAYS:
            assert Path(location_for(store, day)).is_file()
