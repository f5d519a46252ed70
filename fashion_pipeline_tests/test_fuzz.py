"""Broken and hostile feeds: an account that adds up or one clear error, in bounded time and memory.

`FUZZ_SEED=... pytest fashion_pipeline_tests/test_fuzz.py` repeats a failure; the seed stands in its message.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pyarrow.parquet as pq
import pytest

from fashion_pipeline.cleaning.cleaner import Cleaner
from fashion_pipeline.cleaning.contract import check_clean_file
from fashion_pipeline.cleaning.run import clean_feed
from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.reading import open_items
from fashion_pipeline_tests.conftest import REAL
from fashion_pipeline_tests.mutations import Sample, mutated, samples

#: CPU seconds of one case; the slowest good one takes a tenth of a second.
LIMIT_SECONDS = 10.0
#: The same cases in every ordinary run, so that it fails only by what was changed.
SEED = "2026-11"


class HangError(BaseException):
    """A case took too long; not an Exception, so that nothing on the way takes it for bad bytes."""


@contextmanager
def bounded() -> Iterator[None]:
    """CPU time, not wall time: the machine may be busy. pytest-timeout has the other timer."""

    def stop(_: int, __: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def outcome(sample: Sample, folder: Path) -> str:
    """Read and clean a feed; "read" after the account and the files were checked, or "refused"."""
    feed = folder / "feed"
    feed.write_bytes(sample.data)
    clean, rejected, deletions = (folder / f"{name}.parquet" for name in ("clean", "rejected", "deletions"))
    deletions.unlink(missing_ok=True)
    try:
        report = clean_feed(
            open_items(feed, sample.store, batch_size=13),
            Cleaner("shop", "EUR", "https://shop.example/"),
            clean_path=clean,
            rejected_path=rejected,
            deletions_path=deletions,
        )
    except FeedError as error:
        told = str(error)
    else:
        assert report.accounting_error() is None
        assert check_clean_file(clean, report.clean) == []
        assert pq.read_metadata(rejected).num_rows == report.rejected + report.broken
        assert not report.deletions or pq.read_metadata(deletions).num_rows == report.deletions
        assert report.items or sample.store.mode == "delta"
        return "read"
    assert told.startswith("store 'shop': "), told
    assert told.isprintable(), told
    assert len(told) < 3_000, told
    return "refused"


def fuzz(seed: str, cases: int, folder: Path) -> Counter[str]:
    """Run cases, each from its own seed; the first that breaks the promise fails the test."""
    known = samples(REAL / "feeds")
    counts: Counter[str] = Counter()
    for number in range(cases):
        sample, steps = mutated(known, f"{seed}/{number}")
        began = time.process_time()
        try:
            with bounded():
                counts[outcome(sample, folder)] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            kept = folder / f"case-{number}"
            kept.write_bytes(sample.data)
            took = time.process_time() - began
            pytest.fail(
                f"FUZZ_SEED={seed}, case {number} ({steps}; as {sample.format} {sample.settings}; kept in {kept}; "
                f"{took:.1f} s): {type(error).__name__}: {error}"
            )
    print(f"FUZZ_SEED={seed}: {dict(counts)}")
    return counts


def test_what_is_broken_is_good_before(tmp_path: Path) -> None:
    for sample in samples(REAL / "feeds"):
        assert outcome(sample, tmp_path) == "read", sample.name


def test_300_broken_feeds(tmp_path: Path) -> None:
    counts = fuzz(os.environ.get("FUZZ_SEED", SEED), 300, tmp_path)
    # Both ends are reached: neither is everything refused, nor does every mutation go unnoticed.
    assert min(counts["read"], counts["refused"]) > 50


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_10_000_broken_feeds(tmp_path: Path) -> None:
    seed = os.environ.get("FUZZ_SEED") or f"{random.SystemRandom().randrange(10**9)}"
    fuzz(seed, 10_000, tmp_path)
