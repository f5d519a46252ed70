"""`product_images` killed at random moments, again and again: nothing is lost, nothing committed is asked twice."""

import random
import sys
import time
from pathlib import Path
from subprocess import DEVNULL, Popen

import pytest

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.line.image_care import collect_garbage, verify_pictures
from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.line.conftest import DAY, item
from fashion_pipeline_tests.line.shops import PictureServer, Shop, jpeg, sha256

COUNT = 5_000
KILLS = 8


def committed(shop: Shop) -> set[str]:
    return {row["url"] for row in shop.rows("SELECT url FROM images WHERE status = 'fetched'")}


def run_and_kill(shop: Shop, server: PictureServer, after: int, wait: float) -> None:
    """Kill -9 a run so many seconds after so many of its requests."""
    command = [sys.executable, "-m", "fashion_pipeline_tests.line.worker", "images"]
    arguments = [shop.database.url.render_as_string(hide_password=False), str(shop.parts), shop.name]
    with Popen([*command, *arguments], cwd=ROOT, stdout=DEVNULL) as child:
        deadline = time.monotonic() + 60
        while len(server.asked) < after:
            assert child.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(wait)
        child.kill()
    time.sleep(0.1)  # what was on its way to the server when the run died


@pytest.mark.slow
def test_5_000_pictures_survive_kills_at_random_moments(database: Database, tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    moments = random.Random(seed)
    shop = Shop(database, tmp_path / "parts")
    with PictureServer() as server:
        urls = [server.put(f"{number}.jpg", jpeg(number)) for number in range(COUNT)]
        shop.run(DAY, [item(number, image=url) for number, url in enumerate(urls)])
        asked = 0
        for _ in range(KILLS):
            before = committed(shop)
            server.forget()
            run_and_kill(shop, server, moments.randint(1, COUNT // (2 * KILLS)), moments.uniform(0.0, 0.1))
            assert not {server.url(name) for name in server.count()} & before
            assert before <= committed(shop)
            asked += len(server.asked)
        before = committed(shop)
        assert len(before) < COUNT, "the kills came too late to prove anything"
        server.forget()
        report = shop.images(DAY)
        assert {server.url(name) for name in server.count()} == set(urls) - before
        assert (report.due, report.known) == (COUNT - len(before), COUNT)
        assert shop.images(DAY).due == 0
        print(
            f"{len(before):,} committed by {KILLS} killed runs, {asked + len(server.asked) - COUNT:,} asked twice"
        )
    assert {row["sha256"] for row in shop.image_rows().values()} == {
        sha256(jpeg(number)) for number in range(COUNT)
    }
    images = ImageStore(shop.data)
    assert verify_pictures(database, images, sample=None, repair=False).whole
    later = time.time() + 86_400 * 30
    collect_garbage(database, images, older_than_days=7, delete=True, now=later)
    files = [path for path in (shop.parts / "data" / "images").rglob("*") if path.is_file()]
    assert len(files) == COUNT
