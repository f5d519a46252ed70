"""Reads and cleans feeds, each in a forked child whose memory and CPU time are limited by the system.

`python -m fashion_pipeline_tests.hostile_worker FOLDER` does every `*.json` there (name of a file beside it,
settings of the store) and prints one line of JSON per case.
"""

import json
import os
import resource
import sys
from pathlib import Path

from fashion_pipeline.cleaning.cleaner import Cleaner
from fashion_pipeline.cleaning.run import clean_feed
from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.feeds.reading import open_items

#: Address space beside what the interpreter and its libraries have mapped already.
MEMORY = 1 << 30
CPU_SECONDS = 60


def mapped() -> int:
    """Bytes of address space of this process."""
    pages = Path("/proc/self/statm").read_text().split()[0]
    return int(pages) * resource.getpagesize()


def read_and_clean(feed: Path, settings: dict[str, object]) -> str:
    """What became of a feed, in a line."""
    store = StoreConfig.model_validate({"id": "shop", "location": "feed", "currency": "EUR", **settings})
    try:
        report = clean_feed(
            open_items(feed, store),
            Cleaner("shop", "EUR", "https://shop.example/"),
            clean_path=feed.with_suffix(".clean"),
            rejected_path=feed.with_suffix(".rejected"),
            deletions_path=feed.with_suffix(".deletions"),
        )
    except FeedError as error:
        return f"refused: {error}"
    problem = report.accounting_error()
    told = f"clean {report.clean}, rejected {report.rejected}, broken {report.broken}"
    return f"read: {told}" if problem is None else f"account: {problem}"


def in_child(feed: Path, settings: dict[str, object]) -> dict[str, object]:
    """The outcome of one feed, with the CPU seconds and the memory that it took."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        limit = mapped() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        try:
            told = read_and_clean(feed, settings)
        except BaseException as error:
            told = f"raised: {type(error).__name__}: {str(error)[:300]}"
        os.write(writer, told.encode("utf-8", "replace")[:4096])
        os._exit(0)
    os.close(writer)
    _, status, usage = os.wait4(child, 0)
    told = os.read(reader, 65_536).decode() or f"died: status {status}"
    os.close(reader)
    return {
        "told": told,
        "seconds": usage.ru_utime + usage.ru_stime,
        "mebibytes": usage.ru_maxrss // 1024,
    }


if __name__ == "__main__":
    for case in sorted(Path(sys.argv[1]).glob("*.json")):
        print(
            json.dumps(
                {"name": case.stem} | in_child(case.with_suffix(".feed"), json.loads(case.read_text()))
            )
        )
        sys.stdout.flush()
