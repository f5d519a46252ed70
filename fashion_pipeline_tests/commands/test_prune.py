"""`fashion-pipeline prune`: a dry run unless told; what is gone says so."""

import os
from collections.abc import Callable
from pathlib import Path

from fashion_pipeline_tests.commands.conftest import Said
from fashion_pipeline_tests.small_world import FIRST, SECOND, SmallWorld


def captured(world: SmallWorld) -> set[Path]:
    return {
        path for folder in ("raw", "clean", "rejected") for path in (world.data / folder).rglob("*.*")
    } | {path for path in (world.data / "raw").rglob("*") if path.is_file()}


def test_prune_is_a_dry_run_unless_told(here: SmallWorld, fashion_pipeline: Callable[..., Said]) -> None:
    assert fashion_pipeline("prune").code == 2, "how long is for the owner to say"
    assert fashion_pipeline("prune", "--keep-days", 0).code == 2
    assets = ["raw_feeds", "clean_products", "products"]
    here.feed("alpha", FIRST, [*here.rows("alpha"), here.row("alpha", 12, title="")])
    here.run("line", day=FIRST, assets=assets, config={"raw_feeds": {"refetch": True}})
    here.feed("alpha", SECOND, here.rows("alpha"))
    here.run("line", day=SECOND, assets=assets)
    every = captured(here)
    for path in every:
        os.utime(path, (1, 1))
    here.table("UPDATE rejected_products SET created_at = day RETURNING 1")
    old = {path for path in every if f"store=alpha/day={FIRST}" in str(path)}
    shown = ("rejected", "--store", "alpha", "--day", FIRST)
    assert "1 of 1 rejected items" in fashion_pipeline(*shown).out

    said = fashion_pipeline("prune", "--keep-days", 1)
    assert (said.code, captured(here)) == (0, every)
    assert "1 rejected items" in said.out
    assert "would be removed (dry run; --delete removes)" in said.out
    said = fashion_pipeline("prune", "--keep-days", 1, "--delete")
    assert said.code == 0
    assert said.out.strip().endswith(": removed")
    assert 0 < len(every - captured(here)) <= len(old)
    assert every - captured(here) <= old
    said = fashion_pipeline(*shown)
    assert (said.code, "1 rejected items and 0 broken records of that day were pruned" in said.error) == (
        1,
        True,
    )
    assert here.run("line", day=SECOND, assets=assets).success
