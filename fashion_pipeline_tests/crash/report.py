"""The report of a crasher's run, as text and as `docs/crash.md`."""

import subprocess
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.crash.crasher import Report
from fashion_pipeline_tests.crash.faults import FAULTS, STAGES

ENDS = ("lost", "failed", "succeeded", "given up")


def summary(report: Report) -> str:
    """One line."""
    return (
        f"{len(report.strikes)} faults hit in {report.runs} runs of {report.worlds} worlds, seed {report.seed}, in "
        f"{report.seconds:.0f} s; {report.compared} comparisons of {report.facts:,} facts and {report.vectors:,} "
        f"vectors with the undisturbed twin: no difference; {report.missed} moments did not come"
    )


def _table(faults: list[str], columns: list[str], counts: Callable[[str], list[int]]) -> list[str]:
    """A row of counts per fault; zeros stay empty."""
    return [
        f"| fault | {' | '.join(columns)} |",
        f"|---|{'---:|' * len(columns)}",
        *(
            f"| {FAULTS[name].words} | {' | '.join(str(each or '') for each in counts(name))} |"
            for name in faults
        ),
    ]


def write_report(report: Report, target: Path) -> None:
    """Write the tables of faults by outcome and by stage."""
    ended = Counter((each.fault, each.ended) for each in report.strikes)
    stages = Counter((each.fault, each.stage) for each in report.strikes)
    hit = [name for name in FAULTS if any(each.fault == name for each in report.strikes)]
    lines = [
        "# Killed, and still right",
        "",
        f"Written by `make crash KILLS={len(report.strikes)} SEED={report.seed}`, {_today()}, commit {_commit()}.",
        "",
        f"{summary(report)}.",
        "",
        *_EXPLANATION,
        "",
        "## What became of the runs that were struck",
        "",
        *_table(
            hit,
            ["hits", *ENDS],
            lambda name: [sum(ended[name, end] for end in ENDS), *(ended[name, end] for end in ENDS)],
        ),
        "",
        "## Where they were struck",
        "",
        *_table(
            hit, [f"`{stage}`" for stage in STAGES], lambda name: [stages[name, stage] for stage in STAGES]
        ),
        "",
    ]
    if report.skipped:
        lines += ["## Left out", ""]
        lines += [f"- {FAULTS[name].words}: {why}" for name, why in report.skipped.items()]
        lines += [""]
    target.write_text("\n".join(lines), encoding="utf-8")


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


_EXPLANATION = """\
Each world has two stores with 28 to 40 products, three days of changes, broken, doubled and contradicting rows, now
and then a feed that was cut and that the guards refuse, and a web server that answers some pictures late, with 503 and
`Retry-After`, cut in the middle, with 404 or with a page. Its partitions are run by Dagster, a process per run, on the
embedded PostgreSQL (Dagster's storage included), the embedded vector store and the demo model, once undisturbed and
once struck up to three times per partition. A moment is a number of events in a stage (statements, commits, files,
connections, vector writes), drawn as a share of what the undisturbed run had there, so that a seed names worlds,
faults and moments. Half of the runs stand still at their moment while they are struck, half go on for up to 30 ms.

After the faults of a partition it is run once more and compared with the twin: rows of every table by store, external
id, day and hash, the content of every file, every vector and every point (within 1e-4), and that index and ledger
agree. Ids, times and names of files are left out. Where pictures failed because their server was away,
`fashion-pipeline images retry` comes first, as the runbook says. Slots of killed runs are freed as Dagster's run
monitoring does it. *lost*: the process was killed. *failed*: it ended with an error. *succeeded*: it got over the
fault by itself. *given up*: it waited to try again and was killed after 25 s.""".splitlines()
