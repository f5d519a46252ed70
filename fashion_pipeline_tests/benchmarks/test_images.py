"""Fetching pictures against a bare aiohttp loop and a thread pool of `requests`; a run with nothing due; memory."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest
from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.line.images import fetch_images
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline.storage import DataLocation
from fashion_pipeline_tests.benchmarks.image_worker import DAY, STORE
from fashion_pipeline_tests.conftest import ROOT

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1200)]

COUNT = 5_000
KNOWN = 100_000
ROUNDS = 3
#: Requests at once: least share of the bare loop's rate, and of the threads'.
FLOORS = {16: (0.7, 0.7), 32: (0.5, 0.75), 64: (0.35, 0.9)}

PRODUCTS = text(
    """
    INSERT INTO products (id, store_id, external_id, title, price, currency, image_url, image_key, content_hash,
                          snapshot_date, first_seen_on)
    SELECT gen_random_uuid(), 'bench', n, 'Dress', 10, 'EUR', url, encode(sha256(convert_to(url, 'UTF8')), 'hex'),
           n, :day, :day
    FROM (SELECT n, 'http://127.0.0.' || n % 10 + 1 || ':' || :port || '/' || n || '.jpg' AS url
          FROM generate_series(0, :count - 1) AS n) numbered
    """
)
#: The question alone: which pictures of the store's products have no row, or one that is due.
BARE_QUERY = text(
    """
    SELECT p.image_key, p.image_url FROM products p LEFT JOIN images i USING (image_key)
    WHERE p.store_id = 'bench' AND p.delisted_on IS NULL
      AND (i.image_key IS NULL OR i.checked_on + 30 <= :day
           OR (i.status = 'failed_transient' AND i.next_attempt_at <= now()))
    """
)


@pytest.fixture
def port() -> Iterator[int]:
    command = [sys.executable, "-m", "fashion_pipeline_tests.benchmarks.picture_server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.terminate()


def measured(way: str, *arguments: object) -> dict[str, float]:
    command = [sys.executable, "-m", "fashion_pipeline_tests.benchmarks.image_worker", way]
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def fill(database: Database, port: int, count: int) -> None:
    with database.connection() as connection:
        connection.execute(text("TRUNCATE products, images"))
        connection.execute(PRODUCTS, {"day": DAY, "port": str(port), "count": count})
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE products"))


@pytest.mark.parametrize("concurrency", FLOORS)
def test_the_whole_stage_against_loops_that_keep_nothing(
    database: Database, database_url: str, port: int, tmp_path: Path, concurrency: int
) -> None:
    rates: dict[str, list[float]] = {"bare": [], "threads": [], "stage": []}
    processor: dict[str, list[float]] = {"bare": [], "threads": [], "stage": []}
    for number in range(ROUNDS):
        for way in ("bare", "threads"):
            found = measured(way, port, COUNT, concurrency)
            assert found["pictures"] == COUNT
            rates[way].append(COUNT / found["seconds"])
            processor[way].append(found["processor"] / COUNT * 1000)
        fill(database, port, COUNT)
        found = measured("stage", port, COUNT, concurrency, database_url, tmp_path / str(number))
        assert found["pictures"] == COUNT
        rates["stage"].append(COUNT / found["seconds"])
        processor["stage"].append(found["processor"] / COUNT * 1000)
    stage, bare, threads = (median(rates[way]) for way in ("stage", "bare", "threads"))
    print(f"\n{COUNT:,} pictures of 50 kB, 10 hosts, 20 ms, {concurrency} at once: {stage:,.0f} pictures/s")
    print(f"  against a bare aiohttp loop: {stage / bare:.2f} x ({bare:,.0f}/s, goal 0.9)")
    print(f"  against a thread pool of requests: {stage / threads:.2f} x ({threads:,.0f}/s, goal 1.5)")
    for way, spent in processor.items():
        print(f"  {way}: {median(spent):.2f} ms of processor time per picture")
    # What a machine with other work beside it keeps; the processor's time hardly depends on that.
    least_of_bare, least_of_threads = FLOORS[concurrency]
    assert stage / bare >= least_of_bare
    assert stage / threads >= least_of_threads
    spent = {way: median(each) for way, each in processor.items()}
    assert spent["stage"] <= 0.9 * spent["threads"]
    assert spent["stage"] <= 5 * spent["bare"]


def test_a_second_run_asks_nobody_and_costs_little_more_than_its_query(
    database: Database, tmp_path: Path
) -> None:
    fill(database, 1, KNOWN)
    with database.connection() as connection:
        connection.execute(
            text(
                "INSERT INTO images (image_key, url, url_sha256, host, status, attempts, checked_on, sha256) "
                "SELECT image_key, image_url, image_key, '127.0.0.1', 'fetched', 0, :day, image_key FROM products"
            ),
            {"day": DAY},
        )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE images"))
    stages, queries = [], []
    for _ in range(7):
        began = time.perf_counter()
        report = fetch_images(database, ImageStore(DataLocation(str(tmp_path))), STORE, DAY,
                              policy=AddressPolicy(), limits=FetchLimits())  # fmt: skip
        stages.append(time.perf_counter() - began)
        # Any request would have failed: nobody listens there, and nothing private is allowed.
        assert (report.due, report.fetch, report.known) == (0, None, KNOWN)
        began = time.perf_counter()
        with database.connection() as connection:
            assert connection.execute(BARE_QUERY, {"day": DAY}).all() == []
        queries.append(time.perf_counter() - began)
    ratio = median(stages) / median(queries)
    print(f"\n{KNOWN:,} known pictures, nothing due: {median(stages) * 1000:.0f} ms")
    print(f"  against the bare query: {ratio:.2f} x its time (goal at most 2)")
    assert ratio <= 2.2


def test_memory_does_not_follow_the_number_of_pictures(
    database: Database, database_url: str, port: int, tmp_path: Path
) -> None:
    memory = {}
    for count in (2_000, 5_000, 20_000):
        fill(database, port, count)
        found = measured("stage", port, count, 32, database_url, tmp_path / str(count))
        assert found["pictures"] == count
        memory[count] = found["memory"]
    told = ", ".join(f"{count:,}: {mebibytes:.0f} MiB" for count, mebibytes in memory.items())
    print(f"\npeak memory of a run by its pictures: {told}")
    assert memory[20_000] <= memory[5_000] * 1.05
