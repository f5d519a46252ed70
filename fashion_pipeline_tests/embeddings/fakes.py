"""An encoder without torch, and decoders that misbehave; the workers import the decoders by name."""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from fashion_pipeline.embeddings.decode import DecodeOptions, ImageDecodeError, Picture, decode_picture
from fashion_pipeline.embeddings.report import EmbedItem
from fashion_pipeline.embeddings.spec import ModelSpec, Preprocessing, TextSpec
from fashion_pipeline.embeddings.vectors import EncoderMemoryError, Pixels, Provenance, Vectors

DECODERS = "fashion_pipeline_tests.embeddings.fakes"
FAKE_SPEC = ModelSpec(
    architecture="fake",
    architecture_sha256="0" * 64,
    weights_sha256="1" * 64,
    preprocessing=Preprocessing((16, 16), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash", "bicubic"),
    dimension=768,
    text=TextSpec(8, "2" * 64, "3" * 64, "{}"),
    ref="local-dir:fake",
)


def store(payloads: Iterable[bytes]) -> dict[str, bytes]:
    return {hashlib.sha256(payload).hexdigest(): payload for payload in payloads}


def items(stored: Iterable[str]) -> list[EmbedItem]:
    return [EmbedItem(sha256) for sha256 in stored]


class FakeEncoder:
    """The pixels themselves, 16 x 16 x 3 = 768 numbers, as a unit vector."""

    def __init__(
        self, *, batch_size: int = 8, largest: int | None = None, delay: float = 0.0, overlap: int = 0
    ) -> None:
        self.spec = FAKE_SPEC
        self.batch_size = batch_size
        self.largest = largest
        self.delay = delay
        self.overlap = overlap
        self.compile_pays_after: float | None = None
        self.compiled_for: list[int] = []
        self.device_peak_memory = 0
        self.sizes: list[int] = []
        self.spoil: Callable[[Vectors], Vectors] = lambda vectors: vectors

    def provenance(self, decode_mode: str = "full") -> Provenance:
        return Provenance("fake", "fp32", decode_mode, "fake=1")

    def buffer(self, images: int) -> Pixels:
        return np.empty((images, 16, 16, 3), np.uint8)

    def start(self, pixels: Pixels) -> Callable[[], Vectors]:
        vectors = self.encode_images(pixels)
        return lambda: vectors

    def compile(self, batch_size: int) -> bool:
        self.compiled_for.append(batch_size)
        return True

    def encode_images(self, pixels: Pixels) -> Vectors:
        if self.largest is not None and len(pixels) > self.largest:
            raise EncoderMemoryError("too many")
        self.sizes.append(len(pixels))
        time.sleep(self.delay)
        return self.spoil(vectors_of(pixels))


def vectors_of(pixels: Pixels) -> Vectors:
    flat = pixels.reshape(len(pixels), -1).astype(np.float32) + 1.0
    unit: Vectors = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return unit


def constant(data: bytes, preprocessing: Preprocessing, options: DecodeOptions) -> Picture:
    """Pixels of the first byte's value."""
    height, width = preprocessing.size
    return Picture(data[:1] * (height * width * 3), width, height)


def deadly(data: bytes, preprocessing: Preprocessing, options: DecodeOptions) -> Picture:
    """`KILL` ends the worker each time; `TIMES n <path>` the first n times, counted in that file."""
    if data.startswith(b"KILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    if data.startswith(b"TIMES "):
        _, times, path = data.decode().split(" ", 2)
        marker = Path(path)
        if not marker.exists() or marker.stat().st_size < int(times):
            with marker.open("a") as out:
                out.write(".")
            os.kill(os.getpid(), signal.SIGKILL)
        return constant(b"o", preprocessing, options)
    return decode_picture(data, preprocessing, options)


def hanging(data: bytes, preprocessing: Preprocessing, options: DecodeOptions) -> Picture:
    if data.startswith(b"HANG"):
        time.sleep(600)
    return constant(data, preprocessing, options)


def greedy(data: bytes, preprocessing: Preprocessing, options: DecodeOptions) -> Picture:
    """`MANY` wants 4 GiB."""
    if data.startswith(b"MANY"):
        return Picture(bytes(4 << 30), 1, 1)
    return constant(data, preprocessing, options)


def careless(data: bytes, preprocessing: Preprocessing, options: DecodeOptions) -> Picture:
    """Prints where answers go, raises what no decoder should, and gives too few pixels."""
    print("a library prints")
    os.write(1, b"and writes\n")
    if data.startswith(b"RAISE"):
        raise ZeroDivisionError("in a codec")
    if data.startswith(b"SHORT"):
        return Picture(b"123", 1, 1)
    return constant(data, preprocessing, options)


def nosy(data: bytes, preprocessing: Preprocessing, options: DecodeOptions) -> Picture:
    """Fails where the parent's secrets are to be seen, or where a heavy library is loaded."""
    if "DATABASE_URL" in os.environ:
        raise ImageDecodeError("decode_failed", "a secret")
    if heavy := {"torch", "open_clip", "dagster", "sqlalchemy"} & set(sys.modules):
        raise ImageDecodeError("decode_failed", f"loaded: {heavy}")
    return constant(data, preprocessing, options)
