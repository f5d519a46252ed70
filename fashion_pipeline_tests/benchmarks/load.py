"""Catalogues of growing size through the whole line, and how its cost grows.

`python -m fashion_pipeline_tests.benchmarks.load PRODUCTS... [--stores 20] [--keep FILE] [--report docs/load.md]`

Each size gets a fresh data folder, embedded parts, and a picture server on loopback that answers at once. A garment has
eight variants that share a picture of about 1 KB. No model computes: an injected encoder takes its place; what the
demo's and FashionSigLIP's shape take for a picture is recorded once, and the report counts it in where it says so. The
phases are a first day,
a day of equal bytes, a day whose new file has equal content, a day that changes about 1 %, and a change of the model.
Each phase is a process of its own that runs every store through Dagster, one after the other.

What was measured is added to FILE (JSON by size), so that a large size can be run at another hour; the report is
written from all of it.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fashion_pipeline.embeddings.encoder import load_encoder
from fashion_pipeline.settings import DEMO_MODEL
from fashion_pipeline_tests.benchmarks.bench_world import BenchWorld, picture_server
from fashion_pipeline_tests.benchmarks.catalogue import CHANGED, EQUAL, FIRST, REORDERED, Catalogue
from fashion_pipeline_tests.benchmarks.load_report import PHASES, Measured, growth_plot, report, verdicts
from fashion_pipeline_tests.embeddings.model_folders import siglip_config, write_folder
from fashion_pipeline_tests.line.shops import other_model_folder

VARIANTS = 8
BATCH = 64
DAYS = {"first": FIRST, "equal": EQUAL, "reordered": REORDERED, "changed": CHANGED}


def measure(products: int, stores: int, folder: Path) -> Measured:
    """All phases of one size in a fresh folder."""
    found: Measured = {"products": products, "stores": stores, "load": os.getloadavg()[0]}
    found["encoder_seconds"] = {
        "the demo model": encoder_seconds(DEMO_MODEL),
        "FashionSigLIP's shape": encoder_seconds(
            f"local-dir:{write_folder(folder / 'siglip', siglip_config())}"
        ),
    }
    shutil.rmtree(folder / "siglip")
    with picture_server("colors") as port:
        catalogue = Catalogue(products, stores, VARIANTS, f"http://127.0.0.1:{port}")
        catalogue.write_feeds_file(folder / "feeds.yaml")
        found["pictures"] = catalogue.all_pictures
        world = BenchWorld(folder)
        try:
            world.run("collection", "--injected")
            for phase, day in DAYS.items():
                catalogue.write_feeds(folder, day)
                found[phase] = world.run("line", "--day", day, "--injected")
                say(products, phase, found[phase])
                found[phase]["disk"] = disk(folder / "data")
            candidate = {"FASHION_PIPELINE_MODEL": other_model_folder(DEMO_MODEL, folder)}
            found["filled"] = world.run("fill_candidate", "--injected", **candidate)
            say(products, "filled", found["filled"])
            found["promoted"] = world.run("promote", "--injected", **candidate)
            say(products, "promoted", found["promoted"])
        finally:
            world.close()
    return found


def encoder_seconds(model: str) -> float:
    """What a model takes for a picture, the best of three batches."""
    encoder = load_encoder(model, device="cpu", precision="fp32")
    pixels = np.zeros((BATCH, *encoder.spec.preprocessing.size, 3), np.uint8)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        encoder.encode_images(pixels)
        took.append(time.perf_counter() - began)
    encoder.close()
    return min(took) / BATCH


def say(products: int, phase: str, told: Measured) -> None:
    """A line of progress."""
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in told["stages"].items())
    peak = told["peak"] >> 20
    print(f"{products:,} {PHASES[phase]}: {told['seconds']:.0f} s, {peak:,} MiB ({parts})", flush=True)


def disk(data: Path) -> dict[str, int]:
    """Bytes on disk by folder of the data location; the engine's files have holes."""
    return {
        folder.name: sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
        for folder in sorted(data.iterdir())
        if folder.is_dir()
    }


def main() -> None:
    """Measure the sizes that are named, and write the report of all that was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("products", type=int, nargs="*", help="sizes to measure now")
    parser.add_argument("--stores", type=int, default=20)
    parser.add_argument("--keep", type=Path, default=Path("build/load.json"), help="what was measured")
    parser.add_argument(
        "--report", type=Path, help="Markdown page to write, with its plot in images/ beside it"
    )
    arguments = parser.parse_args()
    kept: dict[str, Measured] = json.loads(arguments.keep.read_text()) if arguments.keep.exists() else {}
    for products in arguments.products:
        folder = Path(tempfile.mkdtemp(prefix="load-"))
        try:
            kept[str(products)] = measure(products, arguments.stores, folder)
        finally:
            shutil.rmtree(folder)
        arguments.keep.parent.mkdir(parents=True, exist_ok=True)
        arguments.keep.write_text(json.dumps(kept))
    measured = sorted(kept.values(), key=lambda each: each["products"])
    if not measured:
        sys.exit("nothing was measured yet: name sizes, for instance 10000 100000")
    for what, goal, value, met in verdicts(measured):
        print(f"{'met   ' if met else 'MISSED'} {what}: {value} (goal {goal})")
    if arguments.report:
        plot = arguments.report.parent / "images" / "load_growth.svg"
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.write_text(growth_plot(measured), encoding="utf-8")
        arguments.report.write_text(report(measured, f"images/{plot.name}"), encoding="utf-8")


if __name__ == "__main__":
    main()
