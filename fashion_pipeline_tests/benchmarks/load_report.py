"""What a load of the line cost, as a page with verdicts, tables and the growth as a plot."""

import math
import os
import platform
import subprocess
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fashion_pipeline.defs.jobs import LINE_ASSETS
from fashion_pipeline_tests.conftest import ROOT

PHASES = {
    "first": "first day",
    "equal": "equal bytes",
    "reordered": "new file, equal content",
    "changed": "about 1 % changed",
    "filled": "model change: fill",
    "promoted": "model change: promote",
}
FEED_ASSETS = ("raw_feeds", "clean_products")
#: What the counters of a day without news must not count.
WORK = {
    "products": ("new", "changed", "refreshed_urls", "delisted", "held"),
    "product_images": ("due", "fetched"),
    "image_embeddings": ("due", "embedded"),
    "product_points": ("inserted", "vectors_updated", "payloads_updated", "deleted"),
}
EXPONENT_GOAL, CHANGED_GOAL, CLEAN_GOAL, MEMORY_GOAL = 1.05, 0.03, 1.1, 2 << 30

Measured = dict[str, Any]


def stage_seconds(told: Measured) -> dict[str, float]:
    """Seconds of each asset, of all checks, and of what Dagster itself takes for the runs."""
    stages = {name: told["stages"].get(name, 0.0) for name in LINE_ASSETS}
    stages["checks"] = sum(told["stages"].values()) - sum(stages.values())
    return stages | {"Dagster": told["seconds"] - sum(told["stages"].values())}


def after_cleaning(told: Measured) -> float:
    """Seconds of the assets behind `clean_products`."""
    return sum(told["stages"].get(name, 0.0) for name in LINE_ASSETS if name not in FEED_ASSETS)


def with_encoder(told: Measured, per_picture: float) -> float:
    """The same, with so many seconds of a model for each embedded picture."""
    return after_cleaning(told) + per_picture * float(told["counts"]["image_embeddings"].get("embedded", 0))


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of the least-squares line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def work_done(told: Measured) -> dict[str, int]:
    """What the counters count that a day without news must not."""
    return {
        f"{asset}.{name}": told["counts"][asset].get(name, 0)
        for asset, names in WORK.items()
        for name in names
        if told["counts"][asset].get(name, 0)
    }


def verdicts(measured: list[Measured]) -> list[tuple[str, str, str, bool]]:
    """What was asked for, the goal, what was found, and whether it is met."""
    sizes = [each["products"] for each in measured]
    found = []
    if len(sizes) > 1:
        slope = exponent(sizes, [sum(each["first"]["stages"].values()) for each in measured])
        found.append(
            (
                "growth of the first day, exponent",
                f"at most {EXPONENT_GOAL}",
                f"{slope:.2f}",
                slope <= EXPONENT_GOAL,
            )
        )
    for each in measured:
        name = f"{each['products']:,}"
        for phase in ("equal", "reordered"):
            counted = work_done(each[phase])
            found.append(
                (f"{name}: work on the day of {PHASES[phase]}", "none", str(counted or "none"), not counted)
            )
        for model, per_picture in ({"": 0.0} | each["encoder_seconds"]).items():
            what = f", with {per_picture * 1000:.3g} ms a picture of {model}" if model else ""
            changed, first = (with_encoder(each[phase], per_picture) for phase in ("changed", "first"))
            found.append((f"{name}: 1 % day behind clean_products, of the first day{what}", "at most 3 %",
                          f"{changed / first:.1%}", changed / first <= CHANGED_GOAL))  # fmt: skip
        ratio = each["changed"]["stages"]["clean_products"] / each["first"]["stages"]["clean_products"]
        found.append((f"{name}: clean_products of the 1 % day, of the first", "at most 1.1 x", f"{ratio:.2f} x",
                      ratio <= CLEAN_GOAL))  # fmt: skip
        peak = max(each[phase]["peak"] for phase in PHASES)
        found.append((f"{name}: peak resident memory", "below 2 GiB", f"{peak / (1 << 30):.2f} GiB",
                      peak < MEMORY_GOAL))  # fmt: skip
    return found


def row(name: str, values: list[str]) -> str:
    """A row of a Markdown table."""
    return f"| {name} | {' | '.join(values)} |"


def phase_table(measured: list[Measured], phase: str) -> list[str]:
    """What one phase took, by size."""
    told = [each[phase] for each in measured]
    steps = [stage_seconds(each) if "raw_feeds" in each["stages"] else each["stages"] for each in told]
    lines = [
        f"## {PHASES[phase].capitalize()}",
        "",
        row("seconds", [f"{each['products']:,}" for each in measured]),
        f"|---|{'---:|' * len(told)}",
        *(row(name, [f"{each.get(name, 0.0):.1f}" for each in steps]) for name in steps[-1]),
        row("whole", [f"{each['seconds']:.1f}" for each in told]),
        row("start-up, once", [f"{each['start_up']:.1f}" for each in told]),
        row("peak memory, MiB", [f"{each['peak'] >> 20:,}" for each in told]),
        row("of it no file's, MiB", [f"{each['peak_anonymous'] >> 20:,}" for each in told]),
    ]
    if "disk" in told[-1]:
        lines.append(row("disk, MiB", [f"{sum(each['disk'].values()) >> 20:,}" for each in told]))
    return [*lines, ""]


def report(measured: list[Measured], plot: str) -> str:
    """The page for the docs; `plot` is the address of its plot."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    sizes = " ".join(str(each["products"]) for each in measured)
    lines = [
        "# Load",
        "",
        f"{datetime.now(UTC).date()}, commit {commit}, {platform.machine()}, {os.cpu_count()} cores, no GPU;",
        f"load average when each size began: {', '.join(format(each['load'], '.1f') for each in measured)}.",
        f"Command: `python -m fashion_pipeline_tests.benchmarks.load {sizes}`.",
        f"{measured[0]['stores']} stores; eight variants share a picture of about 1 KB; embedded parts; an injected",
        "encoder takes the model's place and no time, unless a row counts it in. Seconds are those of all stores, one",
        "after the other in one process; Dagster's start-up is apart. Memory is that of the process and its decode",
        "workers, pages of the index's files included.",
        "",
        "| what | goal | found | |",
        "|---|---|---|---|",
        *(
            row(what, [goal, value, "met" if met else "missed"])
            for what, goal, value, met in verdicts(measured)
        ),
        "",
        f"![Seconds of the first day's stages over the number of products, both axes logarithmic]({plot})",
        "",
    ]
    for phase in PHASES:
        lines += phase_table(measured, phase)
    return "\n".join(lines).rstrip() + "\n"


COLORS = ("#1d4ed8", "#b45309", "#047857", "#be123c", "#6d28d9", "#0e7490", "#525252", "#a3a3a3")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 60, 20, 190, 50


def growth_plot(measured: list[Measured]) -> str:
    """The first day's seconds by stage over products, as SVG with logarithmic axes."""
    sizes = [each["products"] for each in measured]
    days = [stage_seconds(each["first"]) for each in measured]
    series = {name: [max(0.01, day[name]) for day in days] for name in days[0]}
    decades = range(-2, math.ceil(math.log10(max(max(values) for values in series.values()))) + 1)

    def across(size: float) -> float:
        low, high = math.log10(min(sizes)), math.log10(max(sizes))
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(size) - low) / max(1e-9, high - low)

    def up(seconds: float) -> float:
        share = (math.log10(seconds) - decades[0]) / (decades[-1] - decades[0])
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def words(x: float, y: float, text: str, anchor: str = "middle", color: str = "black") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{text}</text>'

    style = 'font-family="sans-serif" font-size="12"'
    marks = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for height, power in ((up(10.0**power), power) for power in decades):
        marks.append(f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>')
        marks.append(words(LEFT - 8, height + 4, f"{10.0**power:g} s", "end"))
    marks += [words(across(size), HEIGHT - BOTTOM + 20, f"{size:,}") for size in sizes]
    for values, color in zip(series.values(), COLORS, strict=True):
        places = [(across(size), up(value)) for size, value in zip(sizes, values, strict=True)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        marks.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places]
    # Names at the right, in the order of the last values, apart from each other.
    below = 0.0
    for name, color in sorted(zip(series, COLORS, strict=True), key=lambda each: -series[each[0]][-1]):
        below = max(below + 15, up(series[name][-1]) + 4)
        marks.append(words(WIDTH - RIGHT + 12, below, name, "start", color))
    return "\n".join([*marks, words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "products"), "</svg>"]) + "\n"
