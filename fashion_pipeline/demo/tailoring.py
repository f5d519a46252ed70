"""Pieces that many garments share: bands around the body, the folds of hanging cloth, metal."""

from __future__ import annotations

import random

from fashion_pipeline.demo.sketch import Path, Sketch, path, symmetric

METAL = (214, 206, 186)


def band(x: float, y: float, height: float, sag: float = 0.012) -> Path:
    """A horizontal band around the body: half width `x`, from `y` down by `height`."""
    return symmetric(
        path(
            (0.5, y + sag),
            (x, y + sag, 0.5 + (x - 0.5), y),
            (x, y + height),
            (x, y + height + sag, 0.5, y + height + sag),
        )
    )


def hanging_folds(
    sketch: Sketch, top: float, bottom: float, spread: float, count: int, rng: random.Random
) -> None:
    """Folds that fall apart from a narrow `top` to `spread` on either side at the `bottom`."""
    for i in range(count):
        share = (i + 0.5) / count * 2 - 1 + rng.uniform(-0.06, 0.06)
        x = 0.5 + share * spread
        sketch.fold(
            path(
                (0.5 + share * spread * 0.62, top),
                (0.5 + share * spread * 0.8, (top + bottom) / 2, x, bottom),
            ),
            width=0.017,
        )
