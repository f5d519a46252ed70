import uuid
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_pipeline.index.payload import payload_for
from fashion_pipeline.index.types import PAYLOAD_INDEXES
from fashion_pipeline_tests.index.making import id_of, row_of


def test_what_a_payload_says() -> None:
    row = row_of(
        7, item_group_id="G 1", sale_price=Decimal("5.2500"), product_type="Apparel > Women > Dresses"
    )
    payload = payload_for(row)
    assert payload.pop("payload_hash") == row["payload_hash"]
    assert payload == {
        "store_id": "store-1",
        "external_id": "SKU 7",
        "title": "Robe d'été n° 7 夏のドレス 👗",
        "brand": "Brand 3",
        "color": "red",
        "gender": "female",
        "currency": "EUR",
        "availability": "in_stock",
        "image_url": "https://example.com/7.jpg",
        "product_url": "https://example.com/7",
        "image_sha256": f"{7:064x}",
        "price": 7.5,
        "sale_price": 5.25,
        "category": "Apparel > Women > Dresses",
        "category_levels": ["Apparel > Women > Dresses", "Apparel", "Women", "Dresses"],
        "item_group_id": "store-1/G 1",
    }
    assert set(PAYLOAD_INDEXES) <= set(payload)


def test_a_product_without_a_group_is_its_own() -> None:
    assert payload_for(row_of(7))["item_group_id"] == f"store-1/{id_of(7)}"
    assert payload_for(row_of(7, item_group_id=""))["item_group_id"] == f"store-1/{id_of(7)}"


def test_only_store_and_id_are_needed() -> None:
    payload = payload_for({"id": id_of(1), "store_id": "s"})
    assert payload["price"] is None
    assert payload["category"] is None
    assert payload["category_levels"] == []
    with pytest.raises(KeyError):
        payload_for({"id": id_of(1)})


def test_a_price_is_the_same_number_however_it_is_spelled() -> None:
    one = payload_for(row_of(1, price=Decimal("10")))
    for price in (Decimal("10.0000"), Decimal("1E+1"), 10, 10.0):
        assert payload_for(row_of(1, price=price))["price"] == one["price"] == 10.0


@pytest.mark.parametrize("column", [key for key in row_of(1) if key not in {"id", "payload_hash"}])
def test_every_column_counts(column: str) -> None:
    changed = Decimal("99.99") if "price" in column else "changed"
    before, after = payload_for(row_of(1)), payload_for(row_of(1, **{column: changed}))
    assert {**before, "payload_hash": ""} != {**after, "payload_hash": ""}


TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ROWS = st.fixed_dictionaries(
    {
        "id": st.just(uuid.UUID(int=1)),
        "store_id": st.sampled_from(["a", "b"]),
        "title": TEXTS,
        "brand": TEXTS,
        "product_type": TEXTS,
        "item_group_id": TEXTS,
        "price": st.none() | st.decimals(0, 10, places=4),
    }
)


@given(ROWS)
def test_a_payload_survives_json(row: dict[str, object]) -> None:
    payload = payload_for(row)
    assert orjson.loads(orjson.dumps(payload)) == payload
