"""`search_quality`: how well words find pictures, over seeded samples, measured as Marqo's tables are.

Title to image asks for a product by its title, category to product for a category by its name; a document is
a variant group. For a query with the relevant set R and the first k results T: recall@k = |R and T| / |R|,
precision@k = |R and T| / k, reciprocal rank = 1 / rank of the first of R within the first ten, else 0; each
is averaged over the queries (the measures of BEIR, which github.com/marqo-ai/marqo-FashionCLIP evaluates by).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.index_history import Measured, baseline, measurements, record_measurement
from fashion_pipeline.catalog.samples import (
    SampledCategory,
    SampledProduct,
    sample_categories,
    sample_products,
)
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.images.plot import BLUE, GREEN, ORANGE, Series, line_plot
from fashion_pipeline.images.sheet import Tile, contact_sheet, encode_within
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.index.search import search
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import GROUP_FIELD, PointHit, Vector
from fashion_pipeline.line.points import Serving, serving_model_ref

#: Results looked at for each query.
DEPTH = 10

#: Titles and categories of a measurement: 200 titles give recall@10 to about 0.02.
QUERIES, CATEGORIES = 200, 50

#: Titles by which the approximate search is held against the exact one.
EXACT_QUERIES = 100

#: Queries on the contact sheet, and results beside each.
SHEET_TITLES, SHEET_CATEGORIES, SHEET_RESULTS = 4, 2, 5

#: A drop beyond the sample's noise warns; with half of its value gone a model, folder or collection is wrong.
DROP, COLLAPSE = 0.02, 0.5

Figure = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One task over `queries` queries; shares between 0 and 1."""

    queries: int
    recall_at_1: float
    recall_at_10: float
    precision_at_10: float
    mrr: float


@dataclass(frozen=True)
class Figures:
    """What was measured of one collection; latencies in ms.

    `approximate_recall` is the share of the exact search's first ten that the approximate one finds, None where
    the engine scans exactly anyway.
    """

    title: Task
    category: Task
    approximate_recall: float | None
    latency_p50_ms: float
    latency_p95_ms: float


@dataclass(frozen=True)
class Verdict:
    """How figures stand to what they are held against: `ok`, `drop` or `collapse`, in words."""

    kind: str
    words: str


@dataclass(frozen=True)
class QualityReport:
    """The figures of the serving collection, what they are held against, and pictures for people."""

    collection: str
    model_id: str
    figures: Figures
    baseline: Measured | None
    verdict: Verdict
    sheet: tuple[bytes, str] | None
    trend: tuple[bytes, str] | None
    seconds: float


@dataclass(frozen=True)
class Sample:
    """The queries of a measurement, the same for every collection that is compared."""

    products: Sequence[SampledProduct]
    categories: Sequence[SampledCategory]

    @property
    def texts(self) -> list[str]:
        """What is asked, titles first."""
        return [product.title for product in self.products] + [each.name for each in self.categories]


def draw_sample(database: Database, collection: str, *, queries: int = QUERIES, seed: int = 1) -> Sample:
    """Titles and categories of what is in a collection."""
    return Sample(
        sample_products(database, collection, size=queries, seed=seed),
        sample_categories(database, collection, size=CATEGORIES, seed=seed),
    )


def measure_search(
    database: Database,
    vectors: VectorStore,
    images: ImageStore,
    *,
    alias: str,
    serving: Serving,
    candidate_ref: str,
    load: Callable[[str], Encoder],
    queries: int = QUERIES,
    seed: int = 1,
) -> QualityReport:
    """Measure the serving collection, keep the figures, and hold them against those of its promotion."""
    began = time.perf_counter()
    sample = draw_sample(database, serving.collection, queries=queries, seed=seed)
    figures, answers = measure(vectors, serving, sample, candidate_ref=candidate_ref, load=load)
    if sample.products:
        record_measurement(
            database,
            alias=alias,
            collection=serving.collection,
            model_id=serving.model_id,
            figures=asdict(figures),
        )
    held_against = baseline(database, alias, serving.model_id)
    return QualityReport(
        collection=serving.collection,
        model_id=serving.model_id,
        figures=figures,
        baseline=held_against,
        verdict=judge(asdict(figures), held_against.figures if held_against else None),
        sheet=_sheet(images, sample, answers) if answers else None,
        trend=trend(measurements(database, alias)),
        seconds=time.perf_counter() - began,
    )


def measure(
    vectors: VectorStore,
    serving: Serving,
    sample: Sample,
    *,
    candidate_ref: str,
    load: Callable[[str], Encoder],
) -> tuple[Figures, list[list[PointHit]]]:
    """The figures of a collection over a sample, and the results of each query; loads its model."""
    if not sample.texts:
        return Figures(_task([], []), _task([], []), None, 0.0, 0.0), []
    encoder = load(serving_model_ref(serving, candidate_ref))
    try:
        asked = encoder.encode_texts(sample.texts)
    finally:
        encoder.close()
    latencies: list[float] = []
    answers: list[list[PointHit]] = []
    # One session: what is timed is the search, not an embedded engine's opening.
    with vectors.session(serving.collection, "measuring the search"):
        for vector in asked:
            start = time.perf_counter()
            answers.append(search(vectors, serving.collection, vector, limit=DEPTH))
            latencies.append(1000 * (time.perf_counter() - start))
        approximate = approximate_recall(vectors, serving.collection, asked[:EXACT_QUERIES])
    titles = len(sample.products)
    return (
        Figures(
            title=_task(answers[:titles], [each.relevant for each in sample.products]),
            category=_task(answers[titles:], [each.relevant for each in sample.categories]),
            approximate_recall=approximate,
            latency_p50_ms=float(np.percentile(latencies, 50)),
            latency_p95_ms=float(np.percentile(latencies, 95)),
        ),
        answers,
    )


def comparison(
    database: Database,
    vectors: VectorStore,
    serving: Serving,
    candidate_ref: str,
    load: Callable[[str], Encoder],
    *,
    queries: int = QUERIES,
) -> Callable[[Serving], Figures]:
    """A measure of collections over one sample of what serves, so that their figures can be compared."""
    sample = draw_sample(database, serving.collection, queries=queries)

    def measured(target: Serving) -> Figures:
        return measure(vectors, target, sample, candidate_ref=candidate_ref, load=load)[0]

    return measured


def judge(figures: Figure, held_against: Figure | None) -> Verdict:
    """Hold recall@10 of titles and precision@10 of categories against earlier figures."""
    if held_against is None:
        return Verdict("ok", "nothing was measured before")
    found = []
    for task, name in (("title", "recall_at_10"), ("category", "precision_at_10")):
        now, then = figures[task][name], held_against[task][name]
        found.append((now, then, f"{task} {name} is {now:.4f}, it was {then:.4f}"))
    words = "; ".join(each for *_, each in found)
    if any(now < COLLAPSE * then for now, then, _ in found):
        return Verdict("collapse", words)
    return Verdict("drop" if any(now < then - DROP for now, then, _ in found) else "ok", words)


def last_verdict(database: Database, alias: str, serving: Serving) -> Verdict:
    """How the newest figures of the serving model stand to those of its promotion."""
    mine = [each for each in measurements(database, alias) if each.model_id == serving.model_id]
    held_against = baseline(database, alias, serving.model_id)
    if not mine or held_against is None:
        return Verdict("ok", "nothing was measured yet")
    return judge(mine[-1].figures, held_against.figures)


def trend(history: Sequence[Measured]) -> tuple[bytes, str] | None:
    """The figures over time as a plot, promotions marked; None where there are none."""
    if not history:
        return None

    def series(name: str, task: str, figure: str, color: str) -> Series:
        return Series(name, [float(each.figures[task][figure]) for each in history], color)

    plot = line_plot(
        [
            series("title recall@10", "title", "recall_at_10", BLUE),
            series("title MRR", "title", "mrr", GREEN),
            series("category P@10", "category", "precision_at_10", ORANGE),
        ],
        labels=[f"{each.at:%m-%d %H:%M}" for each in history],
        marks=[number for number, each in enumerate(history) if each.promoted],
        title="search quality (marks: promotions)",
        axis=(0.0, 1.0),
    )
    return encode_within(plot, 20_000)


def _task(answers: Sequence[list[PointHit]], relevant: Sequence[frozenset[str]]) -> Task:
    if not answers:
        return Task(0, 0.0, 0.0, 0.0, 0.0)
    rows = []
    for hits, right in zip(answers, relevant, strict=True):
        found = [str(hit.payload.get(GROUP_FIELD)) in right for hit in hits[:DEPTH]]
        first = found.index(True) + 1 if True in found else None
        rows.append(
            (
                sum(found[:1]) / len(right),
                sum(found) / len(right),
                sum(found) / DEPTH,
                1 / first if first else 0.0,
            )
        )
    return Task(len(rows), *(float(value) for value in np.mean(rows, axis=0)))


def approximate_recall(vectors: VectorStore, collection: str, asked: Vector) -> float | None:
    """The share of the exact search's first results that the approximate one finds; None without a graph."""
    if not vectors.describe(collection).indexed_vectors:
        return None
    shares = []
    for vector in asked:
        exact = {hit.id for hit in vectors.query(collection, vector, limit=DEPTH, fields=(), exact=True)}
        near = {hit.id for hit in vectors.query(collection, vector, limit=DEPTH, fields=())}
        shares.append(len(exact & near) / max(1, len(exact)))
    return float(np.mean(shares))


def _sheet(images: ImageStore, sample: Sample, answers: list[list[PointHit]]) -> tuple[bytes, str]:
    """Some queries, each with its first results; those that are relevant are framed."""
    asked = [(each.title, "title", each.relevant) for each in sample.products[:SHEET_TITLES]]
    shown = answers[:SHEET_TITLES]
    first = len(sample.products)
    asked += [(each.name, "category", each.relevant) for each in sample.categories[:SHEET_CATEGORIES]]
    shown += answers[first : first + SHEET_CATEGORIES]
    tiles = []
    for (words, kind, relevant), hits in zip(asked, shown, strict=False):
        tiles.append(Tile(None, (kind,), text=words))
        for rank in range(SHEET_RESULTS):
            if rank >= len(hits):
                tiles.append(Tile(None, ()))
                continue
            payload = hits[rank].payload
            sha256 = str(payload.get("image_sha256", ""))
            picture = images.read(sha256) if sha256 and images.exists(sha256) else None
            right = str(payload.get(GROUP_FIELD)) in relevant
            caption = str(payload.get("title", "")), f"{hits[rank].score:.3f}"
            tiles.append(Tile(picture, caption, marked=right))
    return encode_within(contact_sheet(tiles, columns=1 + SHEET_RESULTS, tile_size=110), 45_000)
