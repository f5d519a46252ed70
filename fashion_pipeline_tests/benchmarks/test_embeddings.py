"""Embedding against the bare model, the bare decode workers, and the loop of the model card; in one run."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fashion_pipeline.embeddings.decode import DecodeOptions
from fashion_pipeline.embeddings.draft import admitted_decode, measure_draft, write_draft
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.embeddings.machine import available_cores
from fashion_pipeline.embeddings.report import PipelineOptions
from fashion_pipeline.embeddings.spec import ModelSpec
from fashion_pipeline.embeddings.vectors import Pixels, Provenance, Vectors
from fashion_pipeline_tests.benchmarks.gpu_embeddings import bare_decode, bare_model, end_to_end, payloads
from fashion_pipeline_tests.embeddings.model_folders import siglip_config, write_folder
from fashion_pipeline_tests.embeddings.pictures import jpeg

ROUNDS = 2
LARGE = (1200, 1600)
WORKERS = available_cores()


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    folder = write_folder(tmp_path_factory.mktemp("siglip") / "model", siglip_config())
    encoder = load_encoder(f"local-dir:{folder}", device="cpu")
    write_draft(encoder.spec, measure_draft(encoder, [jpeg(seed, *LARGE) for seed in range(4)]))
    yield encoder
    encoder.close()


@pytest.fixture(scope="module")
def demo(demo_model: str) -> Iterator[Encoder]:
    encoder = load_encoder(demo_model, device="cpu")
    yield encoder
    encoder.close()


def card_loop(ref: str, stored: dict[str, bytes], processor: "Processor") -> tuple[float, dict[str, Vectors]]:
    """Images/s and vectors of what the model card shows: open, preprocess, encode, one picture after the other."""
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(ref)
    model.eval()
    found: dict[str, Vectors] = {}
    began = time.perf_counter()
    with torch.inference_mode(), processor.of("card", len(stored)):
        for sha256, data in stored.items():
            image = preprocess(Image.open(io.BytesIO(data))).unsqueeze(0)
            found[sha256] = model.encode_image(image, normalize=True)[0].numpy()
    return len(stored) / (time.perf_counter() - began), found


def best(measure: Callable[[], float]) -> float:
    return max(measure() for _ in range(ROUNDS))


def worst_cosine(ours: dict[str, Vectors], theirs: dict[str, Vectors]) -> float:
    return min(float(ours[sha256] @ vector) for sha256, vector in theirs.items())


class Processor:
    """Milliseconds of the processor that an image cost, by way: what other work on the machine hardly changes."""

    def __init__(self) -> None:
        self.least: dict[str, float] = {}

    @contextmanager
    def of(self, way: str, images: int) -> Iterator[None]:
        """Count this process and the children that ended meanwhile."""
        before = os.times()
        yield
        spent = sum(os.times()[:4]) - sum(before[:4])
        self.least[way] = min(spent / images * 1000, self.least.get(way, float("inf")))

    def __str__(self) -> str:
        return ", ".join(f"{way} {spent:.1f}" for way, spent in self.least.items())


def compare(encoder: Encoder, count: int, card_count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Ours, the bare model, the bare workers, the card's loop; alternating, the best of each.

    Returns:
        (images/s and the worst cosine, milliseconds of the processor per image).
    """
    stored = payloads(count, *LARGE)
    decode = admitted_decode(encoder.spec)
    ours, model, workers, card = [], [], [], []
    vectors: dict[str, Vectors] = {}
    theirs: dict[str, Vectors] = {}
    waited = 0.0
    processor = Processor()
    for _ in range(ROUNDS):
        with processor.of("ours", count):
            report, vectors = end_to_end(encoder, stored, PipelineOptions())
        ours.append(report.images_per_second)
        waited = report.encoder_wait_share
        # It warms up with one batch more.
        with processor.of("model", count + min(encoder.batch_size, count)):
            model.append(bare_model(encoder, count))
        with processor.of("workers", count):
            workers.append(bare_decode(encoder.spec, stored, decode, WORKERS))
        rate, theirs = card_loop(encoder.spec.ref, dict(list(stored.items())[:card_count]), processor)
        card.append(rate)
    result = {
        "ours": max(ours),
        "model": max(model),
        "workers": max(workers),
        "card": max(card),
        "cosine": worst_cosine(vectors, theirs),
    }
    print(
        f"\n{encoder.spec.image_model_id}, {count} JPEGs of 1,200 x 1,600, {encoder.precision}, {decode.mode} decode: "
        f"{result['ours']:.1f} images/s, the encoder waited {waited:.0%}"
    )
    print(
        f"  against the bare model: {result['ours'] / result['model']:.2f} of {result['model']:.1f} images/s"
    )
    print(
        f"  against the bare workers: {result['ours'] / result['workers']:.2f} of {result['workers']:.1f} images/s"
    )
    print(
        f"  against the model card's loop: {result['ours'] / result['card']:.2f} x {result['card']:.1f} images/s, "
        f"cosine at least {result['cosine']:.6f}"
    )
    spent = processor.least
    print(f"  milliseconds of the processor per image: {processor}")
    print(
        f"  the model and the workers bare take {(spent['model'] + spent['workers']) / spent['ours']:.2f} of ours, "
        f"the card's loop {spent['card'] / spent['ours']:.2f}"
    )
    return result, spent


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_siglip_where_the_model_is_the_bottleneck(siglip: Encoder) -> None:
    result, processor = compare(siglip, 128, 12)
    assert result["cosine"] >= 0.999
    # The goals, by what does not hang on other work; the rates bear a machine that is shared.
    assert processor["model"] / processor["ours"] >= 0.9
    assert processor["card"] / processor["ours"] >= 1.8
    assert result["ours"] / result["model"] >= 0.6, "the goal is 0.9"
    assert result["ours"] / result["card"] >= 1.4, "the goal is 1.8"


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_the_demo_model(demo: Encoder) -> None:
    """Decoding and the model share the processors here, so neither reference can be reached alone."""
    result, processor = compare(demo, 600, 60)
    together = 1 / (1 / result["model"] + 1 / result["workers"])
    print(
        f"  against both one after the other: {result['ours'] / together:.2f} of {together:.1f} images/s (goal 0.9)"
    )
    assert result["cosine"] >= 0.999
    assert (processor["model"] + processor["workers"]) / processor["ours"] >= 0.85, "the goal is 0.9"
    assert processor["card"] / processor["ours"] >= 1.8
    assert result["ours"] / together >= 0.75
    assert result["ours"] / result["card"] >= 1.6, "the goal is 1.8"


class Elsewhere:
    """An encoder that takes no time of this processor, as a GPU would."""

    overlap, compile_pays_after, device_peak_memory, batch_size = 0, None, 0, 32

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.vector = np.full(768, 768**-0.5, np.float32)

    def provenance(self, decode_mode: str = "full") -> Provenance:
        return Provenance("elsewhere", "fp32", decode_mode, "")

    def buffer(self, images: int) -> Pixels:
        return np.empty((images, *self.spec.preprocessing.size, 3), np.uint8)

    def start(self, pixels: Pixels) -> Callable[[], Vectors]:
        return lambda: np.tile(self.vector, (len(pixels), 1))

    def compile(self, batch_size: int) -> bool:
        raise AssertionError


@pytest.mark.bench
@pytest.mark.timeout(600)
@pytest.mark.parametrize("options", [DecodeOptions(), DecodeOptions(draft=True)], ids=lambda o: o.mode)
def test_where_decoding_is_the_bottleneck(siglip: Encoder, options: DecodeOptions) -> None:
    stored = payloads(600, *LARGE)
    pipeline = PipelineOptions(decode_options=options)
    ours, workers = 0.0, 0.0
    for _ in range(ROUNDS):
        ours = max(ours, end_to_end(Elsewhere(siglip.spec), stored, pipeline)[0].images_per_second)
        workers = max(workers, bare_decode(siglip.spec, stored, options, WORKERS))
    print(f"\n600 JPEGs of 1,200 x 1,600, {options.mode} decode, model elsewhere: {ours:.1f} images/s")
    print(f"  against the same workers bare: {ours / workers:.2f} of {workers:.1f} images/s (goal 0.9)")
    assert ours / workers >= 0.8


SCRIPT = Path(__file__).with_name("gpu_embeddings.py")
#: What the script's users need not have.
ABSENT = {
    "dagster",
    "sqlalchemy",
    "psycopg",
    "pydantic",
    "pydantic_settings",
    "qdrant_client",
    "qdrant_edge",
}
ABSENT |= {"aiohttp", "lxml", "orjson", "alembic", "transformers", "tokenizers", "pytest", "rich", "typer"}
GUARD = """
import runpy, sys

sys.modules.update(dict.fromkeys(names))  # importing one of them now says that there is no such module
sys.argv = [script, *arguments]
runpy.run_path(script, run_name="__main__")
"""


def test_the_script_for_a_gpu_runs_on_a_processor_and_needs_nothing_else(tmp_path: Path) -> None:
    arguments = ["--tiny", "--images", "40", "--device", "cpu", "--workers", "1"]
    values: dict[str, Any] = {"names": ABSENT, "script": str(SCRIPT), "arguments": arguments}
    code = "\n".join(f"{name} = {value!r}" for name, value in values.items()) + GUARD
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("FASHION_PIPELINE")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 2
    assert "224 px | full" in rows[0]
    assert "1200 x 1600 | draft" in rows[1]
    assert list(tmp_path.iterdir()) == []


def test_the_reference_architecture_is_the_one_that_the_flop_count_is_of() -> None:
    vision = siglip_config()["model_cfg"]["vision_cfg"]
    assert (vision["timm_model_name"], vision["image_size"]) == ("vit_base_patch16_siglip_224", 224)
