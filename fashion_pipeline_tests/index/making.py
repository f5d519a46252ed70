"""Points, vectors and collections for the tests of the index."""

import hashlib
import uuid
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

from fashion_pipeline.index.payload import payload_for
from fashion_pipeline.index.types import CollectionSpec, IndexType, Point, Vector

DIMENSION = 768
#: Creating an index takes the embedded engine 0.1 s; most tests need none at all.
FEW_INDEXES: dict[str, IndexType] = {"store_id": "keyword", "item_group_id": "keyword", "price": "float"}


def spec(name: str, **changes: Any) -> CollectionSpec:
    wanted: dict[str, Any] = {
        "model_id": "demo-0123456789ab",
        "model_ref": "local-dir:demo",
        "pipeline_version": "0.1.0",
        "payload_indexes": FEW_INDEXES,
    }
    return CollectionSpec(name=name, **{**wanted, **changes})


def id_of(number: int) -> UUID:
    """A version 4 id whose order is not that of `number`."""
    return uuid.UUID(bytes=np.random.default_rng(number).bytes(16), version=4)


def vector_of(number: int) -> Vector:
    found = np.random.default_rng(10_000 + number).standard_normal(DIMENSION).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found), np.float32)


def near(base: Vector, distance: float, seed: int = 0) -> Vector:
    """A vector at an angle that grows with `distance`."""
    noise = vector_of(seed + 500_000)
    found = base + np.float32(distance) * (noise - base * np.dot(noise, base))
    return np.asarray(found / np.linalg.norm(found), np.float32)


def row_of(number: int, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": id_of(number),
        "store_id": f"store-{number % 3}",
        "external_id": f"SKU {number}",
        "title": f"Robe d'été n° {number} 夏のドレス 👗",
        "brand": f"Brand {number % 4}",
        "product_type": "Apparel > Dresses",
        "color": "red",
        "gender": "female",
        "price": Decimal(number) + Decimal("0.50"),
        "currency": "EUR",
        "sale_price": None,
        "availability": "in_stock",
        "item_group_id": None,
        "image_url": f"https://example.com/{number}.jpg",
        "product_url": f"https://example.com/{number}",
        "image_sha256": f"{number:064x}",
    }
    row = {**row, **changes}
    content = repr(sorted((key, str(value)) for key, value in row.items()))
    return {"payload_hash": hashlib.md5(content.encode()).hexdigest(), **row}


def point(number: int, vector: Vector | None = None, **changes: Any) -> Point:
    vector = vector_of(number) if vector is None else vector
    return Point(id_of(number), vector, payload_for(row_of(number, **changes)))


def points(count: int, start: int = 0, **changes: Any) -> list[Point]:
    return [point(number, **changes) for number in range(start, start + count)]
