"""Two runs at once: of one store and day they end as one does, and stores that share pictures never lock up."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.image_work import record_images
from fashion_pipeline.catalog.images import record_decode_failures
from fashion_pipeline.images.types import ImageResult, ImageStatus
from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.line.conftest import DAY, item
from fashion_pipeline_tests.line.shops import PictureServer, Shop, copy_sparse, jpeg, sha256

Result = TypeVar("Result")


@pytest.fixture
def shop(database: Database, tmp_path: Path, demo_model: str, empty_index: Path) -> Shop:
    copy_sparse(empty_index, tmp_path / "parts" / "qdrant")
    return Shop(database, tmp_path / "parts", model=demo_model)


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with PictureServer() as running:
        yield running


def at_once(*calls: Callable[[], Result]) -> list[Result]:
    """Results of calls that start together."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Result]) -> Result:
        start.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [done.result(120) for done in [pool.submit(run, call) for call in calls]]


def stock(shop: Shop, count: int = 30) -> list[dict[str, str]]:
    return [item(number, image=shop.picture(number)) for number in range(count)]


def test_two_whole_runs_of_a_store_and_day_in_two_processes_end_as_one(shop: Shop) -> None:
    shop.feed(DAY, stock(shop))
    command = [sys.executable, "-m", "fashion_pipeline_tests.line.worker", "line"]
    arguments = [shop.database.url.render_as_string(hide_password=False), str(shop.parts), shop.name]
    children = [
        subprocess.Popen([*command, *arguments, shop.model], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [child.communicate(timeout=120)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sum(int(words[1]) for words in said) == 30, "every point was inserted once"
    assert len(shop.products()) == 30
    assert [len(list(shop.data.list(folder))) for folder in ("raw", "clean", "rejected")] == [1, 1, 1]
    assert len(shop.rows("SELECT FROM feed_snapshots")) == 1
    assert set(shop.ledger()) == {sha256(jpeg(number)) for number in range(30)}
    assert {point.id for point in shop.indexed().values()} == set(shop.ids().values())
    assert len(shop.entries()) == 30
    state = (shop.products(), shop.entries(), shop.ledger())
    before = shop.index.points_written
    assert shop.bring(DAY).inserted == 0
    assert (shop.products(), shop.entries(), shop.ledger()) == state
    assert shop.index.points_written == before


def test_the_loser_waits_and_then_sees_what_the_winner_did(shop: Shop) -> None:
    shop.feed(DAY, stock(shop))
    shop.capture(DAY)
    shop.clean(DAY)
    reports = at_once(*[lambda: shop.apply(DAY)] * 4)
    assert sorted(report.outcome for report in reports) == ["applied"] + ["unchanged"] * 3
    assert {report.active for report in reports} == {30}
    assert sorted(report.new for report in reports) == [0, 0, 0, 30]


def test_capturing_and_cleaning_at_once_is_done_once(shop: Shop) -> None:
    shop.feed(DAY, [*stock(shop), item(99, price="")])
    captured = at_once(*[lambda: shop.capture(DAY)] * 3)
    assert sorted(report.action for report in captured) == ["fetched", "reused", "reused"]
    cleaned = at_once(*[lambda: shop.clean(DAY)] * 3)
    assert sorted(report.action for report in cleaned) == ["cleaned", "reused", "reused"]
    assert len(shop.rows("SELECT FROM rejected_products")) == 1


def test_pictures_of_a_store_are_asked_once_by_two_runs(shop: Shop, server: PictureServer) -> None:
    shop.run(DAY, [item(n, image=server.put(f"{n}.jpg", jpeg(n))) for n in range(40)])
    reports = at_once(*[lambda: shop.images(DAY)] * 2)
    assert sorted(report.due for report in reports) == [0, 40]
    assert set(server.count().values()) == {1}


def test_two_stores_that_share_pictures_get_both_right(shop: Shop, server: PictureServer) -> None:
    other = Shop(shop.database, shop.parts, "other", model=shop.model)
    shared = [item(n, image=server.put(f"{n}.jpg", jpeg(n))) for n in range(250)]
    shop.feed(DAY, shared)
    other.feed(DAY, [*reversed(shared), item(999, image=server.put("999.jpg", jpeg(999)))])
    reports = at_once(lambda: shop.bring(DAY), lambda: other.bring(DAY))
    assert [report.inserted for report in reports] == [250, 251]
    # In a race a picture may be asked for twice, and never more.
    assert set(server.count().values()) <= {1, 2}
    assert len(shop.image_rows()) == 251
    assert len(shop.ledger()) == 251
    assert (len(shop.indexed()), len(other.indexed())) == (250, 251)
    digests = {name: point.payload["image_sha256"] for name, point in shop.indexed().items()}
    assert digests == {f"sku-{n}": sha256(jpeg(n)) for n in range(250)}
    later = DAY + timedelta(days=1)
    assert [report.inserted for report in (shop.bring(later, shared), other.points())] == [0, 0]


def test_ledger_writes_of_shared_pictures_in_any_order_do_not_lock_up(shop: Shop) -> None:
    """Both orders at once, many times: PostgreSQL would end one of two that wait for each other."""
    digests = [sha256(jpeg(number)) for number in range(60)]
    outcomes = [
        ImageResult(
            sha256(digest.encode()), f"https://cdn.example/{digest}", ImageStatus.FETCHED, sha256=digest
        )
        for digest in digests
    ]
    (asked,) = shop.rows("SELECT now() AS at")

    def record(order: int) -> None:
        for _ in range(15):
            record_images(shop.database, outcomes[::order], day=DAY, asked_at=asked["at"])

    def fail(order: int) -> None:
        for _ in range(15):
            record_decode_failures(shop.database, [(digest, "truncated") for digest in digests[::order]])

    record(1)
    at_once(lambda: record(1), lambda: record(-1), lambda: fail(1), lambda: fail(-1))
    with shop.database.connection() as connection:
        assert connection.scalar(text("SELECT count(*) FROM images WHERE decode_error = 'truncated'")) == 60
