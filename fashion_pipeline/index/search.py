"""Search: what the command line and a ranking service call.

Each function takes the serving alias (or a collection) and returns at most `limit` hits, best first, one per
`item_group_id` unless `group` is off: the variants of a product share pictures and would fill the results.
Vectors come from the encoder of the model that the collection's metadata names.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol
from uuid import UUID

import numpy as np

from fashion_pipeline.errors import PermanentError
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import GROUP_FIELD, Point, PointHit, SearchFilter, Taste, Vector


class AsyncQuery(Protocol):
    """A store that also answers without blocking an event loop: `server.ServerStore`."""

    async def query_async(
        self,
        name: str,
        query: Vector | Taste,
        *,
        limit: int,
        filter: SearchFilter | None = None,
        group_by: str | None = None,
        fields: Sequence[str] | None = None,
        exact: bool = False,
    ) -> list[PointHit]:
        """As `VectorStore.query`."""

    async def retrieve_async(
        self,
        name: str,
        ids: Sequence[UUID],
        *,
        with_vectors: bool = False,
        fields: Sequence[str] | None = None,
    ) -> dict[UUID, Point]:
        """As `VectorStore.retrieve`."""


def search(
    store: VectorStore,
    alias: str,
    vector: Vector,
    *,
    filter: SearchFilter | None = None,
    limit: int = 10,
    group: bool = True,
    fields: Sequence[str] | None = None,
    exact: bool = False,
) -> list[PointHit]:
    """The products nearest to `vector` ([dimension], from a text or a picture); scores are cosines.

    `fields` limits the payload of the hits; `exact` scans instead of using an HNSW index.

    Raises:
        ValueError: `limit` is below 1, or the vector is not one-dimensional and finite.
        CollectionError: the alias leads nowhere, or the vector has another dimension than the collection.
        TransientError: the store did not answer in time.
    """
    return store.query(
        alias,
        _checked(vector, limit),
        limit=limit,
        filter=filter,
        group_by=GROUP_FIELD if group else None,
        fields=fields,
        exact=exact,
    )


async def search_async(
    store: AsyncQuery,
    alias: str,
    vector: Vector,
    *,
    filter: SearchFilter | None = None,
    limit: int = 10,
    group: bool = True,
    fields: Sequence[str] | None = None,
    exact: bool = False,
) -> list[PointHit]:
    """`search` for an event loop, on a server."""
    return await store.query_async(
        alias,
        _checked(vector, limit),
        limit=limit,
        filter=filter,
        group_by=GROUP_FIELD if group else None,
        fields=fields,
        exact=exact,
    )


def search_like(
    store: VectorStore,
    alias: str,
    product_id: UUID,
    *,
    filter: SearchFilter | None = None,
    limit: int = 10,
    group: bool = True,
    fields: Sequence[str] | None = None,
) -> list[PointHit]:
    """The products whose pictures are nearest to that of a product; not itself, nor a variant of it.

    With `group` off its variants may be found.

    Raises:
        PermanentError: the product is not in the index.
    """
    with store.session(alias, "searching"):
        example, narrowed = _like(_examples(store, alias, [product_id]), alias, product_id, filter, group)
        return search(store, alias, example, filter=narrowed, limit=limit, group=group, fields=fields)


async def search_like_async(
    store: AsyncQuery,
    alias: str,
    product_id: UUID,
    *,
    filter: SearchFilter | None = None,
    limit: int = 10,
    group: bool = True,
    fields: Sequence[str] | None = None,
) -> list[PointHit]:
    """`search_like` for an event loop, on a server."""
    found = await store.retrieve_async(alias, [product_id], with_vectors=True, fields=(GROUP_FIELD,))
    example, narrowed = _like(found, alias, product_id, filter, group)
    return await search_async(store, alias, example, filter=narrowed, limit=limit, group=group, fields=fields)


def recommend(
    store: VectorStore,
    alias: str,
    *,
    like: Sequence[UUID],
    unlike: Sequence[UUID] = (),
    filter: SearchFilter | None = None,
    limit: int = 10,
    group: bool = True,
    fields: Sequence[str] | None = None,
) -> list[PointHit]:
    """A feed for a taste: products near liked ones and away from disliked ones, none of those themselves.

    Products that left the index since they were liked are passed over. Scores are Qdrant's best-score
    ones, comparable within one answer only.

    Raises:
        PermanentError: none of the products is in the index.
    """
    with store.session(alias, "searching"):
        taste, narrowed = _taste(
            _examples(store, alias, [*like, *unlike]), alias, like, unlike, filter, group
        )
        return store.query(
            alias,
            taste,
            limit=limit,
            filter=narrowed,
            group_by=GROUP_FIELD if group else None,
            fields=fields,
        )


async def recommend_async(
    store: AsyncQuery,
    alias: str,
    *,
    like: Sequence[UUID],
    unlike: Sequence[UUID] = (),
    filter: SearchFilter | None = None,
    limit: int = 10,
    group: bool = True,
    fields: Sequence[str] | None = None,
) -> list[PointHit]:
    """`recommend` for an event loop, on a server."""
    found = await store.retrieve_async(alias, [*like, *unlike], with_vectors=True, fields=(GROUP_FIELD,))
    taste, narrowed = _taste(found, alias, like, unlike, filter, group)
    return await store.query_async(
        alias,
        taste,
        limit=limit,
        filter=narrowed,
        group_by=GROUP_FIELD if group else None,
        fields=fields,
    )


def _like(
    found: dict[UUID, Point], alias: str, product_id: UUID, asked: SearchFilter | None, group: bool
) -> tuple[Vector, SearchFilter]:
    example = found.get(product_id)
    if example is None or example.vector is None:
        raise PermanentError(
            f"product {product_id} is not in the index behind {alias!r}: it is delisted, has no picture, "
            "or its store was not brought up to date yet"
        )
    return example.vector, _without([example], asked, group=group)


def _taste(
    found: dict[UUID, Point],
    alias: str,
    like: Sequence[UUID],
    unlike: Sequence[UUID],
    asked: SearchFilter | None,
    group: bool,
) -> tuple[Taste, SearchFilter]:
    if not found:
        raise PermanentError(
            f"none of the {len(like) + len(unlike)} liked and disliked products is in the index behind {alias!r}"
        )
    taste = Taste(like=_vectors(found, like), unlike=_vectors(found, unlike))
    return taste, _without(list(found.values()), asked, group=group)


def _examples(store: VectorStore, alias: str, ids: Sequence[UUID]) -> dict[UUID, Point]:
    return store.retrieve(alias, ids, with_vectors=True, fields=(GROUP_FIELD,))


def _vectors(found: dict[UUID, Point], ids: Sequence[UUID]) -> list[Vector]:
    points = (found[id_] for id_ in ids if id_ in found)
    return [point.vector for point in points if point.vector is not None]


def _without(examples: Sequence[Point], asked: SearchFilter | None, *, group: bool) -> SearchFilter:
    asked = asked or SearchFilter()
    ids = asked.exclude_ids | {point.id for point in examples}
    groups = asked.exclude_groups
    if group:
        groups |= {point.payload[GROUP_FIELD] for point in examples if point.payload.get(GROUP_FIELD)}
    return replace(asked, exclude_ids=ids, exclude_groups=groups)


def _checked(vector: Vector, limit: int) -> Vector:
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")
    checked = np.asarray(vector, np.float32)
    if checked.ndim != 1 or not np.isfinite(checked).all():
        raise ValueError(f"a search takes one finite vector [dimension], not one of shape {checked.shape}")
    return checked
