"""One way to get pictures, in a process of its own, so that neither the others' memory nor their CPU time counts.

`python -m fashion_pipeline_tests.benchmarks.image_worker WAY PORT COUNT CONCURRENCY [DATABASE_URL FOLDER]` prints
a line of JSON: seconds, seconds of processor time, peak memory in MiB, pictures.
"""

import asyncio
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import aiohttp
import requests

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.line.images import fetch_images
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline.storage import DataLocation

HOSTS = 10
STORE = StoreConfig.model_validate({"id": "bench", "format": "google_xml", "location": "/nowhere"})
DAY = date(2026, 11, 2)


def urls(port: int, count: int) -> Iterator[str]:
    return (f"http://127.0.0.{number % HOSTS + 1}:{port}/{number}.jpg" for number in range(count))


def bare(port: int, count: int, concurrency: int) -> int:
    """A loop over aiohttp that keeps nothing."""
    left = urls(port, count)

    async def run() -> int:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def work() -> int:
                done = 0
                for url in left:
                    async with session.get(url) as response:
                        done += len(await response.read()) > 0
                return done

            return sum(await asyncio.gather(*(work() for _ in range(concurrency))))

    return asyncio.run(run())


def threads(port: int, count: int, concurrency: int) -> int:
    """A pool of threads, each with a `requests` session, that keeps nothing."""
    local = threading.local()

    def get(url: str) -> bool:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        return len(local.session.get(url, timeout=60).content) > 0

    with ThreadPoolExecutor(concurrency) as pool:
        return sum(pool.map(get, urls(port, count)))


def stage(concurrency: int, database: Database, folder: str) -> int:
    """The whole stage: work list, guard, queue, inspection, hashing, files, rows."""
    report = fetch_images(
        database,
        ImageStore(DataLocation(str(Path(folder)))),
        STORE,
        DAY,
        policy=AddressPolicy(frozenset({"127.0.0.0/8"})),
        limits=FetchLimits(
            concurrency=concurrency,
            per_host_concurrency=concurrency,
            per_host_rate=None,
            robots_exempt_hosts=frozenset(f"127.0.0.{number}" for number in range(1, HOSTS + 1)),
        ),
    )
    return report.fetch.stored if report.fetch else 0


if __name__ == "__main__":
    way, port, count, concurrency, *rest = sys.argv[1:]
    if rest:
        database = Database(rest[0])
        with database.connection():
            pass  # connected, and its driver imported, as in the line, where other assets came before
    ways: dict[str, Callable[[], int]] = {
        "bare": lambda: bare(int(port), int(count), int(concurrency)),
        "threads": lambda: threads(int(port), int(count), int(concurrency)),
        "stage": lambda: stage(int(concurrency), database, rest[1]),
    }
    began, processor_began = time.perf_counter(), time.process_time()
    pictures = ways[way]()
    seconds, processor = time.perf_counter() - began, time.process_time() - processor_began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "processor": processor, "memory": memory, "pictures": pictures}))
