"""What a point says of its product.

The columns are those of `products`. The hash that tells whether two payloads are the same is given with the
row: PostgreSQL computes it from the content hash, so that finding what changed reads no product.
"""

from collections.abc import Mapping
from typing import Any

from fashion_pipeline.index.types import GROUP_FIELD, Payload

#: Part of that hash: raise it when a payload is made differently, and every payload is written once anew.
PAYLOAD_VERSION = "1"

_SEPARATOR = ">"
#: Copied as they are: text or None.
_TEXTS = (
    "store_id",
    "external_id",
    "title",
    "brand",
    "color",
    "gender",
    "currency",
    "availability",
    "image_url",
    "product_url",
    "image_sha256",
    "payload_hash",
)


def payload_for(row: Mapping[str, Any]) -> Payload:
    """The payload of a product's point.

    `row` has the columns of `products` (`id`, `store_id`, `title`, `price`, ...), the picture's
    `image_sha256` and the `payload_hash`; columns that are missing count as null. Prices become floats in
    major units, because Qdrant filters ranges on floats only: for filtering and showing, not for sums. `category` is
    `product_type`; `category_levels` is that path and each of its levels. `item_group_id` is
    `<store_id>/<item_group_id>`, because two stores may number their groups alike, and ends in the
    product's own id where the feed gives no group, so that grouping never lumps those together.

    Raises:
        KeyError: the row has no `id` or `store_id`.
    """
    get = row.get
    payload: Payload = {name: get(name) for name in _TEXTS}
    price, sale_price = get("price"), get("sale_price")
    payload["price"] = None if price is None else float(price)
    payload["sale_price"] = None if sale_price is None else float(sale_price)
    category = get("product_type")
    payload["category"] = category
    payload["category_levels"] = _levels(category) if category else []
    group = get("item_group_id") or str(row["id"])
    payload[GROUP_FIELD] = f"{row['store_id']}/{group}"
    return payload


def _levels(path: str) -> list[str]:
    if _SEPARATOR not in path:
        return [path]
    levels = (level.strip() for level in path.split(_SEPARATOR))
    return list(dict.fromkeys([path, *(level for level in levels if level)]))
