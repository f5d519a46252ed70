"""The value types of the index: what a collection is, what goes in, what comes out.

No engine is imported here. Ids are the products' UUIDs; scores are cosine similarities (higher is
nearer) unless a function says otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias
from uuid import UUID

import numpy as np
import numpy.typing as npt

from fashion_pipeline.index.tuning import Tuning

Vector: TypeAlias = npt.NDArray[np.float32]
Payload: TypeAlias = dict[str, Any]
IndexType: TypeAlias = Literal["keyword", "float"]
Strings: TypeAlias = str | Sequence[str] | None

#: The payload field that results are grouped by: variants of one product of one store.
GROUP_FIELD = "item_group_id"

#: Everything that `SearchFilter` can ask for, what results are grouped by, and what reconcile reads by store.
PAYLOAD_INDEXES: Mapping[str, IndexType] = MappingProxyType(
    {
        "store_id": "keyword",
        "brand": "keyword",
        "category": "keyword",
        "category_levels": "keyword",
        "color": "keyword",
        "gender": "keyword",
        "availability": "keyword",
        GROUP_FIELD: "keyword",
        "currency": "keyword",
        "price": "float",
    }
)


@dataclass(frozen=True)
class CollectionSpec:
    """What a collection has to be.

    `dimension`, `distance` and `model_id` are its identity: a collection of the same name that differs
    in one of them is refused. `model_ref` and `pipeline_version` are recorded when it is created.
    `tuning` is applied when it is created and to the live one. `deferred` puts the HNSW index off until
    `VectorStore.settle`, for a collection that is filled before anything serves from it.
    """

    name: str
    model_id: str
    model_ref: str
    pipeline_version: str
    dimension: int = 768
    distance: Literal["cosine"] = "cosine"
    on_disk_payload: bool = True
    payload_indexes: Mapping[str, IndexType] = field(default_factory=lambda: PAYLOAD_INDEXES)
    tuning: Tuning = field(default_factory=Tuning)
    deferred: bool = False


@dataclass(frozen=True)
class CollectionInfo:
    """What a collection is, as its engine tells.

    `status` is `green` when the engine has nothing left to do; `indexed_vectors` is 0 where every search
    is an exact scan. `payload_indexes` maps fields to types and is empty on an engine that has none
    (see `EngineFacts`). `metadata` holds model_id, model_ref, pipeline_version and created_at (ISO 8601).
    """

    name: str
    dimension: int
    distance: str
    on_disk_payload: bool | None
    points: int
    indexed_vectors: int
    status: str
    payload_indexes: Mapping[str, str]
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class EngineFacts:
    """Which facts about storage and search an engine really has; tests assert those and name the others."""

    engine: str
    on_disk_payload: bool
    payload_indexes: bool
    hnsw: bool
    status: bool
    threads: bool
    processes: bool


@dataclass(frozen=True)
class Health:
    """Whether the store answers, in words that `doctor` can print."""

    ok: bool
    engine: str
    version: str
    detail: str


@dataclass(frozen=True, eq=False)
class Point:
    """One product in the index. `vector` ([dimension], float32) is None only when it was not asked for."""

    id: UUID
    vector: Vector | None
    payload: Payload


@dataclass(frozen=True)
class PointHit:
    """One result of a search."""

    id: UUID
    score: float
    payload: Payload


@dataclass(frozen=True, eq=False)
class Taste:
    """What someone likes and does not, as vectors ([dimension], float32): Qdrant's recommend by best score.

    A point scores by its nearest example: positively when that one is liked, negatively when it is not
    (the scores are no cosine similarities).
    """

    like: Sequence[Vector]
    unlike: Sequence[Vector] = ()

    def __post_init__(self) -> None:
        if not self.like and not self.unlike:
            raise ValueError("a taste needs at least one liked or disliked example")


@dataclass(frozen=True)
class IdRange:
    """Ids from `first` to `last`, both included, in the order of their bytes."""

    first: UUID
    last: UUID

    @classmethod
    def part(cls, number: int, of: int) -> "IdRange":
        """Part `number`, from 0, of all ids cut into `of` equal ones. Random ids fall into each alike."""
        return cls(UUID(int=(number << 128) // of), UUID(int=((number + 1 << 128) // of) - 1))


@dataclass(frozen=True)
class SearchFilter:
    """What results must be: every given field holds; a sequence means any of its values.

    Values are compared exactly, as the payload spells them. `category` matches a whole category path or
    one of its levels. Prices are in major units of the product's own currency, both ends included: give
    `currency` with them where stores differ. The two `exclude_` fields leave points or whole groups out.

    Raises:
        ValueError: a sequence is empty, which would match nothing.
    """

    store: Strings = None
    brand: Strings = None
    category: Strings = None
    color: Strings = None
    gender: Strings = None
    availability: Strings = None
    currency: Strings = None
    price_min: float | None = None
    price_max: float | None = None
    exclude_ids: frozenset[UUID] = frozenset()
    exclude_groups: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for key, values in self.matches().items():
            if not values:
                raise ValueError(f"the filter on {key} is an empty list, which matches nothing: leave it out")

    def matches(self) -> dict[str, tuple[str, ...]]:
        """Payload field to the values of which the point must have one."""
        found: dict[str, tuple[str, ...]] = {}
        for name, key in _PAYLOAD_FIELDS.items():
            value: Strings = getattr(self, name)
            if value is not None:
                found[key] = (value,) if isinstance(value, str) else tuple(value)
        return found


#: Field of `SearchFilter` to the payload field that it is matched against.
_PAYLOAD_FIELDS = {
    "store": "store_id",
    "brand": "brand",
    "category": "category_levels",
    "color": "color",
    "gender": "gender",
    "availability": "availability",
    "currency": "currency",
}
