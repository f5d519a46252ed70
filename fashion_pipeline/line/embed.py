"""`image_embeddings`: vectors of the pictures that have none by the serving model."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.images import (
    ask_again,
    embedded_images,
    images_to_embed,
    record_decode_failures,
    record_vectors,
)
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.embeddings.pipeline import embed
from fashion_pipeline.embeddings.report import EmbedFailure, EmbedItem, EmbedReport, PipelineOptions
from fashion_pipeline.embeddings.shards import write_shard
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.embeddings.vectors import EmbeddedBatch
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.line.points import Serving, serving_model_ref
from fashion_pipeline.storage import DataLocation

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class EmbedStageReport:
    """What embedding a store's pictures did, in distinct pictures.

    `entered` may be less than the pipeline's `embedded`, where another store's run was first with a
    shared picture.
    """

    model_id: str
    due: int
    embedded_before: int
    entered: int
    pipeline: EmbedReport | None
    failures: tuple[EmbedFailure, ...]
    seconds: float


def embed_images(
    database: Database,
    data: DataLocation,
    store_id: str,
    *,
    serving: Serving,
    candidate_ref: str,
    load: Callable[[str], Encoder],
    options: PipelineOptions | None = None,
    progress: Progress | None = None,
) -> EmbedStageReport:
    """Embed what a store's active products show and the serving model has not embedded.

    Each batch becomes a shard, then rows of the ledger, so that a crash repeats at most one batch. The
    model is loaded when the first picture is ready, and freed at the end.

    Args:
        serving: the collection behind the alias; its metadata names the model.
        candidate_ref: the model that the settings name; it may be the serving one.
        load: loads a model by its reference.

    Raises:
        ModelError: no folder holds the serving model.
    """
    began = time.perf_counter()
    images = ImageStore(data)
    with database.lock(store_id, "image_embeddings"):
        due = images_to_embed(database, store_id, serving.model_id)
        before = embedded_images(database, store_id, serving.model_id)
        if not due:
            return EmbedStageReport(serving.model_id, 0, before, 0, None, (), time.perf_counter() - began)
        model_ref = serving_model_ref(serving, candidate_ref)
        entered = 0
        failures: list[EmbedFailure] = []
        loaded: list[Encoder] = []

        def load_once() -> Encoder:
            loaded.append(load(model_ref))
            return loaded[0]

        def on_batch(batch: EmbeddedBatch) -> None:
            nonlocal entered
            shard = write_shard(data, batch)
            entered += record_vectors(database, batch.model_id, shard.key, batch.sha256)

        try:
            report = embed(
                [EmbedItem(sha256) for sha256 in due],
                images.read,
                spec=read_spec(model_ref),
                encoder_factory=load_once,
                on_batch=on_batch,
                on_failure=failures.append,
                options=options,
                progress=progress,
            )
        finally:
            for encoder in loaded:
                encoder.close()
            record_decode_failures(
                database, ((each.sha256, each.error) for each in failures if each.permanent)
            )
            ask_again(database, (each.sha256 for each in failures if not each.permanent))
    return EmbedStageReport(
        serving.model_id, len(due), before, entered, report, tuple(failures), time.perf_counter() - began
    )
