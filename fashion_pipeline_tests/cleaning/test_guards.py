"""Each guard seen passing and refusing."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.cleaning.guards import Baseline, CurrencyChange, Pictures, PriceMove, judge
from fashion_pipeline.cleaning.run import CleanReport
from fashion_pipeline_tests.cleaning.support import item, run_items


@dataclass(frozen=True)
class Thresholds:
    shrink: float = 0.10
    rejected: float = 0.20
    same_factor: float = 0.50
    median_factor: float = 3.0
    currency: float = 0.50
    same_image: float = 0.50


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


MOVED = ("a-1: 10.00 to 1,000.00 EUR",)


def baseline(**parts: Any) -> Baseline:
    return Baseline(100, 0, **parts)


@pytest.mark.parametrize(("moved", "found"), [(50, []), (51, ["price_jump"]), (100, ["price_jump"])])
def test_prices_that_move_by_one_factor(report: CleanReport, moved: int, found: list[str]) -> None:
    moves = PriceMove(compared=100, median=1.0, moved=moved, factor=1.19, examples=MOVED)
    assert names(report, baseline(prices=moves), Thresholds()) == found
    assert names(report, baseline(prices=moves), Thresholds(same_factor=1.0)) == []


@pytest.mark.parametrize(
    ("median", "found"), [(3.0, []), (3.1, ["price_jump"]), (0.34, []), (0.3, ["price_jump"])]
)
def test_the_median_price(report: CleanReport, median: float, found: list[str]) -> None:
    moves = PriceMove(compared=100, median=median, moved=3, factor=1.5, examples=MOVED)
    assert names(report, baseline(prices=moves), Thresholds()) == found
    assert names(report, baseline(prices=moves), Thresholds(median_factor=4)) == []


def test_a_price_jump_says_what_moved(report: CleanReport) -> None:
    moves = PriceMove(compared=100, median=100.0, moved=90, factor=100.0, examples=MOVED)
    same, median = judge(report, baseline(prices=moves), Thresholds())
    assert (same.value, same.threshold, same.examples) == (0.9, 0.5, MOVED)
    assert "90 of 100 active products moved by the same factor 100" in same.message
    assert MOVED[0] in same.message
    assert (median.value, median.threshold) == (100.0, 3.0)


def test_a_few_prices_are_no_jump(report: CleanReport) -> None:
    moves = PriceMove(compared=4, median=100.0, moved=4, factor=100.0, examples=MOVED)
    assert names(report, Baseline(4, 0, prices=moves), Thresholds()) == []


@pytest.mark.parametrize(("changed", "found"), [(50, []), (51, ["currency"])])
def test_currency(report: CleanReport, changed: int, found: list[str]) -> None:
    change = CurrencyChange(100, changed, ("a-1: EUR to USD",))
    assert names(report, baseline(currency=change), Thresholds()) == found
    assert names(report, baseline(currency=change), Thresholds(currency=1.0)) == []
    for finding in judge(report, baseline(currency=change), Thresholds()):
        assert "51 of 100 products changed their currency (51.0%, allowed 50.0%; a-1: EUR" in finding.message


@pytest.mark.parametrize(
    ("same", "before", "found"),
    [(49, 0, []), (50, 0, ["same_image"]), (50, 49, ["same_image"]), (50, 50, [])],
)
def test_one_same_picture(report: CleanReport, same: int, before: int, found: list[str]) -> None:
    pictures = Pictures(100, same, "https://cdn.example/logo.png", 100, before)
    assert names(report, baseline(pictures=pictures), Thresholds()) == found
    for finding in judge(report, baseline(pictures=pictures), Thresholds()):
        assert finding.examples == ("https://cdn.example/logo.png",)


def test_the_sizes_of_one_product_in_a_delta_share_a_picture(report: CleanReport) -> None:
    pictures = Pictures(6, 6, "https://cdn.example/1.jpg", 100, 2)
    assert names(report, baseline(pictures=pictures), Thresholds(), full=False) == []
    assert names(report, baseline(pictures=pictures), Thresholds()) == ["same_image"]
