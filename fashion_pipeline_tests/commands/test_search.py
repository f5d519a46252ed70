"""`fashion-pipeline search`: by words, by a product, by a picture; within filters; as table, JSON and sheet."""

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fashion_pipeline_tests.commands.conftest import Said
from fashion_pipeline_tests.small_world import FIRST, SECOND, SmallWorld

Call = Callable[..., Said]


def hits(said: Said) -> list[dict[str, Any]]:
    assert said.code == 0, said.error
    found = json.loads(said.out)
    assert isinstance(found, list)
    assert [hit["score"] for hit in found] == sorted((hit["score"] for hit in found), reverse=True)
    return found


def test_words_find_products(here: SmallWorld, fashion_pipeline: Call) -> None:
    found = hits(fashion_pipeline("search", "a red striped dress", "--json"))
    assert len(found) == 10
    assert "dress" in found[0]["title"]
    ids = {str(row["id"]) for store in ("alpha", "beta") for row in here.products(store).values()}
    assert {hit["id"] for hit in found} <= ids


def test_the_table_shows_what_a_person_needs(here: SmallWorld, fashion_pipeline: Call) -> None:
    hat = here.products("beta")["beta-3"]
    said = fashion_pipeline("search", "--like", here.products()["alpha-3"]["id"], "--limit", 3)
    assert said.code == 0
    for shown in (hat["title"], str(hat["id"]), "13.00 EUR", "1.000", "beta"):
        assert shown in said.out


def test_filters_hold(here: SmallWorld, fashion_pipeline: Call) -> None:
    stores = ("--store", "beta", "--limit", 50)
    found = hits(fashion_pipeline("search", "dress", *stores, "--json"))
    assert len(found) == 12
    assert {hit["store_id"] for hit in found} == {"beta"}
    words = ("--category", "Dress", "--price-min", 11, "--price-max", 16, "--currency", "EUR")
    found = hits(fashion_pipeline("search", "dress", *words, "--json"))
    # Looks repeat every six: of the dresses 0 and 6, one costs 16.
    assert [(hit["title"].split()[-1], hit["price"]) for hit in found] == [("6", 16.0)] * 2
    nothing = fashion_pipeline("search", "dress", "--currency", "USD")
    assert (nothing.code, nothing.out.strip()) == (1, "nothing was found")


def test_the_like_of_a_product_without_itself(here: SmallWorld, fashion_pipeline: Call) -> None:
    rows = here.products()
    mine, same_picture = rows["alpha-0"], here.products("beta")["beta-0"]
    found = hits(fashion_pipeline("search", "--like", mine["id"], "--json"))
    assert str(mine["id"]) not in {hit["id"] for hit in found}
    # The other store has the very picture, and the same look in another pose comes next.
    assert found[0]["id"] == str(same_picture["id"])
    assert found[0]["score"] == pytest.approx(1.0, abs=1e-3)


def test_a_picture_finds_its_products(here: SmallWorld, fashion_pipeline: Call) -> None:
    found = hits(fashion_pipeline("search", "--image", here.pictures / "8.png", "--limit", 2, "--json"))
    assert {hit["title"].split()[-1] for hit in found} == {"8"}
    assert found[0]["score"] == pytest.approx(1.0, abs=2e-3)


def test_a_contact_sheet_is_written(here: SmallWorld, fashion_pipeline: Call) -> None:
    out = here.data / "new" / "sheet.png"
    said = fashion_pipeline("search", "bag", "--out", out, "--limit", 6)
    assert said.code == 0
    assert str(out) in said.out
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 5 * 200 - 1
        colours = sheet.convert("RGB").resize((50, 50)).getcolors(2500)
    assert colours is not None
    assert len(colours) > 20
    # With --json the output stays JSON.
    like = here.products()["alpha-2"]["id"]
    assert hits(fashion_pipeline("search", "--like", like, "--out", out, "--json"))


def test_a_contact_sheet_as_a_page_needs_nothing_beside_it(
    here: SmallWorld, fashion_pipeline: Call, tmp_path: Path
) -> None:
    rows = here.rows("alpha")
    rows[1]["title"] = "Skirt & <3"
    here.feed("alpha", SECOND, rows)
    assert here.run("line", day=SECOND).success
    out = tmp_path / "sheet.html"
    said = fashion_pipeline("search", "blue skirt", "--store", "alpha", "--out", out, "--limit", 12)
    assert said.code == 0, said.error
    page = out.read_text(encoding="utf-8")
    assert page.count('src="data:image/webp;base64,') == 12
    assert "Skirt &amp; &lt;3" in page
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]*\"", page)
    assert "11.00" in page


def test_a_taste_is_a_feed_without_what_it_was_told(here: SmallWorld, fashion_pipeline: Call) -> None:
    ids = {name: str(row["id"]) for name, row in here.products().items()}
    feed = hits(
        fashion_pipeline(
            "search", "--like", ids["alpha-0"], "--like", ids["alpha-1"], "--unlike", ids["alpha-2"], "--json"
        )
    )
    assert feed
    assert not {hit["id"] for hit in feed} & {ids[f"alpha-{number}"] for number in range(3)}
    narrow = hits(
        fashion_pipeline("search", "dress", "--availability", "in_stock", "--store", "beta", "--json")
    )
    assert {hit["store_id"] for hit in narrow} == {"beta"}
    assert fashion_pipeline("search", "dress", "--brand", "Nobody").code == 1


def test_titles_are_shown_as_they_are(here: SmallWorld, fashion_pipeline: Call) -> None:
    """Brackets in a feed's text are no markup of the terminal's."""
    rows = here.rows("alpha")
    for row, title in zip(rows, ("Hat [new]", "Hat [/sale]", "Hat [red]alert"), strict=False):
        row["title"] = title
    here.feed("alpha", SECOND, rows)
    assert here.run("line", day=SECOND).success
    said = fashion_pipeline("search", "hat", "--store", "alpha", "--limit", 12)
    assert said.code == 0
    for title in ("Hat [new]", "Hat [/sale]", "Hat [red]alert"):
        assert title in said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--like"),
        (("dress", "--like", str(uuid.uuid4())), "give one of"),
        (("--like", "alpha-1"), "UUID"),
        (("--like", str(uuid.uuid4())), "not in the index"),
        (("--image", "none.png"), "none.png"),
        (("--image", "text.png"), "text.png"),
    ],
    ids=["nothing", "two", "no id", "unknown", "no file", "no picture"],
)
def test_what_cannot_be_searched_is_one_line(
    here: SmallWorld, fashion_pipeline: Call, silent: Any, words: tuple[str, ...], said: str
) -> None:
    (silent / "text.png").write_text("this is no picture")
    told = fashion_pipeline("search", *words)
    assert told.code == 1
    assert said in told.error
    assert "Traceback" not in told.error
    assert len(told.error.strip().splitlines()) == 1


def test_a_world_without_a_collection_says_what_to_do(
    here: SmallWorld, fashion_pipeline: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASHION_PIPELINE_ALIAS", "another")
    told = fashion_pipeline("search", "dress")
    assert told.code == 1
    assert "'another'" in told.error
    assert "qdrant_collection" in told.error


def test_rejected_items_are_shown(here: SmallWorld, fashion_pipeline: Call) -> None:
    rows = [
        *here.rows("alpha"),
        here.row("alpha", 12, price=""),
        here.row("alpha", 13, title="[/b] ", price="-4 EUR"),
    ]
    here.feed("alpha", SECOND, rows)
    assert here.run("line", day=SECOND).success
    said = fashion_pipeline("rejected", "--store", "alpha", "--day", SECOND)
    assert said.code == 0
    for shown in ("alpha-12", "price_missing", "alpha-13", "price_negative", "[/b]", "14"):
        assert shown in said.out
    one = fashion_pipeline("rejected", "--store", "alpha", "--day", SECOND, "--reason", "price_missing")
    assert "alpha-12" in one.out
    assert "alpha-13" not in one.out
    none = fashion_pipeline("rejected", "--store", "alpha", "--day", FIRST)
    assert (none.code, none.out.strip()) == (0, f"no rejected item of store alpha on {FIRST}")
    assert fashion_pipeline("rejected", "--store", "alpha", "--day", "yesterday").code == 2
    wrong = fashion_pipeline("rejected", "--store", "alpha", "--day", SECOND, "--reason", "price_mising")
    assert (wrong.code, "price_missing" in wrong.error) == (1, True)
    absent = fashion_pipeline("rejected", "--store", "alpha", "--day", "2020-01-01")
    assert (absent.code, "no feed was captured" in absent.error) == (1, True)


def test_a_day_is_given_up_with_a_reason(here: SmallWorld, fashion_pipeline: Call) -> None:
    here.feed("alpha", SECOND, [])
    assert not here.run("line", day=SECOND).success
    said = fashion_pipeline("feeds", "skip", "--store", "alpha", "--day", SECOND, "--reason", "lost")
    assert (said.code, "1 snapshot given up (lost)" in said.out) == (0, True)
    (row,) = here.table("SELECT outcome, skipped_reason FROM feed_snapshots WHERE day = :day", day=SECOND)
    assert (row["outcome"], row["skipped_reason"]) == ("skipped", "lost")
    again = fashion_pipeline("feeds", "skip", "--store", "alpha", "--day", SECOND, "--reason", "lost")
    assert (again.code, "is skipped already" in again.error) == (1, True)
