"""Collections: their names, what makes two of them the same, and the one that serves.

The alias says which collection serves; that collection's metadata says which model it was made with.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from fashion_pipeline.errors import CollectionError
from fashion_pipeline.index.types import CollectionSpec

#: Also a folder name in the embedded store, so no separators and no leading dot.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: What follows the model in a name: the number of shards, the revision.
_SHAPE = r"(-s\d+)?(-r\d+)?"


def check_name(name: str) -> str:
    """Return `name` when it can name a collection or an alias in every store.

    Raises:
        CollectionError: it is anything else.
    """
    if not _NAME.fullmatch(name):
        raise CollectionError(
            f"collection or alias name {name!r}: use 1 to 128 letters, digits, '.', '_' or '-', "
            "starting with a letter or digit"
        )
    return name


def collection_name(alias: str, model_id: str, shards: int | None = None, revision: int = 1) -> str:
    """The collection of a model and shape behind `alias`, so that a new one can fill beside the old.

    `revision` counts collections that were rebuilt for one model and shape.
    """
    shape = f"-s{shards}" if shards is not None else ""
    return check_name(f"{alias}-{model_id}{shape}" + (f"-r{revision}" if revision > 1 else ""))


def revision_of(name: str, alias: str, model_id: str, shards: int | None) -> int | None:
    """Which revision of that model and shape a collection is; None when it is another's."""
    base = collection_name(alias, model_id, shards)
    if name == base:
        return 1
    found = re.fullmatch(re.escape(base) + r"-r(\d+)", name)
    return int(found[1]) if found else None


def belongs_to(name: str, alias: str, model_id: str) -> bool:
    """Whether a collection of `model_id` was made for `alias`, whatever its shape and revision."""
    return re.fullmatch(re.escape(f"{alias}-{model_id}") + _SHAPE, name) is not None


def is_of_model(name: str, model_id: str) -> bool:
    """Whether the vectors of a collection are of `model_id`, whatever its alias, shape and revision."""
    return re.fullmatch(".+-" + re.escape(model_id) + _SHAPE, name) is not None


def metadata_of(spec: CollectionSpec) -> dict[str, str]:
    """What a new collection remembers of itself."""
    return {
        "model_id": spec.model_id,
        "model_ref": spec.model_ref,
        "pipeline_version": spec.pipeline_version,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def check_same(
    spec: CollectionSpec, *, dimension: int, distance: str, metadata: Mapping[str, str], where: str
) -> None:
    """Check that an existing collection is the one that `spec` asks for.

    Raises:
        CollectionError: size, distance or model differ; the message names each.
    """
    pairs = {
        "dimension": (dimension, spec.dimension),
        "distance": (distance, spec.distance),
        "model": (metadata.get("model_id", "not recorded"), spec.model_id),
    }
    different = [f"{what} is {is_}, wanted {want}" for what, (is_, want) in pairs.items() if is_ != want]
    if different:
        raise CollectionError(
            f"collection {spec.name!r} in {where} is another one: {'; '.join(different)}. Use another "
            "collection name for the new shape or model and move the alias when it is complete, or drop "
            "this collection if nothing serves from it"
        )


def check_unserved(name: str, aliases: Mapping[str, str], where: str) -> None:
    """Check that a collection may be dropped.

    Raises:
        CollectionError: `name` is an alias, or one points to it.
    """
    pointing = sorted(alias for alias, target in aliases.items() if name in (alias, target))
    if pointing:
        raise CollectionError(
            f"{name!r} in {where} serves as the alias {', '.join(pointing)}: move the alias, then drop it"
        )
