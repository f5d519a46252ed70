"""`search_quality`: titles find their own pictures, measured with the demo model on drawn garments."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.index_history import record_measurement
from fashion_pipeline.catalog.samples import sample_products
from fashion_pipeline.demo.garments import Garment, draw
from fashion_pipeline.demo.wording import caption
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.line.points import Serving
from fashion_pipeline.line.quality import QualityReport, approximate_recall, last_verdict, measure_search
from fashion_pipeline_tests.index.making import points, spec, vector_of
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


def test_the_approximate_search_is_held_against_the_exact_one_where_there_is_a_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = EdgeStore(tmp_path / "qdrant")
    monkeypatch.setattr("fashion_pipeline.index.edge_shard._HNSW_FROM_KILOBYTES", 1000)
    edge.ensure_collection(spec("c"))
    edge.upsert("c", points(600))
    asked = np.stack([vector_of(number) for number in range(600, 620)])
    assert approximate_recall(edge, "c", asked) is None
    edge.optimize("c")
    found = approximate_recall(edge, "c", asked)
    assert found is not None
    assert 0.5 < found <= 1.0


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


def figures(recall: float, precision: float) -> dict[str, Any]:
    return {"title": {"recall_at_10": recall}, "category": {"precision_at_10": precision}}


#: A promotion long ago, then the last one: recall@10 of titles 0.8, precision@10 of categories 0.4.
PROMOTED = [(True, 0.3, 0.1), (False, 0.2, 0.1), (True, 0.8, 0.4)]


@pytest.mark.parametrize(
    ("recall", "precision", "kind"),
    [
        (0.8, 0.4, "ok"),
        (0.785, 0.385, "ok"),
        (0.95, 0.6, "ok"),
        (0.775, 0.4, "drop"),
        (0.8, 0.375, "drop"),
        (0.41, 0.21, "drop"),
        (0.39, 0.4, "collapse"),
        (0.8, 0.19, "collapse"),
        (0.0, 0.0, "collapse"),
    ],
)
def test_figures_are_held_against_the_last_promotion(
    database: Database, recall: float, precision: float, kind: str
) -> None:
    mine = Serving("products-mine", "mine", "local-dir:mine")
    assert last_verdict(database, ALIAS, mine).kind == "ok"

    def remember(promoted: bool, recall: float, precision: float, model: str = "mine") -> None:
        record_measurement(
            database,
            alias=ALIAS,
            collection=f"products-{model}",
            model_id=model,
            figures=figures(recall, precision),
            promoted=promoted,
        )

    for each in PROMOTED:
        remember(*each)
    # A better model was tried and rolled back: its figures are no measure of this one.
    remember(True, 1.0, 1.0, model="other")
    remember(False, recall, precision)
    remember(False, 0.0, 0.0, model="other")
    found = last_verdict(database, ALIAS, mine)
    assert found.kind == kind
    assert f"title recall_at_10 is {recall:.4f}, it was 0.8000" in found.words
    assert f"category precision_at_10 is {precision:.4f}, it was 0.4000" in found.words


def test_without_a_promotion_figures_are_held_against_the_first(database: Database) -> None:
    mine = Serving("products-mine", "mine", "local-dir:mine")
    for recall in (0.9, 0.1, 0.85):
        record_measurement(
            database,
            alias=ALIAS,
            collection=mine.collection,
            model_id=mine.model_id,
            figures=figures(recall, 0.4),
        )
    found = last_verdict(database, ALIAS, mine)
    assert (found.kind, "it was 0.9000" in found.words) == ("drop", True)
