"""Pictures and captions for the demo model: drawn once, kept as 112-pixel arrays, varied on the way out.

The pictures take the way that pictures of the line take: drawn large, saved as JPEG, squashed to the model's
size by bicubic interpolation.
"""

from __future__ import annotations

import io
import multiprocessing
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fashion_pipeline.demo.garments import Garment, all_garments, draw, held_out
from fashion_pipeline.demo.wording import caption, partial_caption

IMAGE_SIZE = 112
_CHUNK = 256
_PLAIN_SHARE = 0.12
"""Plain garments are 1.6 % of the combinations but what people search for most."""

_PARTIAL_SHARE = 0.3


def choose(count: int, *, seed: int, holdout: bool) -> list[Garment]:
    """Draw `count` looks from the trained or from the held-out share of the combinations.

    Of the held-out ones each is taken once; trained ones repeat after all were taken, and plain ones more
    often.
    """
    rng = random.Random(seed)
    pool = [garment for garment in all_garments() if held_out(garment) == holdout]
    if holdout:
        return rng.sample(pool, count)
    plain = [garment for garment in pool if garment.pattern == "solid"]
    chosen: list[Garment] = []
    while len(chosen) < count:
        chosen += rng.sample(pool, min(len(pool), count - len(chosen)))
    for place in rng.sample(range(count), round(count * _PLAIN_SHARE)):
        chosen[place] = rng.choice(plain)
    return chosen


def _picture(garment: Garment, seed: int) -> npt.NDArray[np.uint8]:
    rng = random.Random(seed)
    size = rng.choice((192, 224, 256))
    stored = io.BytesIO()
    draw(garment, seed=seed, size=size).save(stored, "JPEG", quality=rng.randint(80, 95))
    with Image.open(stored) as opened:
        return np.asarray(opened.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))


def _draw_chunk(file: Path, shape: tuple[int, ...], garments: list[Garment], start: int) -> int:
    pictures = np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
    end = min(start + _CHUNK, len(garments))
    for number in range(start, end):
        pictures[number] = _picture(garments[number], number)
    return end - start


def draw_all(
    garments: list[Garment], file: Path, *, workers: int, progress: Callable[[int], None]
) -> npt.NDArray[np.uint8]:
    """Draw every look, seeded by its place, into a memory-mapped file; returns uint8 of (n, 112, 112, 3)."""
    shape = (len(garments), IMAGE_SIZE, IMAGE_SIZE, 3)
    np.memmap(file, dtype=np.uint8, mode="w+", shape=shape).flush()
    job = partial(_draw_chunk, file, shape, garments)
    done = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        for count in pool.map(job, range(0, len(garments), _CHUNK)):
            done += count
            progress(done)
    return np.memmap(file, dtype=np.uint8, mode="r", shape=shape)


def training_caption(garment: Garment, rng: random.Random) -> str:
    """A caption for one training step: mostly complete, in the plain form or another, sometimes partial."""
    roll = rng.random()
    if roll < _PARTIAL_SHARE:
        return partial_caption(garment, variant=rng.randrange(1 << 30))
    return caption(garment, variant=0 if roll < 0.55 else rng.randrange(1, 1 << 30))


class Batches:
    """Endless batches of places in the pictures: mixed, or of garments that are hard to tell apart."""

    def __init__(self, garments: list[Garment], size: int, rng: random.Random) -> None:
        self._size, self._rng, self._all = size, rng, list(range(len(garments)))
        self._alike: dict[str, dict[str, list[int]]] = {"kind": {}, "color": {}}
        for place, garment in enumerate(garments):
            self._alike["kind"].setdefault(garment.kind, []).append(place)
            self._alike["color"].setdefault(garment.color, []).append(place)

    def next(self, alike: str | None = None) -> list[int]:
        """Places of one batch, none twice; `alike` (kind or color) takes it from four kinds or colours."""
        if alike is None:
            return self._rng.sample(self._all, self._size)
        groups = self._alike[alike]
        places: list[int] = []
        for name in self._rng.sample(sorted(groups), min(4, len(groups))):
            places += self._rng.sample(groups[name], min(len(groups[name]), self._size // 4))
        return places
