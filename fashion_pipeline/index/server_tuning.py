"""What is tuned, in the words of `qdrant_client`: at creation, and as changes of a live collection."""

from typing import Any

from qdrant_client import models

from fashion_pipeline.errors import CollectionError
from fashion_pipeline.index.tuning import DEFAULT_HNSW_M, Tuning


def creation_arguments(tuning: Tuning, *, deferred: bool) -> dict[str, Any]:
    """Keyword arguments of `create_collection` besides vectors and metadata.

    `deferred` puts the HNSW graph off by `m=0`, which costs no memory while a collection is loaded; `changes`
    turns it on.
    """
    return {
        "hnsw_config": models.HnswConfigDiff(
            m=0 if deferred else tuning.hnsw_m,
            ef_construct=tuning.hnsw_ef_construct,
            on_disk=tuning.hnsw_on_disk,
        ),
        "quantization_config": _quantization(tuning) if tuning.quantized else None,
        "shard_number": tuning.shards,
        "replication_factor": tuning.replicas,
        "write_consistency_factor": tuning.write_consistency,
    }


def changes(info: models.CollectionInfo, tuning: Tuning, *, name: str, keep_deferred: bool) -> dict[str, Any]:
    """Keyword arguments of `update_collection` that make a live collection what `tuning` says; {} where it is.

    Raises:
        CollectionError: the number of shards differs, which cannot be changed in place.
    """
    params = info.config.params
    vectors = params.vectors
    if tuning.shards is not None and params.shard_number not in (None, tuning.shards):
        raise CollectionError(
            f"collection {name!r} has {params.shard_number} shards and QDRANT_TUNING says {tuning.shards}: "
            "a collection keeps its number of shards. Fill one of the new shape beside it with `fashion-pipeline "
            "index fill` and promote it, or set shards back"
        )
    found: dict[str, Any] = {}
    hnsw = _differing(
        info.config.hnsw_config,
        m=_wanted_m(info, tuning, keep_deferred=keep_deferred),
        ef_construct=tuning.hnsw_ef_construct,
        on_disk=tuning.hnsw_on_disk,
    )
    if hnsw:
        found["hnsw_config"] = models.HnswConfigDiff(**hnsw)
    if isinstance(vectors, models.VectorParams) and tuning.on_disk_vectors not in (
        None,
        bool(vectors.on_disk),
    ):
        # The one vector of a collection without named ones goes by the empty name.
        found["vectors_config"] = {"": models.VectorParamsDiff(on_disk=tuning.on_disk_vectors)}
    if tuning.quantization is not None and not _same_quantization(info.config.quantization_config, tuning):
        found["quantization_config"] = _quantization(tuning) if tuning.quantized else models.Disabled.DISABLED
    cluster = _differing(
        params, replication_factor=tuning.replicas, write_consistency_factor=tuning.write_consistency
    )
    if cluster:
        found["collection_params"] = models.CollectionParamsDiff(**cluster)
    return found


def search_params(tuning: Tuning, *, exact: bool) -> models.SearchParams | None:
    """How a search goes; None leaves everything to the server."""
    if exact:
        return models.SearchParams(exact=True)
    if not tuning.quantized and tuning.hnsw_ef is None:
        return None
    rescoring = models.QuantizationSearchParams(rescore=tuning.rescore, oversampling=tuning.oversampling)
    return models.SearchParams(hnsw_ef=tuning.hnsw_ef, quantization=rescoring if tuning.quantized else None)


def _wanted_m(info: models.CollectionInfo, tuning: Tuning, *, keep_deferred: bool) -> int | None:
    if info.config.hnsw_config.m == 0:
        return None if keep_deferred else tuning.hnsw_m or DEFAULT_HNSW_M
    return tuning.hnsw_m


def _differing(live: Any, **wanted: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in wanted.items()
        if value is not None and value != (getattr(live, name) or type(value)())
    }


def _quantization(tuning: Tuning) -> models.ScalarQuantization | models.BinaryQuantization:
    in_ram = True if tuning.quantized_in_ram is None else tuning.quantized_in_ram
    if tuning.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=in_ram))
    scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=in_ram)
    return models.ScalarQuantization(scalar=scalar)


def _same_quantization(live: Any, tuning: Tuning) -> bool:
    if not tuning.quantized:
        return live is None
    wanted = _quantization(tuning)
    if type(live) is not type(wanted):
        return False
    have = live.scalar if isinstance(live, models.ScalarQuantization) else live.binary
    want = wanted.scalar if isinstance(wanted, models.ScalarQuantization) else wanted.binary
    return bool(have.always_ram) == bool(want.always_ram)
