"""Rakuten's positions, its HDR and TRL lines, and what its flags ask for."""

import pytest

from fashion_pipeline.errors import FeedError

HDR = "HDR|1237|Shop|09/03/2022 00:02:32\n"


def _row(number: int, flag: str | None = "I", **values: str) -> str:
    cells = {
        "1": str(number), "2": f"Dress {number}", "3": "SKU", "4": "Clothing", "5": "Dresses~~Summer",
        "6": "http://click.example/link?id=x&murl=https%3A%2F%2Fshop.example%2Fp%2F1", "7": "https://x/1.jpg",
        "10": "Long", "13": "20.00", "14": "25.00", "15": "01/31/2026", "16": "02/28/2026", "17": "Acme", "23": "IN",
        "25": "60", "26": "USD", **{name.removeprefix("n"): value for name, value in values.items()},
    }  # fmt: skip
    fixed = [cells.get(str(position), "") for position in range(1, 29)]
    return (
        "|".join([*fixed, "M", "cotton", "red", "Female", "casual", "adult", *([flag] if flag else [])])
        + "\n"
    )


def test_positions(feed) -> None:
    result = feed(HDR + _row(1) + _row(2, None) + "TRL|2\n", "rakuten")
    first, second = result.items
    assert (first["external_id"], first["title"], first["product_type"]) == (
        "1",
        "Dress 1",
        "Clothing > Dresses > Summer",
    )
    assert (first["price"], first["sale_price"], first["currency"]) == ("25.00", "20.00", "USD")
    assert first["sale_price_effective_date"] == "2026-01-31T00:00:00/2026-02-28T00:00:00"
    # The tracking link counts a click; the shop's own address stands in it.
    assert first["product_url"] == "https://shop.example/p/1"
    assert (first["size"], first["material"], first["color"], first["gender"]) == (
        "M",
        "cotton",
        "red",
        "Female",
    )
    assert (first["availability"], first["brand"], first["action"]) == ("in_stock", "Acme", "upsert")
    assert (second["action"], second["age_group"]) == (None, "adult")
    assert result.report.context == {"header": 1, "trailer": 1}
    assert result.places == ["line 2", "line 3"]


def test_attributes_of_other_classes_are_no_sizes(feed) -> None:
    result = feed(HDR + _row(1, n25="10") + "TRL|1\n", "rakuten")
    assert "size" not in result.items[0]


def test_flags_are_actions(feed) -> None:
    result = feed(HDR + _row(1, "I") + _row(2, "U") + _row(3, "D") + "TRL|3|\n", "rakuten", mode="delta")
    assert result.column("action") == ["upsert", "upsert", "delete"]


def test_a_short_record_costs_itself(feed) -> None:
    result = feed(HDR + _row(1) + "2|too|short\n" + _row(3) + "TRL|3\n", "rakuten")
    assert result.column("external_id") == ["1", "3"]
    assert [(b.record, b.place) for b in result.broken] == [(3, "line 3")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HDR + _row(1), "no TRL line after 1 records.*truncated"),
        (HDR + _row(1) + "TRL|2\n", "counts 2 records, but there are 1: truncated"),
        (HDR + _row(1) + "TRL|\n", "counts nothing records"),
        (HDR + _row(1) + "TRL|1\n" + _row(2), "lines behind the TRL line"),
        (_row(1) + "TRL|1\n", "instead of `HDR|`"),
        (HDR + "TRL|0\n", "0 products"),
    ],
)
def test_refused(feed, data: str, words: str) -> None:
    with pytest.raises(FeedError, match=words.replace("|`", r"\|`")):
        feed(data, "rakuten")
