"""`search_quality`: titles find their own pictures, measured with the demo model on drawn garments."""

import io
from pathlib import Path

import pytest
from PIL import Image

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.samples import sample_products
from fashion_pipeline.demo.garments import Garment, draw
from fashion_pipeline.demo.wording import caption
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.line.quality import QualityReport, measure_search
from fashion_pipeline_tests.line.conftest import DAY, FIELDS, item
from fashion_pipeline_tests.line.shops import ALIAS, Shop, copy_sparse

LOOKS = [
    Garment(kind, color, "solid", None, "short")
    for kind in ("dress", "skirt", "coat")
    for color in ("red", "blue", "green", "yellow")
]


@pytest.fixture
def shop(database: Database, tmp_path: Path, demo_model: str, empty_index: Path) -> Shop:
    copy_sparse(empty_index, tmp_path / "parts" / "qdrant")
    fields = FIELDS | {"item_group_id": "group"}
    return Shop(database, tmp_path / "parts", model=demo_model, mapping={"fields": fields, "delimiter": ","})


def load(reference: str) -> Encoder:
    return load_encoder(reference, device="cpu", precision="fp32")


def must_not_load(reference: str) -> Encoder:
    raise AssertionError(f"{reference} was loaded although there is nothing to measure")


def measure(shop: Shop, **options: int) -> QualityReport:
    return measure_search(
        shop.database,
        shop.index,
        ImageStore(shop.data),
        alias=ALIAS,
        serving=shop.collection(),
        candidate_ref=shop.model,
        load=load if shop.entries() else must_not_load,
        **options,
    )


def garments(shop: Shop, titles: list[str]) -> None:
    """A product in two sizes for each look, in one group and with one picture."""
    rows = []
    for number, (look, title) in enumerate(zip(LOOKS, titles, strict=True)):
        drawn = io.BytesIO()
        draw(look, seed=number, size=160).save(drawn, "PNG")
        url = shop.picture(f"look-{number}", drawn.getvalue())
        rows += [item(f"{number}-{size}", image=url, title=title) | {"group": f"g{number}"} for size in "SM"]
    import csv

    with shop.path(DAY).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*FIELDS.values(), "group"])
        writer.writeheader()
        writer.writerows(rows)
    shop.run(DAY)
    shop.images(DAY)
    shop.embed()
    shop.points()


def test_right_titles_are_found_and_wrong_ones_are_not(shop: Shop) -> None:
    titles = [caption(look).title() for look in LOOKS]
    garments(shop, titles)
    assert len(shop.ledger()) == len(LOOKS)
    report = measure(shop)
    assert report.figures.title.queries == len(LOOKS), "a picture is one query, however many sizes show it"
    assert report.model_id == shop.collection().model_id
    assert report.figures.title.recall_at_10 >= 0.9
    assert report.figures.title.recall_at_1 >= 0.5
    assert report.figures.title.recall_at_1 <= report.figures.title.mrr <= report.figures.title.recall_at_10
    assert 0 < report.figures.latency_p50_ms <= report.figures.latency_p95_ms
    assert report.sheet is not None
    content, mime = report.sheet
    assert len(content) <= 45_000
    assert mime.startswith("image/")
    with Image.open(io.BytesIO(content)) as sheet:
        assert min(sheet.size) > 200

    # The same measure sees a catalogue whose titles were mixed up.
    shop.execute(
        "UPDATE products p SET title = q.title FROM products q WHERE q.external_id = "
        "'sku-' || (substring(p.external_id from '[0-9]+')::int + 5) % 12 || '-S'"
    )
    worse = measure(shop)
    assert worse.figures.title.recall_at_1 < report.figures.title.recall_at_1
    assert worse.figures.title.mrr < report.figures.title.mrr / 2


def test_an_empty_collection_is_measured_without_a_model(shop: Shop) -> None:
    report = measure(shop)
    assert (report.figures.title.queries, report.figures.title.recall_at_1, report.sheet) == (0, 0.0, None)


def test_samples_are_the_same_for_the_same_seed_and_of_different_pictures(shop: Shop) -> None:
    pictures = [shop.picture(number) for number in range(30)]
    shop.bring(DAY, [item(f"{n}-{size}", image=pictures[n]) for n in range(30) for size in "SM"])
    collection = shop.collection().collection

    def sample(size: int, seed: int) -> list[str]:
        return [
            each.image_sha256 for each in sample_products(shop.database, collection, size=size, seed=seed)
        ]

    assert sample(10, 1) == sample(10, 1)
    assert sample(10, 1) != sample(10, 2)
    assert len(set(sample(10, 1))) == 10
    assert len(sample(100, 1)) == 30
    assert sample_products(shop.database, "another", size=10, seed=1) == []
