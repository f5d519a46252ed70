"""What dresses, skirts and everything with legs look like: one function per kind.

Every function takes the length (`short`, `long` or `regular`) and a source of variation, and returns a
sketch in a unit square with the body's middle at x = 0.5.
"""

from __future__ import annotations

import random

from fashion_pipeline.demo.sketch import Path, Sketch, mirror, path, symmetric
from fashion_pipeline.demo.tailoring import METAL, band, hanging_folds


def _legs(
    sketch: Sketch,
    top: float,
    crotch: float,
    end: float,
    hip: float,
    ankle: tuple[float, float],
    tone: float = 0.0,
) -> None:
    inner, outer = ankle
    leg = path(
        (0.5, top),
        (0.625, top),
        (hip - 0.01, top + 0.12, hip, crotch),
        (outer, end),
        (inner, end + 0.012),
        (0.5, crotch),
    )
    sketch.pair(leg, tone=tone)


def dress(length: str, rng: random.Random) -> Sketch:
    """A dress with a fitted bodice and a flared skirt: above the knee or to the floor."""
    sketch = Sketch()
    hem = {"short": 0.62, "long": 1.04}[length]
    hem_x = {"short": 0.745, "long": 0.83}[length] + rng.uniform(-0.02, 0.03)
    neck = rng.choice([0.19, 0.23])
    sketch.cloth(path((0.43, 0.13), (0.5, 0.19, 0.57, 0.13), (0.57, 0.2), (0.43, 0.2)), tone=0.4)
    if rng.random() < 0.5:
        sketch.pair(
            path((0.615, 0.112), (0.70, 0.125, 0.735, 0.225), (0.672, 0.268), (0.64, 0.24, 0.615, 0.2))
        )
    skirt = symmetric(
        path(
            (0.5, 0.385),
            (0.596, 0.385),
            (0.65, 0.5, hem_x, hem),
            (hem_x - 0.06, hem + 0.032, 0.62, hem + 0.018),
            (0.56, hem + 0.006, 0.5, hem + 0.02),
        )
    )
    sketch.cloth(skirt)
    sketch.cloth(
        symmetric(
            path(
                (0.5, neck),
                (0.555, neck - 0.005, 0.57, 0.105),
                (0.628, 0.11),
                (0.618, 0.19, 0.652, 0.25),
                (0.625, 0.33, 0.594, 0.4),
                (0.54, 0.41, 0.5, 0.41),
            )
        )
    )
    sketch.cloth(band(0.597, 0.374, 0.038, 0.012), tone=0.3)
    hanging_folds(sketch, 0.43, hem - 0.01, hem_x - 0.53, 5, rng)
    return sketch


def skirt(length: str, rng: random.Random) -> Sketch:
    """A flared, pleated skirt: above the knee or to the ankle."""
    sketch = Sketch()
    hem = {"short": 0.47, "long": 0.98}[length]
    hem_x = {"short": 0.77, "long": 0.80}[length] + rng.uniform(-0.03, 0.03)
    count = 6
    edge: Path = []
    for i in range(count * 2 + 1):
        x = 1 - hem_x + (2 * hem_x - 1) * i / (count * 2)
        edge.append((x, hem + 0.03 * (1 - ((x - 0.5) / (hem_x - 0.5)) ** 2) + (0.012 if i % 2 else 0.0)))
    side = path((0.622, 0.15), (0.66, 0.25, hem_x, hem))
    sketch.cloth(side + edge[::-1] + mirror(side)[::-1])
    for i in range(1, count):
        x = 1 - hem_x + (2 * hem_x - 1) * i / count
        top = 0.5 + (x - 0.5) * 0.42
        sketch.fold(path((top, 0.17), ((top + x) / 2 + (x - 0.5) * -0.04, 0.3, x, hem + 0.02)), width=0.02)
        sketch.line(
            path((top, 0.16), ((top + x) / 2 - (x - 0.5) * 0.06, (hem + 0.16) / 2, x, hem + 0.02)),
            width=0.0035,
        )
    sketch.cloth(band(0.624, 0.098, 0.05, 0.008), tone=0.25)
    sketch.dot(0.5, 0.133, 0.011, METAL)
    return sketch


def trousers(length: str, rng: random.Random) -> Sketch:
    """Trousers with belt loops, fly and pressed creases: cropped at the calf or full length."""
    sketch = Sketch()
    end = {"short": 0.60, "long": 0.99}[length]
    flare = rng.choice([0.0, 0.012, 0.03]) if length == "long" else 0.012
    inner, outer = (0.545 - flare / 2, 0.705 + flare) if length == "long" else (0.53, 0.70 + flare)
    _legs(sketch, 0.08, 0.36, end, 0.69, (inner, outer))
    middle = (inner + outer) / 2
    sketch.lines(path((0.585, 0.2), (0.6, 0.36, middle, end)), width=0.004)
    sketch.lines(path((0.605, 0.112), (0.612, 0.18, 0.672, 0.2)), width=0.006)
    sketch.line(path((0.5, 0.1), (0.5, 0.29)), width=0.005)
    sketch.line(path((0.53, 0.1), (0.532, 0.22), (0.525, 0.265, 0.5, 0.285)), width=0.004)
    sketch.cloth(band(0.625, 0.06, 0.042, 0.008), tone=0.28)
    for x in (0.40, 0.45, 0.55, 0.60):
        sketch.line([(x, 0.056), (x, 0.116)], width=0.011)
    sketch.dot(0.5, 0.09, 0.012, METAL)
    for fold in (
        path((0.52, 0.36), (0.56, 0.37, 0.6, 0.33)),
        path((middle - 0.05, end - 0.13), (middle, end - 0.1, outer - 0.01, end - 0.12)),
    ):
        sketch.fold(fold)
        sketch.fold(mirror(fold))
    return sketch


def shorts(length: str, rng: random.Random) -> Sketch:
    """Wide shorts with drawstring and turn-ups."""
    sketch = Sketch()
    end, outer = 0.43 + rng.uniform(-0.015, 0.015), 0.745
    _legs(sketch, 0.1, 0.30, end, 0.70, (0.525, outer))
    sketch.pair(
        path(
            (0.522, end - 0.024),
            (outer + 0.006, end - 0.036),
            (outer + 0.012, end + 0.014),
            (0.518, end + 0.028),
        ),
        tone=0.2,
    )
    sketch.lines(path((0.61, 0.13), (0.615, 0.19, 0.685, 0.215)), width=0.006)
    sketch.line([(0.5, 0.14), (0.5, 0.3)], width=0.005)
    sketch.cloth(band(0.63, 0.075, 0.055, 0.008), tone=0.24)
    for i in range(1, 14):
        x = 0.37 + 0.26 * i / 14
        sketch.line([(x, 0.085), (x, 0.132)], width=0.003)
    sketch.line(path((0.49, 0.12), (0.475, 0.17, 0.482, 0.215)), width=0.01, color="trim")
    sketch.line(path((0.51, 0.12), (0.525, 0.17, 0.518, 0.205)), width=0.01, color="trim")
    fold = path((0.52, 0.31), (0.58, 0.32, 0.63, 0.27))
    sketch.fold(fold)
    sketch.fold(mirror(fold))
    return sketch


def jumpsuit(length: str, rng: random.Random) -> Sketch:
    """A strapped jumpsuit with a buttoned bib: legs to the thigh or to the ankle."""
    sketch = Sketch()
    end = {"short": 0.64, "long": 1.04}[length]
    inner, outer = {"short": (0.518, 0.705), "long": (0.545, 0.735)}[length]
    for strap in (path((0.555, 0.2), (0.572, 0.02), (0.604, 0.028), (0.59, 0.2)),):
        sketch.pair(strap, tone=0.3)
    _legs(sketch, 0.36, 0.54, end, 0.685, (inner, outer))
    sketch.cloth(
        symmetric(
            path(
                (0.5, 0.165), (0.6, 0.15), (0.615, 0.24, 0.66, 0.27), (0.63, 0.32, 0.622, 0.39), (0.5, 0.395)
            )
        )
    )
    sketch.cloth(band(0.626, 0.36, 0.042, 0.012), tone=0.3)
    sketch.cloth(
        path((0.452, 0.235), (0.548, 0.235), (0.548, 0.315), (0.5, 0.335), (0.452, 0.315)), tone=0.12
    )
    for x in (0.42, 0.58):
        sketch.dot(x, 0.178, 0.016, METAL)
    sketch.lines(path((0.62, 0.425), (0.625, 0.485, 0.676, 0.505)), width=0.006)
    if length == "long" and rng.random() < 0.5:
        sketch.pair(
            path(
                (inner - 0.002, end - 0.04),
                (outer + 0.004, end - 0.05),
                (outer + 0.006, end),
                (inner - 0.004, end + 0.014),
            ),
            tone=0.2,
        )
    for fold in (
        path((0.51, 0.55), (0.56, 0.56, 0.61, 0.52)),
        path((0.6, 0.55), ((0.6 + outer) / 2, (0.55 + end) / 2, (inner + outer) / 2, end - 0.02)),
    ):
        sketch.fold(fold)
        sketch.fold(mirror(fold))
    return sketch
