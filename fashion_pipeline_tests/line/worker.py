"""Stages of the line in a process of their own, to be killed or to run beside another.

`python -m fashion_pipeline_tests.line.worker <stage> <database URL> <folder of parts> <store> [model]`
"""

import sys
from collections.abc import Callable
from pathlib import Path

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.line.shards import compact_shards
from fashion_pipeline_tests.line.conftest import DAY
from fashion_pipeline_tests.line.shops import Shop


def say(*words: object) -> None:
    print(*words, flush=True)


def images(shop: Shop) -> None:
    say("done", shop.images(DAY).due)


def embed(shop: Shop) -> None:
    report = shop.embed()
    say("done", report.due, report.entered)


def compact(shop: Shop) -> None:
    say("done", compact_shards(shop.database, shop.data).merged)


def points(shop: Shop) -> None:
    report = shop.points()
    say("done", report.inserted)


def products(shop: Shop) -> None:
    say("done", shop.run(DAY).outcome)


def line(shop: Shop) -> None:
    report = shop.bring(DAY)
    say("done", report.inserted)


def rebuild(shop: Shop) -> None:
    say("done", shop.rebuild().collection)


def hold(shop: Shop) -> None:
    """Hold the lock of a stage until the process ends."""
    with shop.database.lock(shop.name, "products"):
        say("held")
        sys.stdin.read()


if __name__ == "__main__":
    stage, url, parts, name, *model = sys.argv[1:]
    stages: dict[str, Callable[[Shop], None]] = {
        each.__name__: each for each in (images, embed, compact, points, products, line, rebuild, hold)
    }
    stages[stage](Shop(Database(url), Path(parts), name, model=model[0] if model else ""))
