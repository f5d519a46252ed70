"""Feeds and photos of real shops through the whole line, on real parts. Values were read off the files."""

import shutil
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashion_pipeline.catalog.apply import ApplyReport
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.embeddings.decode import decode_image
from fashion_pipeline.embeddings.encoder import load_encoder
from fashion_pipeline.embeddings.report import PipelineOptions
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.index.search import search, search_like
from fashion_pipeline.line.clean import CleanStageReport
from fashion_pipeline_tests import bath_ec
from fashion_pipeline_tests.line.conftest import DAY
from fashion_pipeline_tests.line.shops import ALIAS, Shop, sha256

NEXT = DAY + timedelta(days=1)


class RealShop(Shop):
    """A shop whose feed of a day is a copy of a real one."""

    def take(self, source: Path, day: date = DAY) -> tuple[CleanStageReport, ApplyReport]:
        shutil.copy(source, self.folder / f"{day}{''.join(source.suffixes)}")
        captured = self.capture(day)
        assert captured.action == "fetched"
        assert self.data.read(captured.snapshot.file_key) == source.read_bytes()
        cleaned = self.clean(day)
        return cleaned, self.apply(day)


def real_shop(database: Database, folder: Path, ending: str, format_: str, **settings: Any) -> RealShop:
    place = folder / "parts" / "shop" / ("{date}" + ending)
    settings = {"mapping": {}, "currency": None, **settings}
    return RealShop(database, folder / "parts", format=format_, location=str(place), **settings)


def has(row: dict[str, Any], **expected: Any) -> None:
    assert {name: row[name] for name in expected} == expected


def counted(cleaned: CleanStageReport) -> tuple[int, ...]:
    account = cleaned.account
    return tuple(account[name] for name in ("records", "items", "clean", "rejected", "duplicates"))


def nothing_new(shop: RealShop) -> None:
    before = shop.products()
    assert shop.clean(DAY).action == "reused"
    assert shop.apply(DAY).outcome == "unchanged"
    assert shop.products() == before


def test_hardlife_google_xml(database: Database, tmp_path: Path, real_feeds: Path) -> None:
    shop = real_shop(database, tmp_path, ".xml", "google_xml")
    cleaned, applied = shop.take(real_feeds / "gmc_rss_hardlife.xml")
    assert (counted(cleaned), cleaned.verdict) == ((200, 200, 200, 0, 0), "ok")
    assert (applied.new, applied.active) == (200, 200)
    rows = shop.products()
    assert Counter(row["price"] for row in rows.values()) == {Decimal(75): 130, Decimal(48): 70}
    assert len({row["item_group_id"] for row in rows.values()}) == 40
    assert sum(len(row["additional_image_urls"]) for row in rows.values()) == 710
    has(
        rows["hoodie-001-s"],
        title="Human Beings - Black Hoodie",
        price=Decimal(75),
        currency="USD",
        image_url="https://cdn.fourthwall.com/offer/sh_edd038df-9387-435f-a5ed-83f673666a43/"
        "d5eb1008-3cac-41be-87e3-10ac184b2ddc.jpeg",
        product_url="https://hrdlf.com/products/human-beings-black-hoodie",
        google_product_category="Apparel & Accessories > Clothing > Outerwear > Coats & Jackets",
        product_type="Apparel > Hoodies",
        item_group_id="hoodie-001",
        color="black",
        size="S",
        gender="unisex",
        condition="new",
        availability="in_stock",
        first_seen_on=DAY,
        snapshot_date=DAY,
        delisted_on=None,
        held_since=None,
    )
    has(rows["tee-014-2xl"], price=Decimal(48), size="XXL", color="white", item_group_id="tee-014")
    nothing_new(shop)


def test_lake_erie_google_tsv(database: Database, tmp_path: Path, real_feeds: Path) -> None:
    shop = real_shop(database, tmp_path, ".tsv", "google_tsv")
    cleaned, applied = shop.take(real_feeds / "gmc_tsv_lake_erie.tsv")
    assert counted(cleaned) == (160, 160, 160, 0, 0)
    assert applied.new == 160
    rows = shop.products()
    assert sum(row["color"] is None for row in rows.values()) == 106, "99 say: see product page"
    has(
        rows["98650bd8-5981-4055-8e14-5e144a04a23a"],
        title='"Lake Erie Loot Crew" Women\'s Spaghetti Strap Pirate Fest Tank Top',
        price=Decimal(28),
        currency="USD",
        size="L",
        gender="female",
        availability="in_stock",
        additional_image_urls=None,
    )
    has(
        rows["66f777a0-7e29-4855-90b5-ed2e3dae8cfb"],
        title="Cedar Point Beach Crew Can Cooler/Drink Sleeve",
        price=Decimal(6),
        item_group_id=None,
        size=None,
        gender=None,
    )
    assert any(row["size"] == '50" × 60"' for row in rows.values())
    nothing_new(shop)


def test_kith_shopify(database: Database, tmp_path: Path, real_feeds: Path) -> None:
    shop = real_shop(database, tmp_path, ".json", "shopify_json", currency="USD", base_url="https://kith.com")
    cleaned, applied = shop.take(real_feeds / "shopify_products_kith.json")
    assert counted(cleaned) == (30, 131, 131, 0, 0)
    assert applied.new == 131
    rows = shop.products()
    assert {row["availability"] for row in rows.values()} == {"out_of_stock"}
    assert {row["product_type"] for row in rows.values()} == {None}, "Placeholder is no type"
    assert len({row["item_group_id"] for row in rows.values()}) == 30
    assert max(row["price"] for row in rows.values()) == Decimal(4995)
    has(
        rows["45132974096512"],
        title="Giorgio Armani & Kith Scenic Printed Bandana - Multi PH",
        price=Decimal(395),
        sale_price=None,
        currency="USD",
        image_url="https://cdn.shopify.com/s/files/1/0094/2252/files/"
        "GM002421F20577N-Front_e6e32727-023f-469c-913d-459822e4573a.jpg?v=1751998322",
        product_url="https://kith.com/products/gm002421f20577n-ph?variant=45132974096512",
        brand="Kith",
        mpn="2000256883",
        item_group_id="8285549166720",
    )
    has(rows["45132970950784"], size="XXL", price=Decimal(1295), item_group_id="8285548445824")
    nothing_new(shop)


def test_lululemon_awin(database: Database, tmp_path: Path, real_feeds: Path) -> None:
    shop = real_shop(database, tmp_path, ".csv.gz", "awin")
    cleaned, applied = shop.take(real_feeds / "awin_lululemon.csv.gz")
    assert counted(cleaned) == (10, 10, 10, 0, 0)
    assert applied.new == 10
    rows = shop.products()
    assert Counter(row["gender"] for row in rows.values()) == {"female": 7, "male": 3}
    has(
        rows["40026645008"],
        title='Wunder Under High-Rise Leggings 25"',
        price=Decimal(98),
        sale_price=None,
        currency="USD",
        image_url="https://images.lululemon.com/is/image/lululemon/LW5BJVS_0001_1",
        brand="lululemon",
        mpn="101700201",
        product_type="Women > Clothing > Pants > Leggings",
        color="black",
        size="18",
        gender="female",
        material="Luon™ Fabric",
        condition="new",
        availability="in_stock",
    )
    assert len(rows["40026645008"]["additional_image_urls"]) == 4
    has(rows["33201718633"], title="In Mind Pants 30L", price=Decimal(118), gender="male", size="S")
    has(rows["39329154040"], price=Decimal(68), size="0")
    nothing_new(shop)


def test_bath_ec_on_two_days(database: Database, tmp_path: Path, real_feeds: Path) -> None:
    """13 of 199 are 6.5 %: the shrink guard (10 %) stays quiet."""
    shop = real_shop(database, tmp_path, ".csv", "meta_csv")
    _, first = shop.take(real_feeds / bath_ec.DAYS[0])
    old = shop.products()
    assert (first.new, first.active, len(old)) == (199, 199, 199)
    cleaned, second = shop.take(real_feeds / bath_ec.DAYS[1], NEXT)
    assert (counted(cleaned), cleaned.verdict, cleaned.findings) == ((187, 187, 187, 0, 0), "ok", ())
    new = shop.products()
    assert (second.delisted, second.new, second.price_changed, second.active) == (13, 1, 52, 187)
    assert {key for key, row in new.items() if row["delisted_on"] == NEXT} == bath_ec.GONE
    assert set(new) - set(old) == bath_ec.NEW
    told = bath_ec.check_changes(real_feeds, old, new)
    assert {
        key for key, row in new.items() if row["snapshot_date"] == NEXT
    } == told | bath_ec.GONE | bath_ec.NEW
    assert second.changed == len(told)
    assert second.refreshed_urls == 186 - len(told)
    assert second.unchanged == 0


LIVOSTYLE = {
    "external_id": "id",
    "title": "title",
    "price": "price_min_usd",
    "image_url": "photo",
    "product_url": "url",
    "product_type": "product_type",
    "google_product_category": "category_full_path",
    "availability": "in_stock_any",
    "description": "description",
}


def livostyle_feed(real_feeds: Path, real_photos: Path, pictures: Path, target: Path) -> dict[str, Path]:
    """The shop's products with the photos that are there as local pictures, and three broken rows.

    Returns:
        The photo of each product that has one, by id.
    """
    rows = pq.read_table(real_feeds / "livostyle_products.parquet").to_pylist()
    by_handle = {path.stem.removeprefix("livo-"): path for path in real_photos.glob("*/livo-*.jpg")}
    photos: dict[str, Path] = {}
    for row in rows:
        row["photo"] = None
        photo = by_handle.get(row["handle"])
        if photo is not None:
            copy = pictures / photo.name
            shutil.copy(photo, copy)
            row["photo"] = copy.as_uri()
            photos[str(row["id"])] = copy
    keep = {*LIVOSTYLE.values()}
    rows = [{name: value for name, value in row.items() if name in keep} for row in rows]
    broken = [
        rows[0] | {"id": "broken-1", "price_min_usd": None},
        rows[1] | {"id": "broken-2", "title": "  "},
        rows[2] | {"id": "broken-3", "price_min_usd": -4.0, "title": None},
    ]
    pq.write_table(pa.Table.from_pylist([*rows, *broken]), target)
    return photos


@pytest.mark.timeout(400)
def test_livostyle_with_its_photos_to_a_search(
    database: Database, tmp_path: Path, real_feeds: Path, real_photos: Path, demo_model: str
) -> None:
    shop = real_shop(
        database,
        tmp_path,
        ".parquet",
        "parquet",
        currency="USD",
        model=demo_model,
        mapping={"fields": LIVOSTYLE},
    )
    feed = tmp_path / "livostyle.parquet"
    photos = livostyle_feed(real_feeds, real_photos, shop.pictures, feed)
    assert len(photos) == 300
    cleaned, applied = shop.take(feed)
    assert counted(cleaned) == (2769, 2769, 2766, 3, 0)
    assert applied.new == 2766
    rejected = {each.external_id: each for each in shop.rejected(DAY)}
    assert {key: sorted(each.reasons) for key, each in rejected.items()} == {
        "broken-1": ["price_missing"],
        "broken-2": ["title_missing"],
        "broken-3": ["price_negative", "title_missing"],
    }
    assert all(each.raw and each.place for each in rejected.values())
    row = shop.products()["7817153052811"]
    has(row, title="Openwork V-Neck Slit Cover-Up", price=Decimal("28.99"), currency="USD")
    has(row, product_type="Swimwear", availability="in_stock")

    fetched = shop.images(DAY)
    digests = {key: sha256(path.read_bytes()) for key, path in photos.items()}
    assert fetched.fetch is not None
    assert (fetched.due, fetched.fetch.fetched, fetched.known) == (300, 300, 300)
    assert shop.stored_pictures() == set(digests.values())
    embedded = shop.embed(options=PipelineOptions(workers=1))
    assert (embedded.due, embedded.failures) == (len(set(digests.values())), ())
    points = shop.points()
    assert (points.inserted, points.counts.without_picture) == (300, 2466)
    indexed = shop.indexed()
    assert {key: point.payload["image_sha256"] for key, point in indexed.items()} == digests

    encoder = load_encoder(demo_model, device="cpu", precision="fp32")
    try:
        wanted = sorted(photos)[::60]
        shape = read_spec(demo_model).preprocessing
        pixels = np.stack([decode_image(photos[key].read_bytes(), shape) for key in wanted])
        asked = encoder.encode_images(pixels)
        words = encoder.encode_texts(["red dress"])[0]
    finally:
        encoder.close()
    for key, vector in zip(wanted, asked, strict=True):
        best = search(shop.index, ALIAS, vector, limit=3)[0]
        assert best.score > 0.999
        assert best.payload["image_sha256"] == digests[key]
    by_text = search(shop.index, ALIAS, words, limit=10)
    assert len(by_text) == 10
    assert {hit.payload["external_id"] for hit in by_text} <= set(photos)
    like = search_like(shop.index, ALIAS, indexed[wanted[0]].id, limit=5)
    assert len(like) == 5
    assert wanted[0] not in {hit.payload["external_id"] for hit in like}

    before = shop.index.points_written
    assert shop.images(DAY).due == 0
    assert shop.points().inserted == 0
    assert shop.index.points_written == before
