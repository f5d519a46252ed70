"""Each guard seen passing and refusing."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fashion_pipeline.cleaning.guards import Baseline, judge
from fashion_pipeline.cleaning.run import CleanReport
from fashion_pipeline_tests.cleaning.support import item, run_items


@dataclass(frozen=True)
class Thresholds:
    shrink: float = 0.10
    rejected: float = 0.20


@pytest.fixture
def report(tmp_path: Path) -> CleanReport:
    report = run_items(tmp_path, item()).report
    return replace(report, records=100, yielding=100, items=100, clean=100)


def names(*args: object, **kwargs: object) -> list[str]:
    return [finding.guard for finding in judge(*args, **kwargs)]  # type: ignore[arg-type]


def test_a_good_feed_passes(report: CleanReport) -> None:
    assert judge(report, Baseline(active=100, missing=0), Thresholds()) == ()
    assert judge(report, None, Thresholds()) == ()


@pytest.mark.parametrize(("missing", "found"), [(10, []), (11, ["shrink"]), (100, ["shrink"])])
def test_shrink(report: CleanReport, missing: int, found: list[str]) -> None:
    assert names(report, Baseline(100, missing), Thresholds()) == found


def test_shrink_says_what_and_how_much(report: CleanReport) -> None:
    (finding,) = judge(report, Baseline(199, 40), Thresholds())
    assert (finding.value, finding.threshold) == (40 / 199, 0.10)
    assert "40 of 199 active products" in finding.message
    assert "20.1%" in finding.message


def test_shrink_has_a_threshold_per_store_and_not_for_deltas(report: CleanReport) -> None:
    assert names(report, Baseline(100, 50), Thresholds(shrink=0.5)) == []
    assert names(report, Baseline(100, 50), Thresholds(), full=False) == []
    assert names(report, Baseline(0, 0), Thresholds()) == []


@pytest.mark.parametrize(
    ("rejected", "broken", "found"), [(20, 0, []), (21, 0, ["rejected"]), (0, 25, []), (0, 26, ["rejected"])]
)
def test_rejected_share(report: CleanReport, rejected: int, broken: int, found: list[str]) -> None:
    bad = replace(
        report,
        rejected=rejected,
        clean=100 - rejected,
        broken=broken,
        reasons={"price_zero": rejected, "title_missing": 1},
    )
    assert names(bad, None, Thresholds()) == found


def test_rejected_names_the_worst_reasons(report: CleanReport) -> None:
    bad = replace(report, rejected=50, clean=50, reasons={"title_missing": 3, "price_zero": 47})
    (finding,) = judge(bad, None, Thresholds())
    assert finding.message.endswith("price_zero 47, title_missing 3")
    assert finding.value == 0.5


def test_empty(report: CleanReport) -> None:
    nothing = replace(report, records=0, items=0, clean=0)
    assert names(nothing, None, Thresholds()) == ["empty"]
    assert names(nothing, None, Thresholds(), full=False) == []
    only_deletions = replace(nothing, records=3, items=3, deletions=3)
    assert names(only_deletions, None, Thresholds(), full=False) == []
    assert names(only_deletions, None, Thresholds()) == ["empty"]


def test_nothing_but_rejected_is_empty_and_rejected(report: CleanReport) -> None:
    bad = replace(report, rejected=100, clean=0, reasons={"price_zero": 100})
    assert names(bad, Baseline(100, 100), Thresholds()) == ["empty", "rejected", "shrink"]
    assert names(bad, None, Thresholds(), full=False) == ["empty", "rejected"]
