"""The embedded store between threads and processes, and after a `kill -9`."""

import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.errors import CollectionError, PermanentError, TransientError
from fashion_pipeline.index import edge_query
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.edge_shard import HeldShard
from fashion_pipeline.index.types import Point
from fashion_pipeline_tests.index.making import FEW_INDEXES, id_of, point, points, spec, vector_of
from fashion_pipeline_tests.index.worker import BATCH

Spawn = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def spawn(edge: EdgeStore, tmp_path: Path) -> Iterator[Spawn]:
    """Start a task of `worker` on the same folder; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(task: str, name: str, who: str = "-", count: int = 0) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "fashion_pipeline_tests.index.worker"]
        process = subprocess.Popen(
            [*command, task, str(tmp_path / "qdrant"), name, who, str(count)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    found = process.stdout.readline()
    assert found, process.communicate()[1]
    return found.strip()


def rest(process: "subprocess.Popen[str]") -> list[str]:
    """The lines that `line` did not give yet: some may lie in the stream, past which `communicate` would read."""
    assert process.stdout is not None
    found = process.stdout.read().splitlines()
    process.wait(timeout=120)
    return found


def finish(process: "subprocess.Popen[str]") -> list[str]:
    found = rest(process)
    assert process.returncode == 0, process.communicate()[1]
    return found


def test_a_killed_writer_leaves_exactly_what_it_acknowledged(edge: EdgeStore, spawn: Spawn) -> None:
    edge.ensure_collection(spec("c"))
    doomed, other = spawn("write", "c", "doomed", 500), spawn("write", "c", "other", 12)
    acknowledged = [int(line(doomed)) for _ in range(6)]
    doomed.kill()
    acknowledged += map(int, rest(doomed))
    assert finish(other) == [str(number) for number in range(12)]

    there: dict[str, Counter[int]] = {"doomed": Counter(), "other": Counter()}
    for _, payload in edge.scroll("c", fields=["writer", "batch"]):
        there[payload["writer"]][payload["batch"]] += 1
    assert there["other"] == dict.fromkeys(range(12), BATCH)
    # The one batch that was under way is there whole or not at all.
    extra = set(there["doomed"]) - set(acknowledged)
    assert extra <= {acknowledged[-1] + 1}
    assert there["doomed"] == dict.fromkeys([*acknowledged, *extra], BATCH)
    assert edge.count("c") == BATCH * (12 + len(acknowledged) + len(extra))
    edge.upsert("c", points(3))
    assert edge.count("c") == BATCH * (12 + len(acknowledged) + len(extra)) + 3


def test_a_holder_is_named_and_unharmed_and_its_death_frees_the_lock(
    edge: EdgeStore, spawn: Spawn, tmp_path: Path
) -> None:
    edge.ensure_collection(spec("c"))
    holder = spawn("hold", "c")
    assert line(holder) == "held"
    hasty = EdgeStore(tmp_path / "qdrant", read_timeout=0.3, write_timeout=0.3)
    with pytest.raises(TransientError) as caught:
        hasty.count("c")
    for words in (f"process {holder.pid}", "a job that hangs (c)", "counting", "0.3 s", "since 20"):
        assert words in str(caught.value)
    with pytest.raises(TransientError, match="writing points"):
        hasty.upsert("c", points(1))
    holder.kill()
    holder.wait()
    assert edge.count("c") == BATCH


def test_a_refused_reader_does_not_spoil_the_owner(edge: EdgeStore, tmp_path: Path) -> None:
    edge.ensure_collection(spec("c"))
    hasty = EdgeStore(tmp_path / "qdrant", read_timeout=0.1)
    with edge.session("c"):
        edge.upsert("c", points(20))
        with pytest.raises(TransientError):
            hasty.count("c")
        edge.upsert("c", points(20, start=20))
    assert hasty.count("c") == 40


def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that this process opens from here on."""
    found: list[str] = []
    real = HeldShard.open

    def counted(self: HeldShard) -> None:
        found.append(self.name)
        real(self)

    monkeypatch.setattr(HeldShard, "open", counted)
    return found


def test_an_unused_shard_stays_open_for_the_next_call(
    edge: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge.ensure_collection(spec("c"))
    opens = opened(monkeypatch)
    edge.upsert("c", points(5))
    found = []
    reader = threading.Thread(target=lambda: found.append(edge.count("c")))
    reader.start()
    reader.join()
    assert found == [5]
    assert opens == ["c"]
    edge.close()
    assert edge.count("c") == 5
    assert opens == ["c", "c"]


def test_another_collection_s_unused_shard_is_closed(
    edge: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        edge.ensure_collection(spec(name))
    opens = opened(monkeypatch)
    for name in ("a", "a", "b", "a"):
        edge.upsert(name, points(5))
    assert opens == ["a", "b", "a"]


def test_an_unused_shard_is_given_to_whoever_waits(edge: EdgeStore, spawn: Spawn) -> None:
    edge.ensure_collection(spec("c"))
    edge.upsert("c", points(5))
    for _ in range(3):
        other = spawn("write", "c", "other", 2)
        assert finish(other) == ["0", "1"]
        assert edge.query("c", vector_of(1), limit=1)
    assert edge.count("c") == 5 + 2 * BATCH


def test_an_unused_shard_is_closed_after_a_while(
    edge: EdgeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fashion_pipeline.index.edge_kept.KEEP_SECONDS", 0.0)
    edge.ensure_collection(spec("c"))
    edge.upsert("c", points(5))
    lock = tmp_path / "qdrant" / "locks" / "collection-c.lock"
    deadline = time.monotonic() + 10
    while lock.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lock.read_bytes() == b""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is mapped")
def test_pages_of_the_files_are_given_back_between_calls(edge: EdgeStore, spawn: Spawn) -> None:
    edge.ensure_collection(spec("c"))
    # In a process of its own: other tests' shards, closed meanwhile, would count as pages given back.
    *figures, search, after_search = finish(spawn("weigh", "c", count=50))
    before, counted, written, found = map(int, figures)
    assert before > 5000
    assert counted < before / 10
    assert written < before / 10
    sought, hit = search.split()
    assert hit == sought
    assert int(after_search) > before / 10  # the next search wants them, too
    assert found == edge.count("c") == 100 * BATCH


def test_an_unused_shard_of_a_removed_folder_is_let_go(edge: EdgeStore, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    edge.ensure_collection(spec("c"))
    edge.upsert("c", points(5))
    (watcher,) = set(threading.enumerate()) - before
    shutil.rmtree(tmp_path / "qdrant")
    deadline = time.monotonic() + 10
    while watcher.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert edge.collections() == []


def test_a_restored_collection_is_opened_anew(edge: EdgeStore, tmp_path: Path) -> None:
    folder = tmp_path / "qdrant" / "collections" / "c"
    edge.ensure_collection(spec("c"))
    edge.upsert("c", points(5))
    edge.close()
    shutil.copytree(folder, tmp_path / "backup")
    edge.upsert("c", points(5, start=5))
    assert edge.count("c") == 10
    shutil.rmtree(folder)
    with pytest.raises(CollectionError, match="no collection 'c'"):
        edge.count("c")
    shutil.copytree(tmp_path / "backup", folder)
    assert edge.count("c") == 5


def test_a_long_session_lets_a_search_in(edge: EdgeStore, spawn: Spawn) -> None:
    edge.ensure_collection(spec("c"))
    hog = spawn("hog", "c", "hog", 150)
    line(hog)
    started = time.monotonic()
    assert edge.query("c", vector_of(1), limit=3)
    waited = time.monotonic() - started
    assert hog.poll() is None, "the holder was already done: nothing was shown"
    assert waited < 8
    finish(hog)
    assert edge.count("c") == 150 * BATCH


def test_searches_never_fail_while_the_alias_moves(edge: EdgeStore, spawn: Spawn) -> None:
    for name in ("red", "blue"):
        edge.ensure_collection(spec(name))
        edge.upsert(name, points(5, store_id=name))
    edge.set_alias("serving", "red")
    seeker = spawn("seek", "serving", count=25)
    seen = [line(seeker)]
    target = "red"
    while seeker.poll() is None:
        target = "blue" if target == "red" else "red"
        edge.set_alias("serving", target)
        time.sleep(0.05)
    seen += finish(seeker)
    assert len(seen) == 25
    assert set(seen) == {"red 5", "blue 5"}


def test_threads(edge: EdgeStore) -> None:
    edge.ensure_collection(spec("c"))
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for batch in range(4):
                edge.upsert("c", points(10, start=1000 * thread + 10 * batch))
                assert edge.query("c", vector_of(1), limit=1)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert edge.count("c") == 160
    assert edge.points_written == 160


def forked(work: Callable[[], object]) -> int:
    """The exit status of a forked child that does `work`: 0 where that raised nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forking with threads
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_keeps_away_from_its_parents_shard(edge: EdgeStore, tmp_path: Path) -> None:
    edge.ensure_collection(spec("c"))
    impatient = EdgeStore(tmp_path / "qdrant", read_timeout=0.2)

    def count() -> None:
        with pytest.raises(TransientError):
            impatient.count("c")

    with impatient.session("c"):
        impatient.upsert("c", points(5))
        assert forked(count) == 0
        impatient.upsert("c", points(5, start=5))
    assert edge.count("c") == 10


def test_a_forked_child_does_not_inherit_an_unused_shard(edge: EdgeStore) -> None:
    edge.ensure_collection(spec("c"))
    edge.upsert("c", points(5))
    assert forked(lambda: edge.upsert("c", points(5, start=5))) == 0
    assert edge.count("c") == 10


def test_a_crash_while_creating_is_mended(edge: EdgeStore, tmp_path: Path) -> None:
    shard = tmp_path / "qdrant" / "collections" / "c" / "shard"
    shard.mkdir(parents=True)
    (shard / "edge_config.json").write_text("{")
    assert edge.collections() == []
    with pytest.raises(CollectionError, match="no collection 'c'"):
        edge.count("c")
    assert edge.ensure_collection(spec("c")) is True
    assert edge.upsert("c", points(2)) == 2


def test_a_source_that_fails_writes_nothing_and_holds_nothing(edge: EdgeStore, tmp_path: Path) -> None:
    edge.ensure_collection(spec("c"))
    other = EdgeStore(tmp_path / "qdrant", read_timeout=0.5)

    def source() -> Iterator[Point]:
        yield point(1)
        assert other.count("c") == 0
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        edge.upsert("c", source())
    assert other.count("c") == 0


def test_a_damaged_shard_is_named(edge: EdgeStore, tmp_path: Path) -> None:
    edge.ensure_collection(spec("c"))
    (tmp_path / "qdrant" / "collections" / "c" / "shard" / "edge_config.json").write_text("{")
    with pytest.raises(PermanentError, match="collection 'c'"):
        edge.count("c")
    with pytest.raises(PermanentError, match="collection 'c'"):
        edge.count("c")


def test_a_further_fetch_of_groups_learns_from_the_last(
    edge: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight variants of everything that share their picture: four to a group are fetched first."""
    edge.ensure_collection(spec("c"))
    made = [
        point(number, vector=vector_of(100 + number // 8), item_group_id=f"g{number // 8}", store_id="s")
        for number in range(400)
    ]
    edge.upsert("c", made)
    fetch, sizes = edge_query._fetch, []

    def counted(*given: Any) -> Any:
        sizes.append(given[2])
        return fetch(*given)

    monkeypatch.setattr(edge_query, "_fetch", counted)
    found = edge.query("c", vector_of(103), limit=10, group_by="item_group_id")
    assert len({hit.payload["item_group_id"] for hit in found}) == 10
    assert sizes == [40, 60]


def test_optimize_keeps_the_points_and_drops_the_deleted(edge: EdgeStore) -> None:
    edge.ensure_collection(spec("c"))
    edge.upsert("c", points(1100))
    edge.delete("c", [id_of(number) for number in range(300)])
    assert edge.optimize("c") is True
    info = edge.describe("c")
    assert info.points == 800
    assert info.indexed_vectors == 0
    assert dict(info.payload_indexes) == FEW_INDEXES
    assert edge.query("c", vector_of(700), limit=1)[0].id == id_of(700)
    assert edge.optimize("c") is False


def test_hnsw_is_built_from_its_threshold_on(edge: EdgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fashion_pipeline.index.edge_shard._HNSW_FROM_KILOBYTES", 1000)
    edge.ensure_collection(spec("c"))
    edge.upsert("c", points(600))
    assert edge.describe("c").indexed_vectors == 0
    assert edge.optimize("c") is True
    assert edge.describe("c").indexed_vectors == 600
    for exact in (False, True):
        assert edge.query("c", vector_of(5), limit=1, exact=exact)[0].id == id_of(5)


def test_health_of_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    health = EdgeStore(tmp_path / "file" / "qdrant").health()
    assert not health.ok
    assert str(tmp_path / "file") in health.detail
