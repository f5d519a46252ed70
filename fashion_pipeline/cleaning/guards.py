"""Guards: signs that a whole snapshot is broken, by which it may not be applied until a person accepts it.

A single bad row costs itself; guards look at the feed as a whole, before anything is delisted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from fashion_pipeline.cleaning.run import CleanReport

#: Examples that a finding names: enough to look at in the shop.
EXAMPLES = 3
#: Prices moved by factors within 1 % count as moved by the same: rounding to cents and to .95 spreads them.
SAME_FACTOR_WIDTH = 0.01
#: Smaller moves (3 %) are none: exchange rates move a converted catalogue by a percent or two a day.
LEAST_MOVE = 0.03
#: In a shop of four products one promotion is most of it, and a delta may name a single product.
LEAST_COMPARED = 5


class GuardThresholds(Protocol):
    """The thresholds of a store, shares between 0 and 1."""

    @property
    def shrink(self) -> float:
        """Largest share of the active products that may be missing."""

    @property
    def rejected(self) -> float:
        """Largest share of the items that may be rejected or broken."""

    @property
    def same_factor(self) -> float:
        """Largest share of the active products whose prices may move by one same factor."""

    @property
    def median_factor(self) -> float:
        """Largest factor, up or down, by which the median price may move."""

    @property
    def currency(self) -> float:
        """Largest share of the compared products that may change their currency."""

    @property
    def same_image(self) -> float:
        """Share of the pictures from which on they may not become one same picture."""


@dataclass(frozen=True)
class PriceMove:
    """How prices moved, of `compared` products that both sides have in one currency.

    `median` is the median of new price / old price, `factor` the one by which most (`moved`) moved.
    """

    compared: int = 0
    median: float = 1.0
    moved: int = 0
    factor: float = 1.0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class CurrencyChange:
    """Of `compared` products that both sides have, how many changed their currency."""

    compared: int = 0
    changed: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pictures:
    """Rows with a main picture, and rows with the most frequent one: in the snapshot, and active before."""

    pictured: int = 0
    same: int = 0
    url: str = ""
    pictured_before: int = 0
    same_before: int = 0


@dataclass(frozen=True)
class Baseline:
    """The catalogue before the snapshot: active products, those the snapshot has not seen at all, and how
    those that both have differ.
    """

    active: int
    missing: int
    missing_examples: tuple[str, ...] = ()
    prices: PriceMove = PriceMove()
    currency: CurrencyChange = CurrencyChange()
    pictures: Pictures = Pictures()


@dataclass(frozen=True)
class Finding:
    """A guard that refuses: its name, what it found for a person, the value, the threshold, examples."""

    guard: str
    message: str
    value: float
    threshold: float
    examples: tuple[str, ...] = ()


def judge(
    report: CleanReport, baseline: Baseline | None, thresholds: GuardThresholds, *, full: bool = True
) -> tuple[Finding, ...]:
    """The guards that refuse this snapshot; empty where it may be applied.

    `baseline` is None for a store's first snapshot. Pass `full=False` for a delta: it may be empty,
    and what it does not name is not missing.
    """
    findings = [*_empty(report, full), *_rejected(report, thresholds)]
    findings.extend(_supplements(report, thresholds, full))
    if baseline is not None and baseline.active:
        if full:
            findings.extend(_shrink(baseline, thresholds))
        findings.extend(_price_jump(baseline, thresholds))
        findings.extend(_currency(baseline, thresholds))
        findings.extend(_same_image(baseline, thresholds, full))
    return tuple(findings)


def _empty(report: CleanReport, full: bool) -> Iterator[Finding]:
    if (
        report.clean == 0
        and (full or report.rejected + report.broken > 0)
        and not (not full and report.deletions)
    ):
        yield Finding(
            "empty",
            f"no clean row out of {report.records:,} records ({report.rejected:,} items rejected, "
            f"{report.broken:,} records broken): look at the rejected items and the store's mapping",
            0.0,
            1.0,
        )


def _rejected(report: CleanReport, thresholds: GuardThresholds) -> Iterator[Finding]:
    judged = report.items + report.broken
    refused = report.rejected + report.broken
    if judged and refused / judged > thresholds.rejected:
        worst = ", ".join(f"{name} {count:,}" for name, count in sorted_reasons(report)[:EXAMPLES])
        yield Finding(
            "rejected",
            f"{refused:,} of {judged:,} items rejected or broken ({refused / judged:.1%}, allowed "
            f"{thresholds.rejected:.1%}): {worst}",
            refused / judged,
            thresholds.rejected,
        )


def _supplements(report: CleanReport, thresholds: GuardThresholds, full: bool) -> Iterator[Finding]:
    """A supplement that adds nothing, or is broken: rows would lose what they had from it."""
    for name, counts in report.supplements.items():
        rows, unusable = counts["rows"], counts["unusable"]
        share = unusable / rows if rows else 0.0
        if share > thresholds.rejected:
            yield Finding(
                "supplement",
                f"{unusable:,} of {rows:,} rows of the supplement {name} cannot be used ({share:.1%}, allowed "
                f"{thresholds.rejected:.1%}): broken, without an id, or contradicting each other",
                share,
                thresholds.rejected,
            )
        elif full and rows and not counts["joined"]:
            yield Finding(
                "supplement",
                f"none of the {rows:,} rows of the supplement {name} has the id of an item: ids of another kind or "
                "a wrong column look like this; accept it if the supplement is of no use today",
                0.0,
                0.0,
            )


def _shrink(baseline: Baseline, thresholds: GuardThresholds) -> Iterator[Finding]:
    share = baseline.missing / baseline.active
    if share > thresholds.shrink:
        yield Finding(
            "shrink",
            f"{baseline.missing:,} of {baseline.active:,} active products are not in the feed "
            f"({share:.1%}, allowed {thresholds.shrink:.1%}): a truncated feed looks like this; "
            "accept it if they really left",
            share,
            thresholds.shrink,
            baseline.missing_examples,
        )


def _price_jump(baseline: Baseline, thresholds: GuardThresholds) -> Iterator[Finding]:
    """Cents for euros, a lost decimal mark, tax added or taken away: prices that move together.

    The share is of all active products, so that a delta that names a few cannot reach it.
    """
    moves = baseline.prices
    if moves.compared < LEAST_COMPARED:
        return
    share = moves.moved / baseline.active
    if share > thresholds.same_factor:
        yield Finding(
            "price_jump",
            f"the prices of {moves.moved:,} of {baseline.active:,} active products moved by the same factor "
            f"{moves.factor:.4g} ({share:.1%}, allowed {thresholds.same_factor:.1%}; {moves.examples[0]}): other "
            "units, a lost decimal mark or another tax look like this; accept it if the shop changed them",
            share,
            thresholds.same_factor,
            moves.examples,
        )
    factor = max(moves.median, 1 / moves.median)
    if factor > thresholds.median_factor:
        yield Finding(
            "price_jump",
            f"the median of {moves.compared:,} prices moved by the factor {moves.median:.4g} (allowed "
            f"{thresholds.median_factor:g} up or down): other units or a wrong column look like this; accept it if "
            "the shop changed them",
            factor,
            thresholds.median_factor,
            moves.examples,
        )


def _currency(baseline: Baseline, thresholds: GuardThresholds) -> Iterator[Finding]:
    change = baseline.currency
    share = change.changed / change.compared if change.compared else 0.0
    if share > thresholds.currency:
        yield Finding(
            "currency",
            f"{change.changed:,} of {change.compared:,} products changed their currency ({share:.1%}, allowed "
            f"{thresholds.currency:.1%}; {change.examples[0]}): a feed of another country looks like this; accept "
            "it if the shop really sells in another currency now",
            share,
            thresholds.currency,
            change.examples,
        )


def _same_image(baseline: Baseline, thresholds: GuardThresholds, full: bool) -> Iterator[Finding]:
    """A placeholder or logo in the place of the pictures; a shop that always was so passes."""
    pictures = baseline.pictures
    # A delta may name just the sizes of one product, which share a picture.
    of = pictures.pictured if full else max(pictures.pictured, pictures.pictured_before)
    if pictures.same < LEAST_COMPARED or not of:
        return
    share = pictures.same / of
    before = pictures.same_before / pictures.pictured_before if pictures.pictured_before else 0.0
    if share >= thresholds.same_image > before:
        yield Finding(
            "same_image",
            f"{pictures.same:,} of {of:,} pictures are one same address ({share:.1%}, before {before:.1%}, allowed "
            f"below {thresholds.same_image:.1%}): a placeholder or a logo looks like this; accept it if it is right",
            share,
            thresholds.same_image,
            (pictures.url,),
        )


def sorted_reasons(report: CleanReport) -> list[tuple[str, int]]:
    """The reasons of the rejected items with their counts, the most frequent first."""
    return sorted(report.reasons.items(), key=lambda entry: (-entry[1], entry[0]))
