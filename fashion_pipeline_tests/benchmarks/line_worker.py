"""A day of the whole line through Dagster, in a process of its own, with what each stage took.

`python -m fashion_pipeline_tests.benchmarks.line_worker JOB [--day DAY] [--injected]` runs a job for every store of
`feeds.yaml` (`line` for a day, `fill_candidate`, `collection`, `promote`) and prints a line of JSON. Settings come
from the environment. With `--injected` no model computes: see `InjectedEncoder`.
"""

import argparse
import hashlib
import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np

from fashion_pipeline.definitions import build_definitions
from fashion_pipeline.defs.executor import keep_connections
from fashion_pipeline.defs.loggers import QUIET
from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline.defs.resources import EncoderResource
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.embeddings.spec import DIMENSION, ModelSpec, read_spec
from fashion_pipeline.embeddings.vectors import Pixels, Vectors
from fashion_pipeline.home import enter_home
from fashion_pipeline.parts import open_feeds
from fashion_pipeline.settings import load_settings

GRID = 16
SAMPLE_SECONDS = 0.2


class InjectedEncoder(Encoder):
    """Stands for a model whose time would not do: 16 x 16 pixels of the picture as a vector of 768 numbers.

    Its vectors are a function of the picture, and unlike for unlike pictures; its texts mean nothing.
    """

    def __init__(self, spec: ModelSpec) -> None:
        import torch

        super().__init__(spec, None, torch.device("cpu"), "fp32")

    @property
    def device(self) -> str:
        """Told as provenance of its vectors."""
        return "injected"

    def start(self, pixels: Pixels) -> Callable[[], Vectors]:
        """Vectors, float32 [n, 768], of images, uint8 [n, height, width, 3]."""
        height, width = pixels.shape[1:3]
        rows = (np.arange(GRID) * height + height // 2) // GRID
        columns = (np.arange(GRID) * width + width // 2) // GRID
        grid = pixels[:, rows][:, :, columns].reshape(len(pixels), -1).astype(np.float32) - 127.25
        return lambda: grid

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Vectors, float32 [n, 768], drawn from the texts' hashes."""
        drawn = [
            np.random.default_rng(list(hashlib.sha256(text.encode()).digest())).standard_normal(DIMENSION)
            for text in texts
        ]
        vectors = np.array(drawn, np.float32)
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


class InjectedEncoderResource(EncoderResource):
    """Loads no model."""

    def load(self, model_ref: str) -> Encoder:
        """The injected encoder under the name of the model."""
        return InjectedEncoder(read_spec(model_ref))


class Memory(threading.Thread):
    """Resident memory of this process and its children, sampled."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int, int]] = []
        self.ended = threading.Event()

    def run(self) -> None:
        """Until `ended`."""
        while not self.ended.wait(SAMPLE_SECONDS):
            self.samples.append((time.time(), *resident()))

    def peak(self, began: float, ended: float) -> int:
        """Most bytes between two moments, 0 where no sample fell between them."""
        return max((total for at, total, _ in self.samples if began <= at <= ended), default=0)


def resident() -> tuple[int, int]:
    """Bytes that this process and its descendants hold: all, and those that no file backs."""
    processes = {os.getpid()}
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # ended meanwhile
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    # PostgreSQL's processes are not below this one: whoever measures holds the server.
    while more := {child for child, parent in parents.items() if parent in processes} - processes:
        processes |= more
    total = anonymous = 0
    for process in processes:
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        sizes = dict(line.split(":", 1) for line in status.splitlines())
        total += int(sizes.get("VmRSS", "0").split()[0])
        anonymous += int(sizes.get("RssAnon", "0").split()[0])
    return total << 10, anonymous << 10


def definitions(injected: bool) -> dg.Definitions:
    """The project's own, with the encoder exchanged where the benchmark says so."""
    built = build_definitions()
    if not injected:
        return built
    return dg.Definitions(
        assets=built.assets,
        asset_checks=built.asset_checks,
        jobs=built.jobs,
        resources={**(built.resources or {}), "encoder": InjectedEncoderResource()},
        executor=built.executor,
    )


def main() -> None:
    """Run one job for every store and print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job", choices=("collection", "line", "fill_candidate", "promote"))
    parser.add_argument("--day")
    parser.add_argument("--injected", action="store_true")
    arguments = parser.parse_args()
    born = process_start()
    memory = Memory()
    memory.start()
    settings = load_settings()
    enter_home(settings)
    job = definitions(arguments.injected).resolve_job_def(arguments.job)
    stores = [store.id for store in open_feeds(settings).stores]
    keys: list[str | None] = [None]
    if arguments.job == "line":
        keys = [LinePartition(store, date.fromisoformat(arguments.day)).key for store in stores]
    elif arguments.job == "fill_candidate":
        keys = list(stores)
    seconds: dict[str, float] = defaultdict(float)
    peaks: dict[str, int] = defaultdict(int)
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    failures: list[str] = []
    with dg.DagsterInstance.get() as instance:
        # As a run's own process does, which this one stands for.
        keep_connections(instance)
        started = time.time()
        for key in keys:
            result = job.execute_in_process(
                instance=instance, partition_key=key, run_config=QUIET, raise_on_error=False
            )
            failures += [
                f"{key} {event.step_key}: {event.step_failure_data}"
                for event in result.all_events
                if event.is_step_failure
            ]
            for step in instance.get_run_step_stats(result.run_id):
                seconds[step.step_key] += step.end_time - step.start_time
                peaks[step.step_key] = max(peaks[step.step_key], memory.peak(step.start_time, step.end_time))
            for event in result.get_asset_materialization_events():
                found = counts[event.materialization.asset_key.to_user_string()]
                for name, value in event.materialization.metadata.items():
                    if isinstance(value, dg.IntMetadataValue) and value.value is not None:
                        found[name] += value.value
        ended = time.time()
    memory.ended.set()
    memory.join()
    print(
        json.dumps(
            {
                "start_up": started - born,
                "seconds": ended - started,
                "processor": sum(os.times()[:4]),
                "runs": len(keys),
                "stages": seconds,
                "stage_peaks": peaks,
                "counts": counts,
                "peak": memory.peak(born, ended),
                "peak_anonymous": max(anonymous for _, _, anonymous in memory.samples),
                "failures": failures,
            }
        )
    )


def process_start() -> float:
    """When this process began, in seconds since the epoch, so that its imports count as start-up."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    up = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - up + int(fields[19]) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
