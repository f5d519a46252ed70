"""A whole feed: two files, duplicates and conflicts settled, and an account that adds up."""

import json
import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fashion_pipeline.cleaning import run as run_module
from fashion_pipeline.cleaning.cleaner import CLEANING_VERSION, Cleaner
from fashion_pipeline.cleaning.contract import check_clean_file
from fashion_pipeline.cleaning.duplicates import Registry
from fashion_pipeline.cleaning.run import clean_feed
from fashion_pipeline.cleaning.schema import CLEAN_SCHEMA, REJECTED_SCHEMA
from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.items import BrokenRecord
from fashion_pipeline_tests.cleaning.support import ListReader, batch, item, run_items, run_parts

BROKEN = BrokenRecord(record=99, place="line 100", reason="13 fields, expected 12", raw="a\tb\ud800")


def test_an_empty_feed_leaves_two_empty_files(tmp_path: Path) -> None:
    outcome = run_items(tmp_path)
    assert (outcome.clean, outcome.rejected, outcome.deletions) == ([], [], [])
    assert pq.read_schema(tmp_path / "clean.parquet").equals(CLEAN_SCHEMA)
    assert pq.read_schema(tmp_path / "rejected.parquet").equals(REJECTED_SCHEMA)
    assert outcome.report.fill["title"] == 0


def test_the_report(tmp_path: Path) -> None:
    items = [
        item(),
        item(external_id="a-2", price="0", title=None),
        item(external_id=None),
        item(external_id="a-4", image_url=None, price="30 USD", color="Nocturnal"),
        {"external_id": "a-5", "action": "delete"},
    ]
    outcome = run_parts(tmp_path, [batch(items[:3]), BROKEN, batch(items[3:], 4)], parents=7)
    report = outcome.report
    assert (report.records, report.yielding, report.context, report.broken) == (13, 5, {"parents": 7}, 1)
    assert (report.items, report.clean, report.rejected, report.duplicates, report.deletions) == (
        5,
        2,
        2,
        0,
        1,
    )
    assert report.reasons == {
        "price_zero": 1,
        "title_missing": 1,
        "external_id_missing": 1,
        "broken_record": 1,
    }
    assert report.rejected_without_id == 1
    assert report.warnings == {"image_missing": 1}
    assert report.currencies == {"EUR": 1, "USD": 1}
    assert (report.fill["title"], report.fill["image_url"], report.fill["gtin"]) == (1.0, 0.5, 0.0)
    assert (report.unknown, report.unknown_values) == ({"color": 1}, {"color": ("Nocturnal",)})
    assert report.cleaning_version == CLEANING_VERSION
    assert [row["external_id"] for row in outcome.clean] == ["a-1", "a-4"]
    assert [row["external_id"] for row in outcome.deletions] == ["a-5"]
    broken = next(row for row in outcome.rejected if row["reasons"] == ["broken_record"])
    assert broken == {
        "external_id": None,
        "record": 99,
        "place": "line 100",
        "reasons": ["broken_record"],
        "severity": "error",
        "detail": "13 fields, expected 12",
        "raw": "a\tb?",
    }


def test_equal_items_are_one_row(tmp_path: Path) -> None:
    outcome = run_items(
        tmp_path,
        item(),
        item(external_id="a-2"),
        item(),
        item(image_url="https://cdn.shop.example/a-1.jpg?v=2"),
        item(title="Striped  Dress"),
    )
    assert (outcome.report.clean, outcome.report.duplicates, outcome.report.rejected) == (2, 3, 0)
    assert [(row["external_id"], row["record"]) for row in outcome.clean] == [("a-1", 1), ("a-2", 2)]
    assert check_clean_file(outcome.clean_path, 2) == []


def test_conflicting_items_are_all_quarantined(tmp_path: Path) -> None:
    outcome = run_items(
        tmp_path,
        item(price="45.5 EUR"),
        item(external_id="a-2"),
        item(price="46 EUR", sale_price="40", sale_price_effective_date="2026-11-01/"),
        item(price="45.5 EUR"),
    )
    assert (outcome.report.clean, outcome.report.duplicates, outcome.report.rejected) == (1, 0, 3)
    assert outcome.report.reasons == {"id_conflict": 3}
    assert [row["external_id"] for row in outcome.clean] == ["a-2"]
    assert [(row["external_id"], row["severity"], row["place"]) for row in outcome.rejected] == [
        ("a-1", "quarantine", "line 1"),
        ("a-1", "quarantine", "line 3"),
        ("a-1", "quarantine", "line 4"),
    ]
    contents = [json.loads(row["raw"]) for row in outcome.rejected]
    assert [content["price"] for content in contents] == ["45.5", "46", "45.5"]
    assert contents[1]["sale_starts_at"] == "2026-11-01T00:00:00+00:00"
    assert contents[0]["raw_attributes"] == {"color": "Rot", "availability": "in stock"}
    assert outcome.report.fill["title"] == 1.0


def test_a_rejected_item_competes_with_nobody(tmp_path: Path) -> None:
    outcome = run_items(tmp_path, item(price="0"), item())
    assert (outcome.report.clean, outcome.report.rejected) == (1, 1)
    assert outcome.clean[0]["price"] == Decimal(45)


def test_an_id_both_deleted_and_given_is_quarantined(tmp_path: Path) -> None:
    delete = {"external_id": "a-1", "action": "delete"}
    outcome = run_items(
        tmp_path, delete, item(), item(external_id="a-2"), {"external_id": "a-3", "action": "delete"}, delete
    )
    assert (
        outcome.report.clean,
        outcome.report.rejected,
        outcome.report.deletions,
        outcome.report.duplicates,
    ) == (1, 3, 1, 0)
    assert [row["external_id"] for row in outcome.deletions] == ["a-3"]
    assert json.loads(outcome.rejected[-1]["raw"]) == {"external_id": "a-1", "action": "delete"}


def test_a_repeated_deletion_is_a_duplicate(tmp_path: Path) -> None:
    delete = {"external_id": "a-1", "action": "delete"}
    outcome = run_items(tmp_path, delete, delete)
    assert (outcome.report.deletions, outcome.report.duplicates) == (1, 1)
    assert [row["external_id"] for row in outcome.deletions] == ["a-1"]


def test_no_deletions_no_file(tmp_path: Path) -> None:
    run_items(tmp_path, item())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.parquet", "rejected.parquet"]
    run_items(tmp_path, {"external_id": "a-1", "action": "delete"}, item())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean.parquet", "rejected.parquet"]


def test_delete_records_need_a_place(tmp_path: Path) -> None:
    reader = ListReader([batch([{"external_id": "a-1", "action": "delete"}])])
    with pytest.raises(ValueError, match="deletions_path"):
        clean_feed(reader, Cleaner("shop"), clean_path=tmp_path / "c", rejected_path=tmp_path / "r")


def test_a_reader_s_error_passes_through(tmp_path: Path) -> None:
    class Cut(ListReader):
        def __iter__(self) -> Any:
            yield from super().__iter__()
            raise FeedError("shop: the file ends in line 2")

    with pytest.raises(FeedError, match="line 2"):
        clean_feed(
            Cut([batch([item()])]), Cleaner("shop"), clean_path=tmp_path / "c", rejected_path=tmp_path / "r"
        )


def test_progress_tells_the_items_done(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    parts = [batch([item(external_id=f"{i}-{j}") for j in range(3)]) for i in range(2)]
    clean_feed(
        ListReader(parts),
        Cleaner("shop"),
        clean_path=tmp_path / "c",
        rejected_path=tmp_path / "r",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(3, None), (6, None)]


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "ROW_GROUP_ROWS", 100)
    outcome = run_parts(
        tmp_path,
        [batch([item(external_id=f"{i}-{j}") for j in range(60)]) for i in range(5)]
        + [batch([item(external_id="0-0")])],
    )
    metadata = pq.read_metadata(outcome.clean_path)
    assert (metadata.num_rows, outcome.report.duplicates) == (300, 1)
    assert max(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)) <= 160
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert check_clean_file(outcome.clean_path, 300) == []


def test_accounting_errors_are_named(tmp_path: Path) -> None:
    report = run_items(tmp_path, item()).report
    assert report.accounting_error() is None
    assert "2 records, but 1 yielding + 0 context + 0 broken" in str(
        replace(report, records=2).accounting_error()
    )
    assert "1 items, but 1 clean + 1 rejected" in str(replace(report, rejected=1).accounting_error())
    assert "reports 5" in str(replace(report, items_read=5).accounting_error())


def test_the_registry_keeps_24_bytes_per_item() -> None:
    registry = Registry()
    registry.add([str(i) for i in range(50_000)], ["0" * 32] * 50_000)
    assert len(registry) == 50_000
    assert registry.judge() is None
    assert registry._hashes.itemsize * len(registry._hashes) == 24 * 50_000


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=40))
def test_the_registry_against_a_plain_model(entries: list[tuple[int, int]]) -> None:
    registry = Registry()
    registry.add([str(key) for key, _ in entries], [f"{content:032x}"[::-1] for _, content in entries])
    verdict = registry.judge()
    contents: dict[int, set[int]] = {}
    for key, content in entries:
        contents.setdefault(key, set()).add(content)
    seen: set[int] = set()
    for i, (key, _) in enumerate(entries):
        conflict = len(contents[key]) > 1
        duplicate = not conflict and key in seen
        seen.add(key)
        if verdict is None:
            assert not conflict
            assert not duplicate
        else:
            assert (bool(verdict[0][i]), bool(verdict[1][i])) == (duplicate, conflict)


ENTRY = st.one_of(
    st.just(BROKEN),
    st.builds(
        lambda key, price, title, action: {
            name: value
            for name, value in {"external_id": key, "price": price, "title": title, "action": action}.items()
            if value
        },
        st.sampled_from(["", "1", "2", "3", "4", "5"]),
        st.sampled_from(["10 EUR", "11 EUR", "10,00 €", "0", ""]),
        st.sampled_from(["Dress", "Skirt", ""]),
        st.sampled_from(["", "", "", "delete", "odd"]),
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.lists(ENTRY, max_size=25), size=st.integers(1, 5), shuffler=st.randoms(use_true_random=False)
)
def test_the_account_always_adds_up_in_any_order(
    tmp_path: Path, entries: list[Any], size: int, shuffler: random.Random
) -> None:
    def run(order: list[Any]) -> tuple[Any, ...]:
        parts: list[Any] = []
        for i, entry in enumerate(order):
            if isinstance(entry, BrokenRecord):
                parts.append(entry)
            elif parts and not isinstance(parts[-1], BrokenRecord) and len(parts[-1]) < size:
                parts[-1].append((i, entry))
            else:
                parts.append([(i, entry)])
        batches = [
            part if isinstance(part, BrokenRecord) else batch([e for _, e in part], part[0][0] + 1)
            for part in parts
        ]
        for path in tmp_path.iterdir():
            path.unlink()
        outcome = run_parts(tmp_path, batches, headers=2)
        report = outcome.report
        assert report.records == len(order) + 2
        assert report.broken == sum(entry is BROKEN for entry in order)
        assert report.items == len(order) - report.broken
        assert (len(outcome.clean), len(outcome.deletions)) == (report.clean, report.deletions)
        assert len(outcome.rejected) == report.rejected + report.broken
        assert check_clean_file(outcome.clean_path, report.clean) == []
        assert report.rejected_without_id == sum(
            row["external_id"] is None and row["reasons"] != ["broken_record"] for row in outcome.rejected
        )
        return (
            sorted(row["content_hash"] for row in outcome.clean),
            sorted((str(row["external_id"]), row["reasons"]) for row in outcome.rejected),
            sorted(row["external_id"] for row in outcome.deletions),
            report.duplicates,
        )

    shuffled = entries[:]
    shuffler.shuffle(shuffled)
    assert run(entries) == run(shuffled)
