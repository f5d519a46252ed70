"""What the pipeline's stages do with a device that overlaps, with slow batches, with odd pictures, with memory."""

import csv
import gc
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from fashion_pipeline.embeddings import pipeline as pipeline_module
from fashion_pipeline.embeddings.arena import Arena
from fashion_pipeline.embeddings.decode import decode_image
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.embeddings.vectors import EncoderMemoryError, Pixels, Vectors
from fashion_pipeline_tests.embeddings.fakes import FAKE_SPEC, FakeEncoder, store, vectors_of
from fashion_pipeline_tests.embeddings.pictures import encoded, halves, jpeg, photo
from fashion_pipeline_tests.embeddings.test_pipeline import constant, plain, run
from fashion_pipeline_tests.images.samples import HEIC

RED, BLUE = (220, 30, 30), (30, 30, 220)


class Device(FakeEncoder):
    """Computes a batch only when it is asked for, from memory that must still be what it was."""

    def __init__(self, **options: Any) -> None:
        super().__init__(overlap=1, **options)
        self.started: list[int] = []
        self.most = self.under_way = 0

    def start(self, pixels: Pixels) -> Callable[[], Vectors]:
        if self.largest is not None and len(pixels) > self.largest:
            raise EncoderMemoryError("too many")
        self.started.append(len(pixels))
        self.under_way += 1
        self.most = max(self.most, self.under_way)

        def finish() -> Vectors:
            self.under_way -= 1
            return self.spoil(vectors_of(pixels))

        return finish


def test_a_device_works_on_a_batch_while_the_next_is_put_together() -> None:
    device, stored = Device(batch_size=16), plain(200)
    outcome = run(stored, device, options=constant())
    assert device.most == 2
    assert device.under_way == 0
    for sha256, data in stored.items():
        wanted = vectors_of(np.full((1, 16, 16, 3), data[0], np.uint8))[0]
        np.testing.assert_allclose(outcome.vectors[sha256], wanted, atol=1e-6)


def test_an_overlapping_device_runs_out_of_memory_and_goes_on() -> None:
    device = Device(batch_size=32, largest=9)
    outcome = run(plain(100), device, options=constant())
    assert len(outcome.vectors) == 100
    assert max(device.started) <= 9
    with pytest.raises(EncoderMemoryError, match="not even one"):
        run(plain(20), Device(largest=0), options=constant())


def test_a_bad_vector_on_an_overlapping_device_costs_its_image() -> None:
    device, stored = Device(), plain(60)
    (bad,) = [name for name, data in stored.items() if data == next(iter(plain(1).values()))]
    first = True

    def spoil(vectors: Vectors) -> Vectors:
        nonlocal first
        if first:
            first, vectors = False, vectors.copy()
            vectors[0] = np.nan
        return vectors

    device.spoil = spoil
    outcome = run(stored, device, options=constant(workers=1, readers=1))
    assert set(outcome.failures) == {bad}
    assert set(outcome.vectors) == set(stored) - {bad}


@pytest.mark.parametrize(("pays_after", "compiled"), [(None, []), (1e9, []), (0.0, [8])])
def test_the_model_is_compiled_once_where_enough_work_is_left(
    pays_after: float | None, compiled: list[int]
) -> None:
    encoder = FakeEncoder(delay=0.001)
    encoder.compile_pays_after = pays_after
    assert len(run(plain(200), encoder, options=constant()).vectors) == 200
    assert encoder.compiled_for == compiled


def test_a_slow_batch_makes_the_next_ones_smaller() -> None:
    class Slow(FakeEncoder):
        def encode_images(self, pixels: Pixels) -> Vectors:
            time.sleep(0.02 * len(pixels))
            return super().encode_images(pixels)

    encoder = Slow(batch_size=32)
    outcome = run(plain(96), encoder, options=constant(batch_seconds=0.4))
    assert len(outcome.vectors) == 96
    assert encoder.sizes[0] == 32
    assert max(encoder.sizes[1:]) <= 10


def test_a_compiled_model_gives_the_same_vectors_for_any_count(tiny_folder: Path) -> None:
    """The wrapper around torch.compile, with a compiler that only counts: building one takes a minute."""
    import torch

    encoder = load_encoder(f"local-dir:{tiny_folder}", device="cpu", precision="fp32")
    pixels = np.stack([decode_image(jpeg(seed), encoder.spec.preprocessing) for seed in range(5)])
    before = encoder.encode_images(pixels)
    sizes: list[int] = []

    def compiler(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def counted(images: Any, **options: Any) -> Any:
            sizes.append(len(images))
            return function(images, **options)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", compiler)
        assert encoder.compile(8)
    np.testing.assert_allclose(encoder.encode_images(pixels), before, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(pixels[:1]), before[:1], atol=1e-5)
    assert set(sizes) == {8}

    def broken(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def fails(*_: Any, **__: Any) -> Any:
            raise RuntimeError("no compiler here")

        return fails

    def wrong(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        return lambda images, **options: function(images, **options).flip(0)

    for compile_badly in (broken, wrong):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "compile", compile_badly)
            assert not encoder.compile(8)
        np.testing.assert_allclose(encoder.encode_images(pixels), before, atol=1e-5)
    encoder.close()


@pytest.mark.slow
def test_torch_compile_itself(tiny_folder: Path) -> None:
    encoder = load_encoder(f"local-dir:{tiny_folder}", device="cpu", precision="fp32")
    pixels = np.stack([decode_image(jpeg(seed), encoder.spec.preprocessing) for seed in range(5)])
    before = encoder.encode_images(pixels)
    assert encoder.compile(8)
    np.testing.assert_allclose(encoder.encode_images(pixels), before, atol=1e-4)
    encoder.close()


@pytest.mark.parametrize("kind", ["memfd", "file"])
def test_slots_are_taken_given_back_and_shared(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    arena = Arena(3, FAKE_SPEC.preprocessing)
    slots = arena.take(2)
    assert len(set(slots)) == 2
    os.pwrite(arena.fd, b"\x07" * arena.slot_bytes, slots[1] * arena.slot_bytes)
    target = np.zeros((1, 16, 16, 3), np.uint8)
    arena.gather([slots[1]], target)
    assert np.all(target == 7)
    arena.give(slots)
    assert sorted(arena.take(3)) == [0, 1, 2]
    arena.close()


def test_every_slot_comes_back_and_nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    arenas: list[Arena] = []
    real = pipeline_module.Arena
    monkeypatch.setattr(pipeline_module, "Arena", lambda *a: arenas.append(real(*a)) or arenas[-1])
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    run(plain(100) | store([b"", b"KILL 1"]), decode="fashion_pipeline_tests.embeddings.fakes:deadly")
    (arena,) = arenas
    assert sorted(arena.take(arena.slots)) == list(range(arena.slots))
    del arena
    arenas.clear()
    gc.collect()
    after = len(list(Path("/proc/self/fd").iterdir())) if before else 0
    assert after <= before


def awkward() -> dict[str, tuple[bytes, Image.Image]]:
    """Pictures as shops serve them, each with the plain RGB picture that it stands for."""
    upright = photo(5, 90, 60)
    exif = Image.Exif()
    exif[0x0112] = 6
    two = halves(RED, BLUE)
    on_white = Image.new("RGB", (80, 60), "white")
    on_white.paste(RED, (40, 0, 80, 60))
    clear = on_white.convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 40, 60))
    grey = np.tile(np.linspace(0, 255, 128).astype(np.uint8), (64, 1))
    frames = [two, Image.new("RGB", (80, 60), "green")]
    made = {
        "turned by EXIF": (encoded(upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif), upright),
        "CMYK": (encoded(two.convert("CMYK"), "JPEG", quality=98, subsampling=0), two),
        "16-bit grey": (
            encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"),
            Image.fromarray(grey).convert("RGB"),
        ),
        "palette": (encoded(two.quantize(4), "PNG"), two),
        "palette with alpha": (encoded(clear.quantize(8), "PNG"), on_white),
        "alpha": (encoded(clear, "PNG"), on_white),
        "alpha in WebP": (encoded(clear, "WEBP", lossless=True), on_white),
        "animated GIF": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), two),
        "animated WebP": (encoded(two, "WEBP", save_all=True, append_images=frames[1:], lossless=True), two),
        "bilevel": (encoded(Image.new("1", (50, 50), 1), "PNG"), Image.new("RGB", (50, 50), "white")),
    }
    if features.check("avif"):
        made["AVIF"] = (encoded(two, "AVIF", quality=98), two)
    return made


def test_awkward_pictures_come_out_as_what_they_show(demo_model: str) -> None:
    encoder = load_encoder(demo_model, device="cpu", precision="fp32")
    pictures = awkward()
    stored = store([*(data for data, _ in pictures.values()), HEIC])
    outcome = run(stored, encoder)
    names = dict(zip(stored, [*pictures, "HEIC"], strict=True))
    assert {names[sha256]: failure.error for sha256, failure in outcome.failures.items()} == {
        "HEIC": "unsupported_format"
    }
    for (name, (_, plainly)), sha256 in zip(pictures.items(), stored, strict=False):
        pixels = decode_image(encoded(plainly, "PNG"), encoder.spec.preprocessing)
        wanted = encoder.encode_images(pixels[None])[0]
        assert float(outcome.vectors[sha256] @ wanted) > 0.99, name
    sizes = {sha256: size for b in outcome.batches for sha256, size in zip(b.sha256, b.sizes, strict=True)}
    for sha256, data in stored.items():
        if sha256 in sizes:
            with Image.open(io.BytesIO(data)) as image:
                assert sizes[sha256] == image.size
    encoder.close()


@pytest.mark.slow
def test_a_thousand_real_photos(demo_model: str, real_photos: Path) -> None:
    with (real_photos / "index.csv").open(newline="", encoding="utf-8") as stream:
        told = {row["sha256"]: row for row in csv.DictReader(stream)}
    stored = {sha256: (real_photos / row["file"]).read_bytes() for sha256, row in told.items()}
    encoder = load_encoder(demo_model, device="cpu", precision="fp32")
    outcome = run(stored, encoder)
    assert (outcome.failures, len(outcome.vectors)) == ({}, len(told))
    vectors = np.stack(list(outcome.vectors.values()))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for batch in outcome.batches:
        for sha256, size in zip(batch.sha256, batch.sizes, strict=True):
            assert size == (int(told[sha256]["width"]), int(told[sha256]["height"]))
    # The vector of each is that of its own picture.
    for sha256 in list(stored)[::100]:
        pixels = decode_image(stored[sha256], encoder.spec.preprocessing)
        assert float(encoder.encode_images(pixels[None])[0] @ outcome.vectors[sha256]) > 0.999
    encoder.close()


def test_an_encoder_may_be_used_while_its_batches_are_under_way(tiny_encoder: Encoder) -> None:
    shape = tiny_encoder.spec.preprocessing
    pixels = np.stack([decode_image(jpeg(seed), shape) for seed in range(4)])
    wanted = tiny_encoder.encode_images(pixels)
    first, second = tiny_encoder.start(pixels[:2]), tiny_encoder.start(pixels[2:])
    found = np.concatenate([first(), second()])
    np.testing.assert_allclose(found / np.linalg.norm(found, axis=1, keepdims=True), wanted, atol=1e-5)
