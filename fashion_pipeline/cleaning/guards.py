"""Guards: signs that a whole snapshot is broken, by which it may not be applied until a person accepts it.

A single bad row costs itself; guards look at the feed as a whole, before anything is delisted.
"""

from dataclasses import dataclass
from typing import Protocol

from fashion_pipeline.cleaning.run import CleanReport


class GuardThresholds(Protocol):
    """The thresholds of a store, shares between 0 and 1."""

    @property
    def shrink(self) -> float:
        """Largest share of the active products that may be missing."""

    @property
    def rejected(self) -> float:
        """Largest share of the items that may be rejected or broken."""


@dataclass(frozen=True)
class Baseline:
    """The catalogue before the snapshot: active products, and those the snapshot has not seen at all."""

    active: int
    missing: int


@dataclass(frozen=True)
class Finding:
    """A guard that refuses: its name, what it found for a person, the value and the threshold."""

    guard: str
    message: str
    value: float
    threshold: float


def judge(
    report: CleanReport, baseline: Baseline | None, thresholds: GuardThresholds, *, full: bool = True
) -> tuple[Finding, ...]:
    """The guards that refuse this snapshot; empty where it may be applied.

    `baseline` is None for a store's first snapshot. Pass `full=False` for a delta: it may be empty,
    and what it does not name is not missing.
    """
    findings: list[Finding] = []
    if (
        report.clean == 0
        and (full or report.rejected + report.broken > 0)
        and not (not full and report.deletions)
    ):
        findings.append(
            Finding(
                "empty",
                f"no clean row out of {report.records:,} records ({report.rejected:,} items rejected, "
                f"{report.broken:,} records broken): look at the rejected items and the store's mapping",
                0.0,
                1.0,
            )
        )
    judged = report.items + report.broken
    refused = report.rejected + report.broken
    if judged and refused / judged > thresholds.rejected:
        worst = ", ".join(f"{name} {count:,}" for name, count in sorted_reasons(report)[:3])
        findings.append(
            Finding(
                "rejected",
                f"{refused:,} of {judged:,} items rejected or broken ({refused / judged:.1%}, allowed "
                f"{thresholds.rejected:.1%}): {worst}",
                refused / judged,
                thresholds.rejected,
            )
        )
    if (
        full
        and baseline is not None
        and baseline.active
        and baseline.missing / baseline.active > thresholds.shrink
    ):
        share = baseline.missing / baseline.active
        findings.append(
            Finding(
                "shrink",
                f"{baseline.missing:,} of {baseline.active:,} active products are not in the feed "
                f"({share:.1%}, allowed {thresholds.shrink:.1%}): a truncated feed looks like this; "
                "accept it if they really left",
                share,
                thresholds.shrink,
            )
        )
    return tuple(findings)


def sorted_reasons(report: CleanReport) -> list[tuple[str, int]]:
    """The reasons of the rejected items with their counts, the most frequent first."""
    return sorted(report.reasons.items(), key=lambda entry: (-entry[1], entry[0]))
