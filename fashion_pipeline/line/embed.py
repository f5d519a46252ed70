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
    record_sizes,
    record_vectors,
)
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.embeddings.pipeline import embed
from fashion_pipeline.embeddings.report import EmbedFailure, EmbedItem, EmbedReport, PipelineOptions
from fashion_pipeline.embeddings.shards import VectorType, write_shard
from fashion_pipeline.embeddings.spec import ModelSpec
from fashion_pipeline.embeddings.vectors import EmbeddedBatch
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.line.points import Serving, serving_model
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
    vector_type: VectorType = "float32",
    progress: Progress | None = None,
    most: int | None = None,
) -> EmbedStageReport:
    """Embed what a store's active products show and the serving model has not embedded.

    Args:
        serving: the collection behind the alias; its metadata names the model.
        candidate_ref: the model that the settings name; it may be the serving one.

    Raises:
        ModelError: no folder holds the serving model.
    """
    return embed_by_model(
        database,
        data,
        store_id,
        model_id=serving.model_id,
        find=lambda: serving_model(serving, candidate_ref),
        load=load,
        options=options,
        vector_type=vector_type,
        progress=progress,
        most=most,
    )


def embed_by_model(
    database: Database,
    data: DataLocation,
    store_id: str,
    *,
    model_id: str,
    find: Callable[[], ModelSpec],
    load: Callable[[str], Encoder],
    options: PipelineOptions | None = None,
    vector_type: VectorType = "float32",
    progress: Progress | None = None,
    most: int | None = None,
) -> EmbedStageReport:
    """Embed what a store's active products show and one model has not embedded.

    Each batch becomes a shard, then rows of the ledger, so that a crash repeats at most one batch. The
    model is loaded when the first picture is ready, and freed at the end.

    Args:
        model_id: its image model id.
        find: where it lies; asked only when something is due.
        load: loads a model by its reference.
        most: pictures that are embedded at most; `due` counts the others too.

    Raises:
        ModelError: `find` does not find it, or what loads is another model.
    """
    began = time.perf_counter()
    images = ImageStore(data)
    # By model: filling a candidate, which takes long, must not keep the line waiting.
    with database.lock(store_id, f"image_embeddings {model_id}"):
        due = images_to_embed(database, store_id, model_id)
        before = embedded_images(database, store_id, model_id)
        if not due:
            return EmbedStageReport(model_id, 0, before, 0, None, (), time.perf_counter() - began)
        spec = find()
        entered = 0
        failures: list[EmbedFailure] = []
        loaded: list[Encoder] = []

        def load_once() -> Encoder:
            loaded.append(load(spec.ref))
            return loaded[0]

        def on_batch(batch: EmbeddedBatch) -> None:
            nonlocal entered
            shard = write_shard(data, batch, dtype=vector_type)
            entered += record_vectors(database, batch.model_id, shard.key, batch.sha256)
            record_sizes(database, zip(batch.sha256, batch.sizes, strict=True))

        try:
            report = embed(
                [EmbedItem(sha256) for sha256 in due[:most]],
                images.read,
                spec=spec,
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
        database.analyze("embeddings", entered)
    return EmbedStageReport(
        model_id, len(due), before, entered, report, tuple(failures), time.perf_counter() - began
    )
