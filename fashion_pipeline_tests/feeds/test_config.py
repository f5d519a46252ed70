"""`feeds.yaml`: what is accepted, and that every error names file, line and key."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from fashion_pipeline.errors import SettingsError
from fashion_pipeline.feeds.config import (
    FeedsConfig,
    StoreConfig,
    load_feeds,
    location_for,
    public_location_for,
)
from fashion_pipeline.feeds.mapping import known_formats, load_mapping, normal_name
from fashion_pipeline.feeds.reading import config_digest
from fashion_pipeline_tests.feeds.conftest import store

HEAD = "first_day: 2026-11-02\nlast_day: 2026-11-03\nstores:\n"


def _load(
    folder: Path, stores: str, *, environ: dict[str, str] | None = None, head: str = HEAD
) -> FeedsConfig:
    path = folder / "feeds.yaml"
    path.write_text(head + stores, encoding="utf-8")
    return load_feeds(path, environ=environ or {}, variables={"data": "/data"})


def test_whole_entry(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        """\
  - id: nord-shop
    format: google_xml
    location: "{data}/demo/nord-{date}.xml"
    currency: EUR
    due_at: 16:30
    timezone: Europe/Berlin
    images: {recheck_after_days: 1}
    thresholds: {shrink: 0.2}
  - id: plain
    status: paused
    format: delimited
    location: feeds/plain.csv
    mapping: {fields: {external_id: sku, title: [name, titel]}, delimiter: semicolon, price_unit: minor}
    supplements:
      - {location: more.csv, format: google_csv}
""",
    )
    assert (config.first_day, config.last_day) == (dt.date(2026, 11, 2), dt.date(2026, 11, 3))
    nord = config.store("nord-shop")
    assert nord.dated
    assert nord.location == "/data/demo/nord-{date}.xml"
    assert location_for(nord, dt.date(2026, 11, 2)) == "/data/demo/nord-2026-11-02.xml"
    assert nord.due_at == dt.time(16, 30)
    assert (nord.thresholds.shrink, nord.thresholds.rejected, nord.thresholds.hold_days) == (0.2, 0.2, 7)
    assert nord.images.recheck_after_days == 1
    plain = config.store("plain")
    assert plain.location == str(tmp_path / "feeds" / "plain.csv")
    assert not plain.dated
    assert plain.supplements[0].location == str(tmp_path / "more.csv")
    assert plain.resolved_mapping().delimiter == ";"
    assert plain.resolved_mapping().candidates("title") == ("name", "titel")
    with pytest.raises(SettingsError, match=r"no store 'nope'.*nord-shop, plain"):
        config.store("nope")


def test_date_forms() -> None:
    query = store(location="https://x.example/feed?day={date}&token=t")
    assert (
        public_location_for(query, dt.date(2026, 11, 2)) == "https://x.example/feed?day=2026-11-02&token=***"
    )
    config = store(location="https://x.example/{date:%Y%m%d}/feed.csv")
    assert config.dated
    assert location_for(config, dt.date(2026, 11, 2)) == "https://x.example/20261102/feed.csv"
    assert public_location_for(config, dt.date(2026, 11, 2)) == "https://x.example/20261102/feed.csv"


@pytest.mark.parametrize(
    ("stores", "line", "key", "words"),
    [
        ("  - id: B\n    format: google_csv\n    location: x\n", 4, "stores.0.id", "lower-case"),
        ("  - id: b\n    format: nope\n    location: x\n", 5, "stores.0.format", "google_xml"),
        ("  - id: b\n    format: google_csv\n", 4, "stores.0.location", "is missing"),
        ("  - id: b\n    format: google_csv\n    location: x\n    colour: red\n", 7, "stores.0.colour", "no such key"),
        ("  - id: b\n    format: google_csv\n    location: ftp://x/y\n", 6, "stores.0.location", "scheme"),
        ("  - id: b\n    format: google_csv\n    location: x{day}\n", 6, "stores.0.location", "{date}"),
        (
            "  - id: b\n    format: google_csv\n    location: x\n  - id: b\n    format: awin\n    location: y\n",
            7, "stores.1.id", "stands twice, first in line 4",
        ),
        ("  - id: b\n    format: awin\n    id: c\n", 6, "stores.0.id", "stands twice, first in line 4"),
        ("  - id: b\n    format: delimited\n    location: x\n", 4, "stores.0", "where external_id comes from"),
        (
            "  - id: b\n    format: awin\n    location: x\n    mapping:\n      fields:\n        kolor: a\n",
            8, "stores.0.mapping.fields", "no item column kolor",
        ),
        ("  - id: b\n    format: awin\n    location: x\n    timezone: Mars/Base\n", 7, "stores.0.timezone", "IANA"),
        ("  - id: b\n    format: awin\n    location: x\n    due_at: 25:00\n", 7, "stores.0.due_at", "06:00"),
        ("  - id: b\n    format: awin\n    location: x\n    status: gone\n", 7, "stores.0.status", "retired"),
        ("  - id: b\n    format: awin\n    location: x\n    currency: euro\n", 7, "stores.0.currency", "ISO 4217"),
        ("  - id: b\n    format: awin\n    location: x\n    currency: XXQ\n", 7, "stores.0.currency", "no currency"),
        ("  - id: b\n    format: awin\n    location: a-{date:%Q}.csv\n", 6, "stores.0.location", "names no day"),
        ("  - id: b\n    format: awin\n    location: s3://${BUCKET\n", 6, "stores.0.location", "not closed"),
        ("  - id: b\n    format: awin\n    location: x\n    supplements: y\n", 7, "stores.0.supplements", "a list"),
        ("  - id: b\n    format: awin\n    location: x\n    thresholds: 3\n", 7, "stores.0.thresholds", "and values"),
        (
            "  - id: b\n    format: awin\n    location: x\n    supplements: [{location: y, format: delimited}]\n",
            7, "stores.0.supplements.0", "where external_id comes from",
        ),
        (
            "  - id: b\n    format: awin\n    location: x\n    encoding_fallback: utf-88\n",
            7, "stores.0.encoding_fallback", "cp1252",
        ),
        ("  - id: b\n    format: awin\n    location: ${FEED_URL}/x\n", 6, "stores.0.location", "no variable FEED_URL"),
        (
            "  - id: b\n    format: awin\n    location: https://me:pw@x.example/y\n",
            6, "stores.0.location", "no user name or password",
        ),
        (
            "  - id: b\n    format: awin\n    location: https://x.example/y?token=abc\n",
            6, "stores.0.location", "'token' looks like a secret",
        ),
        (
            "  - id: b\n    format: awin\n    location: https://x.example/apikey/abc/y\n",
            6, "stores.0.location", "the path holds a key",
        ),
        (
            '  - id: b\n    format: awin\n    location: x\n    headers:\n      Authorization: "Basic abc"\n',
            8, "stores.0.headers.Authorization", "holds a secret",
        ),
        (
            "  - id: b\n    format: awin\n    location: x\n    supplements:\n      - location: ${NOPE}\n",
            8, "stores.0.supplements.0.location", "no variable NOPE",
        ),
    ],
)  # fmt: skip
def test_errors_name_file_line_and_key(tmp_path: Path, stores: str, line: int, key: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(tmp_path, stores)
    told = str(caught.value)
    assert f"feeds.yaml:{line}: {key}: " in told
    assert words in told
    assert "at least 1 item" not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("- a\n- b\n", "first_day"),
        ("first_day: [\n", "not YAML"),
        ("first_day: 2026-11-02\nstores: []\n", "feeds.yaml:2: stores"),
        (
            "first_day: 2026-11-02\nlast_day: 2026-11-01\nstores: [{id: a, format: awin, location: x}]\n",
            "before",
        ),
        ("stores: [{id: a, format: awin, location: x}]\n", "first_day: is missing"),
        ("first_day: !!python/object:os.system x\n", "not YAML"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=r"feeds\.yaml") as caught:
        _load(tmp_path, "", head=text)
    assert words in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.yaml: cannot be read"):
        load_feeds(tmp_path / "nothing.yaml", environ={})


def test_secrets_come_from_the_environment_and_are_not_shown(tmp_path: Path) -> None:
    config = _load(
        tmp_path,
        "  - id: b\n    format: awin\n    location: https://x.example/apikey/${KEY}/feed\n"
        '    headers: {X-Api-Key: "${HEADER_KEY}"}\n',
        environ={"KEY": "s3cret-path", "HEADER_KEY": "s3cret-header"},
    )
    [only] = config.stores
    assert only.location == "https://x.example/apikey/s3cret-path/feed"
    assert only.headers == {"X-Api-Key": SecretStr("s3cret-header")}
    assert public_location_for(only, dt.date(2026, 11, 2)) == "https://x.example/apikey/${KEY}/feed"
    assert only.hide_secrets("at s3cret-path: s3cret-header") == "at ${KEY}: ${HEADER_KEY}"
    for shown in (repr(config), str(config), repr(only)):
        assert "s3cret" not in shown


def test_an_error_does_not_show_the_secret_beside_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(
            tmp_path,
            "  - id: b\n    format: awin\n    location: ftp://x/${KEY}\n",
            environ={"KEY": "s3cret"},
        )
    assert "s3cret" not in str(caught.value)


def test_models_are_frozen_and_strict() -> None:
    config = store()
    with pytest.raises(ValidationError):
        config.currency = "EUR"
    with pytest.raises(ValidationError):
        StoreConfig(id="a", format="awin", location="x", frequency="daily")  # type: ignore[call-arg]


@pytest.mark.parametrize("format_name", known_formats())
def test_every_mapping_file_loads(format_name: str) -> None:
    needed: Any = {"fields": {"external_id": "id", "title": "name"}}
    mapping = load_mapping(format_name, store(format_name, mapping=needed).mapping)
    assert mapping.fields["external_id"] == ("id",)
    assert mapping.candidates("title") == ("name",)


def test_mapping_lines_of_a_store_replace_single_lines() -> None:
    config = store("google_csv", mapping={"fields": {"brand": "maker", "gtin": None}})
    mapping = config.resolved_mapping()
    assert mapping.fields["brand"] == ("maker",)
    assert "gtin" not in mapping.fields
    assert mapping.fields["title"] == ("title",)


@pytest.mark.parametrize(
    ("given", "normal"),
    [("g:image link", "image_link"), (" Image-Link ", "image_link"), ("\ufeffid", "id"), ("Größe", "grösse")],
)
def test_normal_name(given: str, normal: str) -> None:
    assert normal_name(given) == normal


def test_config_digest_follows_what_reading_depends_on() -> None:
    base = config_digest(store())
    assert config_digest(store(location="elsewhere", status="paused", thresholds={"shrink": 0.5})) == base
    for change in (
        {"currency": "EUR"},
        {"base_url": "https://shop.example"},
        {"encoding_fallback": "cp1252"},
        {"mapping": {"fields": {"brand": "maker"}}},
        {"format_name": "google_tsv"},
        {"supplements": [{"location": "x", "format": "google_csv"}]},
    ):
        assert config_digest(store(**change)) != base, change  # type: ignore[arg-type]
