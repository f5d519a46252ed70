"""Checks on points and ids that every adapter makes."""

from collections.abc import Sequence
from uuid import UUID

import numpy as np

from fashion_pipeline.errors import CollectionError
from fashion_pipeline.index.types import Point, Vector


def stacked(points: Sequence[Point], dimension: int, collection: str) -> Vector:
    """The vectors of `points` as one array [n, dimension], float32.

    Raises:
        CollectionError: a vector is missing, has another length, or holds a NaN or infinity.
    """
    rows = np.empty((len(points), dimension), np.float32)
    shape = (dimension,)
    for row, point in enumerate(points):
        vector = point.vector
        if vector is None or np.shape(vector) != shape:
            has = "no vector" if vector is None else f"a vector of shape {np.shape(vector)}"
            raise CollectionError(
                f"point {point.id} has {has}; collection {collection!r} holds vectors of {dimension} numbers"
            )
        rows[row] = vector
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad = points[int(np.argmin(finite))].id
        raise CollectionError(f"point {bad} for collection {collection!r} has a vector with NaN or infinity")
    return rows


def as_uuid(id_: object) -> UUID:
    """The id of a point as a UUID.

    Raises:
        CollectionError: it is a number: the point was not written by this pipeline.
    """
    if isinstance(id_, UUID):
        return id_
    if isinstance(id_, str):
        return UUID(id_)
    raise CollectionError(
        f"the collection holds point {id_!r}, whose id is no UUID: something else writes to it; "
        "give this pipeline a collection of its own"
    )
