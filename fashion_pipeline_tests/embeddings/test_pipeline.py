import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fashion_pipeline.embeddings.decode import DecodeOptions, decode_image
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.embeddings.pipeline import embed
from fashion_pipeline.embeddings.pool import WorkerStartError
from fashion_pipeline.embeddings.report import EmbedFailure, EmbedItem, EmbedReport, PipelineOptions
from fashion_pipeline.embeddings.vectors import EmbeddedBatch, EncoderMemoryError, Vectors
from fashion_pipeline.errors import ModelError, PermanentError, TransientError
from fashion_pipeline_tests.embeddings.fakes import DECODERS, FAKE_SPEC, FakeEncoder, items, store, vectors_of
from fashion_pipeline_tests.embeddings.pictures import bomb_header, jpeg


@dataclass
class Outcome:
    vectors: dict[str, Vectors] = field(default_factory=dict)
    failures: dict[str, EmbedFailure] = field(default_factory=dict)
    batches: list[EmbeddedBatch] = field(default_factory=list)
    progress: list[tuple[int, int | None]] = field(default_factory=list)
    loads: int = 0
    report: EmbedReport | None = None

    def take(self, batch: EmbeddedBatch) -> None:
        assert not set(batch.sha256) & set(self.vectors), "a vector came twice"
        self.batches.append(batch)
        self.vectors.update(zip(batch.sha256, batch.vectors, strict=True))

    def fail(self, failure: EmbedFailure) -> None:
        assert failure.sha256 not in self.failures
        self.failures[failure.sha256] = failure

    @property
    def classes(self) -> Counter[str]:
        return Counter(failure.error for failure in self.failures.values())


def run(
    stored: dict[str, bytes],
    encoder: Any = None,
    *,
    read: Callable[[str], bytes] | None = None,
    options: PipelineOptions | None = None,
    outcome: Outcome | None = None,
    wanted: Any = None,
    **changes: Any,
) -> Outcome:
    outcome = outcome or Outcome()
    encoder = encoder or FakeEncoder()

    def factory() -> Any:
        outcome.loads += 1
        return encoder

    outcome.report = embed(
        items(stored) if wanted is None else wanted,
        read or stored.__getitem__,
        spec=encoder.spec,
        encoder_factory=factory,
        on_batch=outcome.take,
        on_failure=outcome.fail,
        options=options or PipelineOptions(**changes),
        progress=lambda done, total: outcome.progress.append((done, total)),
    )
    return outcome


def plain(count: int, size: int = 20) -> dict[str, bytes]:
    """Payloads for the decoder `constant`."""
    return store(bytes([65 + number % 26]) + number.to_bytes(4, "big") * size for number in range(count))


def stages_alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("embed-")]


def constant(**changes: Any) -> PipelineOptions:
    return PipelineOptions(decode=f"{DECODERS}:constant", **changes)


def test_vectors_are_those_of_the_encoder_alone(tiny_encoder: Encoder) -> None:
    stored = store(jpeg(seed, 120, 90) for seed in range(110))
    outcome = run(stored, tiny_encoder, workers=2)
    assert set(outcome.vectors) == set(stored)
    for sha256, data in list(stored.items())[:10]:
        pixels = decode_image(data, tiny_encoder.spec.preprocessing)
        np.testing.assert_allclose(
            outcome.vectors[sha256], tiny_encoder.encode_images(pixels[None])[0], atol=1e-5
        )
    report = outcome.report
    assert report is not None
    assert (report.requested, report.embedded, report.failed) == (110, 110, {})
    assert (report.device, report.precision, report.workers) == ("cpu", "fp32", 2)
    assert report.model_id == tiny_encoder.spec.image_model_id
    assert set(report.stage_seconds) == {"read", "decode", "load", "encode", "write"}
    assert report.stage_seconds["decode"] > 0
    assert 0 <= report.encoder_wait_share <= 1
    assert report.images_per_second > 0
    assert report.peak_memory > report.worker_peak_memory > 1 << 20
    assert outcome.progress[-1] == (110, 110)
    (provenance,) = {batch.provenance for batch in outcome.batches}
    assert (provenance.device, provenance.decode_mode) == ("cpu", "full")


def test_nothing_due_loads_nothing_and_starts_nothing() -> None:
    outcome = run({})
    assert outcome.loads == 0
    report = outcome.report
    assert report is not None
    assert (report.requested, report.embedded, report.workers, report.device) == (0, 0, 0, None)


def test_nothing_readable_loads_nothing() -> None:
    outcome = run(store([b"", b"<html>", b"text"]))
    assert outcome.loads == 0
    assert outcome.classes == {"empty": 1, "not_an_image": 2}


def test_model_is_loaded_once_and_after_the_first_batch_is_decoded() -> None:
    stored = plain(100)
    reads: list[str] = []
    seen: list[int] = []

    def read(sha256: str) -> bytes:
        reads.append(sha256)
        return stored[sha256]

    outcome = Outcome()

    def factory() -> FakeEncoder:
        seen.append(len(reads))
        return FakeEncoder()

    embed(
        items(stored),
        read,
        spec=FAKE_SPEC,
        encoder_factory=factory,
        on_batch=outcome.take,
        on_failure=outcome.fail,
        options=constant(),
    )
    assert len(seen) == 1
    assert seen[0] >= 32
    assert len(outcome.vectors) == 100


@pytest.mark.parametrize(("count", "workers"), [(5, 1), (99, 1), (100, 2)])
def test_small_jobs_start_one_worker(count: int, workers: int) -> None:
    outcome = run(plain(count), options=constant(workers=2))
    assert outcome.report is not None
    assert outcome.report.workers == workers
    assert len(outcome.vectors) == count


def test_items_may_come_from_a_generator_and_stay_in_the_callers_thread() -> None:
    stored = plain(80)
    threads: set[threading.Thread] = set()

    def generator() -> Any:
        for item in items(stored):
            threads.add(threading.current_thread())
            yield item

    outcome = Outcome()
    take = outcome.take

    def on_batch(batch: EmbeddedBatch) -> None:
        threads.add(threading.current_thread())
        take(batch)

    outcome.take = on_batch  # type: ignore[method-assign]
    run(stored, wanted=generator(), outcome=outcome, options=constant(batch_rows=20))
    assert threads == {threading.current_thread()}
    assert outcome.progress[-1] == (80, None)
    assert len(outcome.batches) >= 3


def test_one_bad_image_costs_one_image(tiny_encoder: Encoder) -> None:
    whole = jpeg(1)
    bad = {
        b"": "empty",
        b"<!DOCTYPE html><title>404</title>": "not_an_image",
        whole[: len(whole) // 2]: "truncated",
        bomb_header(): "too_many_pixels",
        b"\x89PNG\r\n\x1a\n" + bytes(50): "not_an_image",
    }
    good = store(jpeg(seed) for seed in range(2, 40))
    outcome = run(good | store(bad), tiny_encoder)
    assert set(outcome.vectors) == set(good)
    expected = {hashlib.sha256(data).hexdigest(): slug for data, slug in bad.items()}
    assert {name: failure.error for name, failure in outcome.failures.items()} == expected
    assert all(failure.permanent and failure.detail for failure in outcome.failures.values())
    assert outcome.report is not None
    assert sum(outcome.report.failed.values()) == len(bad)


def test_unreadable_and_altered_bytes_are_faults_of_the_store() -> None:
    stored = plain(40)
    missing, broken, altered = list(stored)[:3]

    def read(sha256: str) -> bytes:
        if sha256 == missing:
            raise PermanentError("no such file")
        if sha256 == broken:
            raise TransientError("the object store is away")
        return b"other" if sha256 == altered else stored[sha256]

    outcome = run(stored, read=read, options=constant())
    assert outcome.classes == {"read_failed": 2, "other_bytes": 1}
    assert outcome.failures[altered].error == "other_bytes"
    assert not any(failure.permanent for failure in outcome.failures.values())
    assert len(outcome.vectors) == 37


def test_a_killed_worker_costs_the_image_that_kills_twice_alone(tmp_path: Path) -> None:
    good = store(jpeg(seed, 40, 30) for seed in range(40))
    lucky = store([f"TIMES 1 {tmp_path / 'marker'}".encode()])
    killers = store([b"KILL 1", b"KILL 2"])
    outcome = run(good | lucky | killers, decode=f"{DECODERS}:deadly", workers=2)
    assert set(outcome.failures) == set(killers)
    assert outcome.classes == {"decode_crashed": 2}
    assert all(f.permanent and "exit status -9" in f.detail for f in outcome.failures.values())
    assert set(outcome.vectors) == set(good) | set(lucky)


def test_an_image_in_whose_company_a_worker_died_gets_a_second_try_alone(tmp_path: Path) -> None:
    stored = store([f"TIMES 2 {tmp_path / 'marker'}".encode()])
    outcome = run(stored, decode=f"{DECODERS}:deadly")
    assert outcome.failures == {}
    assert set(outcome.vectors) == set(stored)


def test_a_hanging_decoder_is_killed() -> None:
    stored = plain(10) | store([b"HANG"])
    started = time.monotonic()
    outcome = run(stored, decode=f"{DECODERS}:hanging", decode_timeout=0.4)
    assert outcome.classes == {"decode_crashed": 1}
    assert len(outcome.vectors) == 10
    assert time.monotonic() - started < 30


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS holds on Linux only")
def test_a_greedy_image_meets_the_memory_limit() -> None:
    stored = plain(10) | store([b"MANY"])
    outcome = run(stored, decode=f"{DECODERS}:greedy", memory_limit=1 << 30)
    assert outcome.classes == {"decode_memory": 1}
    assert len(outcome.vectors) == 10


def test_whatever_a_decoder_does_the_worker_goes_on() -> None:
    stored = plain(10) | store([b"RAISE", b"SHORT"])
    outcome = run(stored, decode=f"{DECODERS}:careless")
    assert outcome.classes == {"decode_failed": 2}
    assert any("ZeroDivisionError" in failure.detail for failure in outcome.failures.values())
    assert len(outcome.vectors) == 10


def test_workers_see_no_secrets_and_load_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:password@host/db")
    assert len(run(plain(3), decode=f"{DECODERS}:nosy").vectors) == 3


def test_a_worker_that_cannot_start_ends_the_run_with_its_reason() -> None:
    with pytest.raises(WorkerStartError, match="no_such_module"):
        run(plain(40), decode="no_such_module:decode")


@pytest.mark.parametrize(("kills", "starts"), [(1, True), (2, False)])
def test_a_worker_that_is_killed_while_it_starts_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int, starts: bool
) -> None:
    marks = tmp_path / "marks"
    (tmp_path / "killed_at_import.py").write_text(
        f"""
import os, pathlib, signal
from {DECODERS} import constant
marks = pathlib.Path({str(marks)!r})
made = marks.read_text() if marks.exists() else ""
if len(made) < {kills}:
    marks.write_text(made + ".")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    if starts:
        assert len(run(plain(3), decode="killed_at_import:constant").vectors) == 3
    else:
        with pytest.raises(WorkerStartError, match="exit status -9"):
            run(plain(3), decode="killed_at_import:constant")


def test_nan_costs_the_images_that_gave_it() -> None:
    stored = store([*plain(30).values(), *(b"\0" + bytes([n]) for n in range(3))])
    encoder = FakeEncoder()
    poisoned = {name for name, data in stored.items() if data[:1] == b"\0"}
    original = encoder.encode_images

    def encode(pixels: Any) -> Vectors:
        vectors = original(pixels)
        vectors[pixels[:, 0, 0, 0] == 0] = np.nan
        return vectors

    encoder.encode_images = encode  # type: ignore[method-assign]
    outcome = run(stored, encoder, options=constant())
    assert set(outcome.failures) == poisoned
    assert outcome.classes == {"bad_vector": 3}
    assert len(outcome.vectors) == 30
    assert all(np.isfinite(vector).all() for vector in outcome.vectors.values())


def test_an_encoder_of_another_shape_or_model_ends_the_run() -> None:
    encoder = FakeEncoder()
    encoder.spoil = lambda vectors: vectors[:, :512]
    with pytest.raises(ModelError, match="512"):
        run(plain(40), encoder, options=constant())
    encoder.spoil = lambda vectors: vectors[:-1]
    with pytest.raises(ModelError, match="vectors for"):
        run(plain(40), encoder, options=constant())


def test_vectors_of_another_model_than_due_are_refused(tiny_encoder: Encoder) -> None:
    with pytest.raises(ModelError, match="are due"):
        embed(
            items(stored := plain(3)),
            stored.__getitem__,
            spec=FAKE_SPEC,
            encoder_factory=lambda: tiny_encoder,
            on_batch=lambda _: None,
            on_failure=lambda _: None,
            options=constant(),
        )


def test_batches_shrink_until_they_fit() -> None:
    encoder = FakeEncoder(batch_size=32, largest=5)
    outcome = run(plain(100), encoder, options=constant())
    assert len(outcome.vectors) == 100
    assert max(encoder.sizes) <= 5
    assert outcome.report is not None
    assert outcome.report.batch_size == 4


def test_where_not_one_image_fits_the_run_ends() -> None:
    with pytest.raises(EncoderMemoryError):
        run(plain(40), FakeEncoder(largest=0), options=constant())


def test_batch_size_and_rows_can_be_set() -> None:
    encoder = FakeEncoder()
    outcome = run(plain(100), encoder, options=constant(batch_size=3, batch_rows=10, chunk=2))
    assert max(encoder.sizes) == 3
    assert len(outcome.vectors) == 100
    assert all(len(batch.sha256) <= 12 for batch in outcome.batches)
    assert len(outcome.batches) >= 9


def test_batches_are_handed_over_in_time() -> None:
    encoder = FakeEncoder(delay=0.05)
    outcome = run(plain(48), encoder, options=constant(batch_seconds=0.1))
    assert len(outcome.batches) >= 2


def test_results_match_their_images() -> None:
    stored = plain(200)
    outcome = run(stored, FakeEncoder(batch_size=7), options=constant(chunk=3, workers=3, readers=5))
    for sha256, data in stored.items():
        pixels = np.full((1, 16, 16, 3), data[0], np.uint8)
        np.testing.assert_allclose(outcome.vectors[sha256], vectors_of(pixels)[0], atol=1e-6)


def test_what_is_under_way_is_bounded() -> None:
    stored = plain(400)
    reads = Counter[str]()
    ahead: list[int] = []
    outcome = Outcome()

    def read(sha256: str) -> bytes:
        reads[sha256] += 1
        ahead.append(sum(reads.values()) - (outcome.progress[-1][0] if outcome.progress else 0))
        return stored[sha256]

    encoder = FakeEncoder(batch_size=8, delay=0.01)
    run(stored, encoder, read=read, outcome=outcome, options=constant(batch_size=8, queue_batches=2))
    assert len(outcome.vectors) == 400
    assert max(ahead) <= 3 * 8 + 8 + 8
    assert set(reads.values()) == {1}


def test_a_failing_callback_ends_the_run_and_a_second_one_does_the_rest() -> None:
    stored = plain(120)
    first = Outcome()
    take = first.take

    def breaks_at_the_third(batch: EmbeddedBatch) -> None:
        if len(first.batches) == 2:
            raise ConnectionError("the database went away")
        take(batch)

    first.take = breaks_at_the_third  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        run(stored, outcome=first, options=constant(batch_rows=16))
    assert stages_alive() == []
    done = set(first.vectors)
    assert len(first.batches) == 2
    second = run({name: data for name, data in stored.items() if name not in done}, options=constant())
    assert set(second.vectors) | done == set(stored)
    assert not set(second.vectors) & done


def test_a_failing_encoder_keeps_what_was_embedded() -> None:
    encoder = FakeEncoder()
    original = encoder.encode_images

    def encode(pixels: Any) -> Vectors:
        if len(encoder.sizes) == 6:
            raise RuntimeError("the device fell off the bus")
        return original(pixels)

    encoder.encode_images = encode  # type: ignore[method-assign]
    outcome = Outcome()
    with pytest.raises(RuntimeError, match="off the bus"):
        run(plain(100), encoder, outcome=outcome, options=constant())
    assert len(outcome.vectors) == 6 * 8 or len(outcome.vectors) == sum(encoder.sizes)


def test_a_failing_factory_ends_the_run() -> None:
    def factory() -> FakeEncoder:
        raise ModelError("no weights")

    stored = plain(40)
    with pytest.raises(ModelError, match="no weights"):
        embed(
            items(stored),
            stored.__getitem__,
            spec=FAKE_SPEC,
            encoder_factory=factory,
            on_batch=lambda _: None,
            on_failure=lambda _: None,
            options=constant(),
        )


def test_an_interrupt_stops_everything() -> None:
    def interrupt(_: EmbeddedBatch) -> None:
        raise KeyboardInterrupt

    outcome = Outcome()
    outcome.take = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(plain(200), outcome=outcome, options=constant(batch_rows=8))
    assert stages_alive() == []


def script(tmp_path: Path, body: str) -> list[str]:
    """A main script without a guard: `multiprocessing` would run it again in every worker."""
    path = tmp_path / "script.py"
    path.write_text(
        "import sys, time\nfrom pathlib import Path\n"
        "from fashion_pipeline.embeddings.pipeline import embed\n"
        "from fashion_pipeline.embeddings.report import PipelineOptions\n"
        "from fashion_pipeline.embeddings.decode import DecodeOptions\n"
        "from fashion_pipeline_tests.embeddings.fakes import *\n" + textwrap.dedent(body)
    )
    return [sys.executable, str(path)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}


def test_works_from_a_script_without_a_main_guard_and_in_bounded_memory(tmp_path: Path) -> None:
    body = """
    count = 70
    body = bytes(9 << 20)
    def read(name):
        return names[name].to_bytes(4, "big") + body
    names = {hashlib.sha256(n.to_bytes(4, "big") + body).hexdigest(): n for n in range(count)}
    got = []
    report = embed(
        items(names), read, spec=FAKE_SPEC, encoder_factory=lambda: FakeEncoder(),
        on_batch=got.append, on_failure=print, options=PipelineOptions(decode=DECODERS + ":constant"),
    )
    print("script ran", report.embedded, report.peak_memory)
    """
    done = subprocess.run(
        script(tmp_path, body), capture_output=True, text=True, timeout=120, env=environment(), check=True
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith("script ran 70 ")
    # 660 MB went through; interpreter, numpy and pyarrow take about 100 MB themselves.
    assert int(line.split()[-1]) < 400 << 20


def test_killed_at_any_moment_and_resumed(tmp_path: Path) -> None:
    """Shards before ledger lines: what the ledger has is whole, and is not computed again."""
    body = """
    from fashion_pipeline.embeddings.shards import write_shard
    from fashion_pipeline.storage import DataLocation
    folder = Path(sys.argv[1])
    data, ledger = DataLocation(str(folder)), folder / "ledger"
    stored = store(bytes([65 + n % 26]) + n.to_bytes(4, "big") for n in range(300))
    known = {line.split()[1] for line in ledger.read_text().splitlines()} if ledger.exists() else set()
    def commit(batch):
        ref = write_shard(data, batch)
        with ledger.open("a") as out:
            out.write("".join(f"{ref.key} {name}\\n" for name in batch.sha256))
    report = embed(
        items(name for name in stored if name not in known), stored.__getitem__, spec=FAKE_SPEC,
        encoder_factory=lambda: FakeEncoder(delay=0.02), on_batch=commit, on_failure=print,
        options=PipelineOptions(decode=DECODERS + ":constant", batch_rows=16,
                                decode_options=DecodeOptions(max_pixels=49_876_543)),
    )
    print(report.embedded)
    """
    command = [*script(tmp_path, body), str(tmp_path)]
    ledger = tmp_path / "ledger"
    victim = subprocess.Popen(command, env=environment())
    deadline = time.monotonic() + 60
    while not (ledger.exists() and ledger.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.1)
    victim.kill()
    victim.wait()
    before = len(ledger.read_text().splitlines())
    assert 0 < before < 300
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True, timeout=120)
    assert int(done.stdout) == 300 - before
    lines = [line.split() for line in ledger.read_text().splitlines()]
    assert len({name for _, name in lines}) == len(lines) == 300

    from fashion_pipeline.embeddings.shards import read_vectors
    from fashion_pipeline.storage import DataLocation

    vectors = dict(read_vectors(DataLocation(str(tmp_path)), [(key, name) for key, name in lines]))
    assert len(vectors) == 300
    if sys.platform == "linux":
        deadline = time.monotonic() + 20
        while (left := processes_with("49876543")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []


def processes_with(text: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (
                (folder / "cmdline").read_bytes().decode(errors="replace") if folder.name.isdigit() else ""
            )
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


def test_draft_mode_stands_in_the_provenance() -> None:
    stored = store(jpeg(seed, 600, 500) for seed in range(3))
    outcome = run(stored, decode_options=DecodeOptions(draft=True))
    assert [batch.provenance.decode_mode for batch in outcome.batches] == ["draft"]


def test_an_error_of_read_that_nobody_foresaw_ends_the_run() -> None:
    with pytest.raises(KeyError, match="ffff"):
        run(plain(3), wanted=[EmbedItem("f" * 64)], options=constant())
