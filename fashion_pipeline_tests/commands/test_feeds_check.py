"""`feeds check`: the profile of each real feed, and what a person is told of others."""

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from fashion_pipeline.cli import app
from fashion_pipeline.commands.feeds_check import CheckRequest, Profile, entry, profile_feed
from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.config import load_feeds
from fashion_pipeline_tests.feeds.conftest import real_feed


def _profile(folder: Path, path: Path, **known: Any) -> Profile:
    return profile_feed(path, CheckRequest(str(path), **known), folder)


@pytest.mark.parametrize(
    ("name", "known", "format_name", "records", "clean", "rejected"),
    [
        ("gmc_rss_hardlife.xml", {}, "google_xml", 200, 200, {}),
        ("gmc_tsv_lake_erie.tsv", {}, "google_tsv", 160, 160, {}),
        ("shopify_products_kith.json", {"currency": "USD"}, "shopify_json", 30, 131, {}),
        ("shopify_export_apparel.csv", {"currency": "CAD"}, "shopify_csv", 22, 22, {}),
        ("awin_lululemon.csv", {}, "awin", 10, 10, {}),
        ("awin_lululemon.csv.gz", {}, "awin", 10, 10, {}),
        ("woocommerce_export_sample.csv", {"currency": "USD"}, "woocommerce_csv", 24, 21, {}),
        ("woo_store_api_marilynhellman.json", {}, "woocommerce_store", 3, 3, {}),
        ("jsonld_decathlon_productgroup.html", {}, "jsonld", 1, 2, {}),
        ("jsonld_adidas_eg.html", {}, "jsonld", 1, 1, {}),
        # Meta's names are Google's: both mappings read this file alike.
        ("meta_catalog_bath_ec_t1.csv", {}, "google_csv", 199, 199, {}),
        ("meta_catalog_bath_ec_t2.csv", {"format": "meta_csv"}, "meta_csv", 187, 187, {}),
        ("livostyle_products.parquet", {}, "parquet", 2766, 2672, {"price_range": 94}),
        (
            "jsonl_google_merch_store.jsonl",
            {},
            "google_retail",
            200,
            194,
            {"price_zero": 4, "id_conflict": 2},
        ),
    ],
)
def test_profiles_of_real_feeds(
    tmp_path: Path,
    name: str,
    known: dict[str, str],
    format_name: str,
    records: int,
    clean: int,
    rejected: dict[str, int],
) -> None:
    profile = _profile(tmp_path, real_feed(name), **known)
    assert profile.store.format == format_name
    assert (profile.clean.records, profile.clean.clean) == (records, clean)
    assert profile.clean.reasons == rejected
    assert profile.refused_by == ()
    assert len(profile.samples) == min(clean, 10)
    assert profile.used["external_id"]
    # The entry can be pasted: it loads, and says the same store.
    pasted = tmp_path / "feeds.yaml"
    lines = entry(profile).replace("\n", "\n  ")
    pasted.write_text(f"first_day: 2026-11-02\nstores:\n  {lines}", encoding="utf-8")
    store = load_feeds(pasted, environ={}).stores[0]
    assert (store.format, store.mapping, store.currency) == (
        format_name, profile.store.mapping, profile.store.currency,
    )  # fmt: skip


def test_places_of_what_is_rejected_and_warned_of(tmp_path: Path) -> None:
    profile = _profile(tmp_path, real_feed("jsonl_google_merch_store.jsonl"))
    assert profile.places["price_zero"] == ["line 14", "line 167", "line 177"]
    assert profile.places["id_conflict"] == ["line 195", "line 196"]
    assert profile.used["price"] if "price" in profile.used else profile.used["current_price"]
    bath = _profile(tmp_path, real_feed("meta_catalog_bath_ec_t1.csv"))
    assert bath.places["image_missing"] == ["line 187", "line 188", "line 189"]
    assert bath.places["gtin_invalid"] == ["line 18"]


def test_the_cut_sample_of_rakuten_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="no TRL line after 1 records: the transfer was cut"):
        _profile(tmp_path, real_feed("rakuten_vendor_doc_sample.txt"))


def test_a_feed_of_no_known_kind_gets_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "My Shop.csv.gz"
    rows = "Artikelnummer;Bezeichnung;Preis;Bild;Marke;Lager\n1;Kleid;49,90;https://x/1.jpg;Acme;3\n"
    path.write_bytes(gzip.compress(rows.encode()))
    profile = _profile(tmp_path, path, currency="EUR", base_url="https://shop.example")
    assert (profile.store.format, profile.clean.clean) == ("delimited", 1)
    assert profile.samples[0]["title"] == "Kleid"
    assert profile.unused == ("Lager",)
    told = yaml.safe_load(entry(profile))[0]
    assert (told["id"], told["currency"], told["base_url"]) == ("my-shop", "EUR", "https://shop.example")
    assert told["mapping"]["fields"]["price"] == ["preis"]


def test_printed_for_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_PIPELINE_PROFILE", "embedded")
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "feed.csv"
    path.write_text(
        "id,title,price,image_link,link,availability\n"
        "1,[red]Dress[/red],10.00 EUR,https://x.example/1.jpg,https://x.example/1,in stock\n"
        "2,Coat,0,,https://x.example/2,in stock\n"
        "3,Hat,5 EUR,,https://x.example/3,in stock\n",
        encoding="utf-8",
    )
    result = CliRunner().invoke(app, ["feeds", "check", str(path)])
    assert result.exit_code == 1, result.output
    for words in (
        "format    google_csv",
        "encoding  utf-8",
        "3 with items",
        "2 clean, 1 rejected",
        "[red]Dress[/red]",
        "rejected: price_zero",
        "warning: image_missing",
        "line 4",
        "the line would refuse this feed",
        "format: google_csv",
    ):
        assert words in result.output, result.output


def test_what_the_items_give_is_told_where_no_row_is_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "id,title,price,image_link,link,color\n" + "".join(
        f"{n},Dress {n},10.00,https://x.example/{n}.jpg,https://x.example/{n},{'red' if n % 4 else ' '}\n"
        for n in range(8)
    )
    unpriced = _checked(monkeypatch, tmp_path / "feed.csv", text)
    assert unpriced.exit_code == 1
    assert "8 rejected" in unpriced.output
    for column, given in (("title", "100%"), ("price", "100%"), ("color", "75%")):
        assert re.search(rf"{column} .* {given} .* no row", unpriced.output), unpriced.output
    priced = _checked(monkeypatch, tmp_path / "feed.csv", text, "--currency", "EUR")
    assert re.search(r"color .* 75% .* 75%", priced.output), priced.output


def test_nothing_is_folded_where_no_terminal_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("folder-" * 20) / "feed.csv"
    path.parent.mkdir()
    title = "A coat whose title is rather long " + "x" * 20
    row = f"1,{title},10.00 EUR,https://x.example/{'p' * 36}.jpg,https://x.example/1,Brand of a long name,Nachtblau\n"
    result = _checked(monkeypatch, path, "id,title,price,image_link,link,brand,color\n" + row, columns="80")
    sample = next(line for line in result.output.splitlines() if title in line)
    for words in ("10.00 EUR", "Brand of a long name", "navy", "p" * 36 + ".jpg"):
        assert words in sample, sample
    assert f"location: {path}" in result.output


def _checked(
    monkeypatch: pytest.MonkeyPatch, path: Path, text: str, *options: str, columns: str = "160"
) -> Result:
    monkeypatch.setenv("FASHION_PIPELINE_PROFILE", "embedded")
    monkeypatch.setenv("COLUMNS", columns)
    path.write_text(text, encoding="utf-8")
    return CliRunner().invoke(app, ["feeds", "check", str(path), *options])


SUPPLEMENTS = [
    ("id,color,size\n1,red,M\n2,,L\n2,,L\n,blue,S\n3,,\n", "google_csv", "color", "33%"),
    ("aw_product_id|colour\n1|red\n2|\n2|\n|blue\n3|\n", "awin", "color", "33%"),
    ("sku;farbe\n1;rot\n2;\n2;\n;blau\n3;\n", "delimited", "color", "33%"),
    ('[{"sku": 1, "colour": "red"}, {"sku": 2}, {"sku": 2}, {"colour": "x"}, {"sku": 3}]', "json", "color", "33%"),
]  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--supplement",)], ids=["told by its columns", "asked"])
@pytest.mark.parametrize(("text", "format_name", "column", "filled"), SUPPLEMENTS)
def test_a_supplement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, format_name: str, column: str, filled: str,
    options: tuple[str, ...],
) -> None:  # fmt: skip
    result = _checked(monkeypatch, tmp_path / "colours", text, *options)
    assert result.exit_code == 0, (result.output, result.exception)
    assert f"format    {format_name}, a supplement" in result.output
    assert "rows      5: 3 usable, 1 repeated, 1 unusable" in result.output
    assert re.search(rf"{column} .*{filled}", result.output), result.output
    assert ("it has ids but no title" in result.output) is not bool(options)
    # The lines can be pasted into a store's entry.
    lines = result.output[result.output.index("supplements:") :].replace("\n", "\n    ")
    pasted = tmp_path / "feeds.yaml"
    pasted.write_text(
        "first_day: 2026-11-02\nstores:\n  - id: shop\n    format: google_csv\n    location: feed.csv\n"
        f"    {lines}",
        encoding="utf-8",
    )
    (part,) = load_feeds(pasted, environ={}).stores[0].supplements
    assert part.format == format_name


def test_a_supplement_of_which_most_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _checked(monkeypatch, tmp_path / "s", "id,color\n1,red\n1,blue\n,green\n2,red\n")
    assert result.exit_code == 1
    assert "rows      4: 1 usable, 0 repeated, 3 unusable" in result.output
    assert "the line would refuse this supplement" in result.output


def test_ids_alone_are_no_supplement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _checked(monkeypatch, tmp_path / "s", "id,weight\n1,5\n", "--supplement")
    assert isinstance(result.exception, FeedError)
    assert "known to be a further column; found: id, weight" in str(result.exception)


def test_a_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_PIPELINE_PROFILE", "embedded")
    result = CliRunner().invoke(app, ["feeds", "check", str(tmp_path / "none.csv")])
    assert isinstance(result.exception, FeedError)
    assert "no file" in str(result.exception)


def test_a_guessed_encoding_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASHION_PIPELINE_PROFILE", "embedded")
    path = tmp_path / "feed.csv"
    path.write_bytes("id,title,price,link\n1,Größe,5 EUR,https://x.example/1\n".encode("cp1252"))
    result = CliRunner().invoke(app, ["feeds", "check", str(path)])
    assert result.exit_code == 0, result.output
    for words in ("Größe", "cp1252 is a guess", "encoding_fallback: cp1252"):
        assert words in result.output, result.output
