"""`search_quality`: how well titles find their own pictures, over a seeded sample."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.samples import SampledProduct, sample_products
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.images.sheet import Tile, contact_sheet, encode_within
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.index.search import search
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import GROUP_FIELD, PointHit
from fashion_pipeline.line.points import Serving, serving_model_ref

#: Results looked at for each query.
DEPTH = 10

#: Queries on the contact sheet, and results beside each.
SHEET_QUERIES, SHEET_RESULTS = 5, 5


@dataclass(frozen=True)
class QualityReport:
    """Title-to-image retrieval over `queries` products; shares between 0 and 1, latencies in ms.

    A query's one relevant result is the product's own variant group. `recall_at_1` and `recall_at_10` are
    the shares of queries that find it within that depth, `mrr` the mean of 1 / rank, 0 where it is not found.
    """

    model_id: str
    queries: int
    recall_at_1: float
    recall_at_10: float
    mrr: float
    latency_p50_ms: float
    latency_p95_ms: float
    sheet: tuple[bytes, str] | None
    seconds: float


def measure_search(
    database: Database,
    vectors: VectorStore,
    images: ImageStore,
    *,
    alias: str,
    serving: Serving,
    candidate_ref: str,
    load: Callable[[str], Encoder],
    queries: int = 200,
    seed: int = 1,
) -> QualityReport:
    """Ask for a sample of products by their titles, and see at which rank each comes back."""
    began = time.perf_counter()
    sample = sample_products(database, serving.collection, size=queries, seed=seed)
    if not sample:
        return QualityReport(serving.model_id, 0, 0.0, 0.0, 0.0, 0.0, 0.0, None, time.perf_counter() - began)
    encoder = load(serving_model_ref(serving, candidate_ref))
    try:
        asked = encoder.encode_texts([product.title for product in sample])
    finally:
        encoder.close()
    ranks: list[int | None] = []
    latencies: list[float] = []
    answers: list[list[PointHit]] = []
    # One session: what is timed is the search, not an embedded engine's opening.
    with vectors.session(serving.collection):
        for product, vector in zip(sample, asked, strict=True):
            start = time.perf_counter()
            hits = search(vectors, alias, vector, limit=DEPTH)
            latencies.append(1000 * (time.perf_counter() - start))
            groups = [str(hit.payload.get(GROUP_FIELD)) for hit in hits]
            ranks.append(groups.index(product.group) + 1 if product.group in groups else None)
            answers.append(hits)
    return QualityReport(
        model_id=serving.model_id,
        queries=len(sample),
        recall_at_1=sum(rank == 1 for rank in ranks) / len(ranks),
        recall_at_10=sum(rank is not None for rank in ranks) / len(ranks),
        mrr=sum(1 / rank for rank in ranks if rank) / len(ranks),
        latency_p50_ms=float(np.percentile(latencies, 50)),
        latency_p95_ms=float(np.percentile(latencies, 95)),
        sheet=_sheet(images, sample, answers),
        seconds=time.perf_counter() - began,
    )


def _sheet(
    images: ImageStore, sample: list[SampledProduct], answers: list[list[PointHit]]
) -> tuple[bytes, str]:
    tiles = []
    for product, hits in list(zip(sample, answers, strict=True))[:SHEET_QUERIES]:
        tiles.append(Tile(None, ("query", product.title)))
        for rank in range(SHEET_RESULTS):
            if rank >= len(hits):
                tiles.append(Tile(None, ()))
                continue
            payload = hits[rank].payload
            picture = images.read(str(payload["image_sha256"]))
            tiles.append(Tile(picture, (str(payload["title"]), f"{hits[rank].score:.3f}")))
    return encode_within(contact_sheet(tiles, columns=1 + SHEET_RESULTS, tile_size=110), 45_000)
