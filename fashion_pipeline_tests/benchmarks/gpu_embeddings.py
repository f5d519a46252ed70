"""How fast this machine embeds: end to end, the bare model, decoding alone, with FashionSigLIP's architecture.

Runs on torch, open_clip, pyarrow and Pillow alone, from a checkout:

    python fashion_pipeline_tests/benchmarks/gpu_embeddings.py --images 20000

Goals on a GPU: end to end at least 0.85 x the slower of bare model and decoding; the bare model at 40 % of the
bf16 peak or better. Weights are random; everything is made in memory and in a temporary folder.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from fashion_pipeline.embeddings.arena import Arena
from fashion_pipeline.embeddings.decode import DecodeOptions
from fashion_pipeline.embeddings.draft import measure_draft, write_draft
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.embeddings.machine import available_cores
from fashion_pipeline.embeddings.pipeline import embed
from fashion_pipeline.embeddings.pool import DecodeWorker, Payload
from fashion_pipeline.embeddings.report import EmbedItem, EmbedReport, PipelineOptions
from fashion_pipeline.embeddings.shards import write_shard
from fashion_pipeline.embeddings.spec import ModelSpec
from fashion_pipeline.embeddings.vectors import EmbeddedBatch, ImageEncoder, Vectors
from fashion_pipeline.embeddings.worker import WorkerSettings
from fashion_pipeline.ids import sha256_bytes
from fashion_pipeline.storage import DataLocation
from fashion_pipeline_tests.embeddings.model_folders import siglip_config, tiny_config, write_weights
from fashion_pipeline_tests.embeddings.pictures import jpeg

#: FLOP of one image through ViT-B-16 at 224 px.
FLOP_AN_IMAGE = 35.4e9
#: Dense bf16 peaks in FLOP/s, from the makers' data sheets, by a part of torch's name of the GPU.
PEAKS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
SIZES = {"224 px": (224, 224), "1200 x 1600": (1200, 1600)}


@dataclass(frozen=True)
class Rates:
    """Images per second, each by itself and end to end."""

    model: float
    decode: float
    end_to_end: float
    report: EmbedReport

    @property
    def share(self) -> float:
        """End to end against the slower of the two."""
        return self.end_to_end / min(self.model, self.decode)


def payloads(count: int, width: int, height: int, distinct: int = 48) -> dict[str, bytes]:
    """JPEGs by SHA-256: some drawn ones, told apart by bytes after their end."""
    drawn = [jpeg(seed, width, height) for seed in range(min(distinct, count))]
    made = (drawn[number % len(drawn)] + number.to_bytes(4, "big") for number in range(count))
    return {sha256_bytes(data): data for data in made}


def bare_model(encoder: Encoder, images: int) -> float:
    """Images/s of the model alone, on a batch of tensors that lies on the device, in the encoder's precision."""
    import torch

    device, size = encoder._device, encoder.spec.preprocessing.size
    count = min(encoder.batch_size, images)
    batch = torch.rand((count, 3, *size), device=device).to(memory_format=torch.channels_last)

    encode = encoder._compiled or encoder._model.encode_image

    def rounds(number: int) -> float:
        began = time.perf_counter()
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, encoder.precision == "bf16"):
            for _ in range(number):
                encode(batch, normalize=False)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        return number * count / (time.perf_counter() - began)

    rounds(1)
    return rounds(max(1, images // count))


def bare_decode(spec: ModelSpec, stored: dict[str, bytes], options: DecodeOptions, workers: int) -> float:
    """Images/s of the same worker processes, fed from memory by a thread each, with nobody behind them."""
    arena = Arena(workers * 16, spec.preprocessing)
    settings = WorkerSettings(
        spec.preprocessing,
        options,
        "fashion_pipeline.embeddings.decode:decode_picture",
        2 << 30,
        arena.fd,
        arena.size,
    )
    items = [Payload(*each) for each in stored.items()]
    pool = [DecodeWorker(settings, arena, 60.0) for _ in range(workers)]
    for worker in pool:  # start it
        arena.give([each.slot for each in worker.decode(items[:1]) if each.slot is not None])

    def work(index: int) -> None:
        mine = items[index::workers]
        for start in range(0, len(mine), 8):
            decoded = pool[index].decode(mine[start : start + 8])
            arena.give([each.slot for each in decoded if each.slot is not None])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    for worker in pool:
        worker.release()
    arena.close()
    return len(items) / seconds


def end_to_end(
    encoder: ImageEncoder, stored: dict[str, bytes], options: PipelineOptions
) -> tuple[EmbedReport, dict[str, Vectors]]:
    """The pipeline over `stored`, shards written to a temporary folder; the vectors by image."""
    found: dict[str, Vectors] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = DataLocation(folder)

        def take(batch: EmbeddedBatch) -> None:
            write_shard(data, batch)
            found.update(zip(batch.sha256, batch.vectors, strict=True))

        report = embed(
            [EmbedItem(sha256) for sha256 in stored],
            stored.__getitem__,
            spec=encoder.spec,
            encoder_factory=lambda: encoder,
            on_batch=take,
            on_failure=_fail,
            options=options,
        )
    return report, found


def _fail(failure: object) -> None:
    raise RuntimeError(str(failure))


def measure(encoder: Encoder, stored: dict[str, bytes], options: DecodeOptions, workers: int) -> Rates:
    """All three rates over the same images."""
    model = bare_model(encoder, len(stored))
    decode = bare_decode(encoder.spec, stored, options, workers)
    report, _ = end_to_end(encoder, stored, PipelineOptions(workers=workers, decode_options=options))
    return Rates(model, decode, report.images_per_second, report)


def peak_of(device: str) -> float | None:
    """Dense bf16 peak of a GPU that is known here."""
    return next((peak for name, peak in PEAKS.items() if name in device), None)


def main(arguments: Sequence[str] | None = None, say: Callable[[str], object] = print) -> int:
    """Measure and print a table, and one line of JSON a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--images", type=int, default=20_000, help="images of 224 px; a quarter of it of the large"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--peak-tflops", type=float, help="bf16 peak of this GPU, where it is not known here")
    parser.add_argument("--compile", action="store_true", help="let torch.compile build the model first")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to see that the script runs")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        config = tiny_config() if chosen.tiny else siglip_config()
        del config["model_cfg"]["text_cfg"]["hf_tokenizer_name"]  # pictures need no tokenizer
        folder = write_weights(Path(scratch) / "model", config)
        encoder = load_encoder(f"local-dir:{folder}", device=chosen.device, precision=chosen.precision)
        peak = chosen.peak_tflops * 1e12 if chosen.peak_tflops else peak_of(encoder.device)
        write_draft(encoder.spec, measure_draft(encoder, [jpeg(seed, 1200, 1600) for seed in range(4)]))
        if chosen.compile:
            say(f"compiled: {encoder.compile(encoder.batch_size)}")
        say(
            f"{encoder.device}, {encoder.precision}, batch {encoder.batch_size}, {chosen.workers} decode workers"
        )
        say(
            "| pictures | decode | bare model, images/s | decoding, images/s | end to end, images/s | share | MFU |"
        )
        say("|---|---|---:|---:|---:|---:|---:|")
        for name, (width, height) in SIZES.items():
            stored = payloads(max(8, chosen.images // (4 if width > 224 else 1)), width, height)
            rates = measure(encoder, stored, DecodeOptions(draft=width > 224), chosen.workers)
            utilization = rates.model * FLOP_AN_IMAGE / peak if peak and not chosen.tiny else None
            say(
                f"| {len(stored):,} x {name} | {rates.report.decode_mode} | {rates.model:,.0f} | {rates.decode:,.0f} "
                f"| {rates.end_to_end:,.0f} | {rates.share:.2f} | "
                f"{'not known' if utilization is None else f'{utilization:.0%}'} |"
            )
            say(
                json.dumps(
                    {
                        "pictures": name,
                        "device": encoder.device,
                        "precision": encoder.precision,
                        "model": rates.model,
                        "decode": rates.decode,
                        "end_to_end": rates.end_to_end,
                        "share": rates.share,
                        "utilization": utilization,
                        "waited": rates.report.encoder_wait_share,
                    }
                )
            )
        assert np.isfinite(rates.share)
        encoder.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
