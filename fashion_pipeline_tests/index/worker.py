"""What other processes do in the tests of the embedded store: `python -m ...worker <task> <folder> ...`."""

import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numpy as np

from fashion_pipeline.index import edge_shard
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.search import search
from fashion_pipeline.index.types import Point
from fashion_pipeline_tests.index.making import DIMENSION, vector_of

BATCH = 40


def batch_of(writer: str, number: int) -> list[Point]:
    vectors = np.random.default_rng(number).standard_normal((BATCH, DIMENSION)).astype(np.float32)
    return [
        Point(id_in(writer, number, row), vectors[row], {"writer": writer, "batch": number})
        for row in range(BATCH)
    ]


def id_in(writer: str, batch: int, row: int) -> UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{writer}/{batch}/{row}")


def say(*words: object) -> None:
    print(*words, flush=True)


def write(store: EdgeStore, name: str, writer: str, batches: int) -> None:
    """One lock per batch; every acknowledged batch is told."""
    for number in range(batches):
        store.upsert(name, batch_of(writer, number))
        say(number)


def hog(store: EdgeStore, name: str, writer: str, batches: int) -> None:
    """One session for everything, as long as it takes."""
    with store.session(name, "loading everything"):
        for number in range(batches):
            store.upsert(name, batch_of(writer, number))
            say(number)
            time.sleep(0.02)


def hold(store: EdgeStore, name: str, _who: str, _count: int) -> None:
    """Write inside a session that never ends."""
    with store.session(name, "a job that hangs"):
        store.upsert(name, batch_of("hold", 0))
        say("held")
        time.sleep(120)


def seek(store: EdgeStore, alias: str, _: str, searches: int) -> None:
    """Search behind an alias; tells which collection each answer came from."""
    for _number in range(searches):
        hits = search(store, alias, vector_of(1), limit=5)
        say(*sorted({hit.payload["store_id"] for hit in hits}), len(hits))


def mapped(folder: str) -> int:
    """KiB of the files below a folder in this process."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(maxsplit=1)[0]:
            ours = folder in line
        elif ours and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


def weigh(store: EdgeStore, name: str, _who: str, batches: int) -> None:
    """What is mapped after a write, and after a call and a write that give back all they may; then count and search."""
    for number in range(batches):
        store.upsert(name, batch_of("first", number))
    say(mapped(folder))
    edge_shard.MAY_GATHER = 0
    store.count(name)
    say(mapped(folder))
    more = range(batches, 2 * batches)
    store.upsert(name, [point for number in more for point in batch_of("second", number)])
    say(mapped(folder))
    say(store.count(name))
    sought = batch_of("first", 3)[7]
    say(sought.id, *(hit.id for hit in store.query(name, sought.vector, limit=1)))
    say(mapped(folder))


if __name__ == "__main__":
    task, folder, collection, who, count = sys.argv[1:]
    tasks: dict[str, Callable[[EdgeStore, str, str, int], None]] = {
        "write": write,
        "hog": hog,
        "hold": hold,
        "seek": seek,
        "weigh": weigh,
    }
    tasks[task](EdgeStore(Path(folder)), collection, who, int(count))
