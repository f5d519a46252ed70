"""`fashion-pipeline embeddings verify | compact | collect`: upkeep of the stored vectors."""

from datetime import timedelta

from fashion_pipeline import parts
from fashion_pipeline.embeddings.encoder import load_encoder
from fashion_pipeline.embeddings.spec import ModelSpec, read_spec
from fashion_pipeline.line.points import serving_collection, serving_model
from fashion_pipeline.line.shards import collect_shards, compact_shards, verify_vectors
from fashion_pipeline.settings import Settings

_SHOWN = 10


def run_verify(
    settings: Settings, *, sample: int, seed: int, candidate: bool, repair: bool, repair_many: bool
) -> int:
    """Embed a sample anew in fp32 and compare; 1 where a vector differs or cannot be read."""
    report = verify_vectors(
        parts.open_database(settings),
        parts.open_data(settings),
        read_spec(settings.model_ref) if candidate else _serving(settings),
        load=lambda ref: load_encoder(ref, device=settings.device, precision="fp32"),
        sample=sample,
        seed=seed,
        repair=repair,
        repair_many=repair_many,
    )
    print(
        f"{report.model_id}: {report.compared} of {report.sampled} vectors embedded anew; "
        f"cosine to the stored ones: worst {report.worst_cosine:.6f}, mean {report.mean_cosine:.6f}"
    )
    for sha256, cosine in report.differing[:_SHOWN]:
        print(f"  differs: {sha256} cosine {cosine:.6f}")
    for sha256, reason in report.unreadable[:_SHOWN]:
        print(f"  cannot be read: {sha256} {reason}")
    if report.forgotten:
        print(f"{report.forgotten} vectors are forgotten: the next runs of the line embed them anew")
    elif not report.right:
        print("run again with --repair to have the wrong vectors embedded anew by the next runs of the line")
    return 0 if report.right else 1


def run_compact(settings: Settings, *, rows: int) -> int:
    """Merge small shards."""
    report = compact_shards(parts.open_database(settings), parts.open_data(settings), rows=rows)
    print(
        f"{report.shards_before} shards: {report.merged} merged into {report.written}, {report.vectors} vectors; "
        "the old files go with `fashion-pipeline embeddings collect --remove`, a day from now"
        if report.written
        else f"{report.shards_before} shards: nothing to merge"
    )
    return 0


def run_collect(settings: Settings, *, hours: float, remove: bool) -> int:
    """Tell of shard files that no row names, and remove old ones where told."""
    report = collect_shards(
        parts.open_database(settings), parts.open_data(settings), age=timedelta(hours=hours), remove=remove
    )
    print(
        f"{report.files} shard files, {report.unreferenced} that no row names, {report.due} of them old enough"
    )
    if report.removed:
        print(f"{report.removed} removed, {report.removed_bytes / 1e6:.1f} MB")
    elif report.due:
        print("run again with --remove to remove them")
    return 0


def _serving(settings: Settings) -> ModelSpec:
    vectors = parts.open_vectors(settings)
    return serving_model(serving_collection(vectors, settings.alias), settings.model_ref)
