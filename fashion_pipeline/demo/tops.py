"""What tops and outerwear look like: one function per kind.

Every function takes the length (`short`, `long` or `regular`) and a source of variation, and returns a
sketch in a unit square with the body's middle at x = 0.5.
"""

from __future__ import annotations

import random

from fashion_pipeline.demo.sketch import Path, Sketch, mirror, path, symmetric
from fashion_pipeline.demo.tailoring import METAL, band, hanging_folds

_SHOULDER = (0.655, 0.152)


def _long_sleeve(sketch: Sketch, width: float = 0.0, cuff: float = 0.035) -> None:
    outer = path(
        _SHOULDER,
        (0.735 + width, 0.18, 0.76 + width, 0.33),
        (0.80 + width, 0.47, 0.815 + width, 0.64),
        (0.735, 0.655),
        (0.715, 0.50, 0.66, 0.33),
    )
    sketch.pair(outer)
    sketch.pair(
        path((0.815 + width, 0.64), (0.817 + width, 0.64 + cuff), (0.737, 0.655 + cuff), (0.735, 0.655)),
        tone=0.16,
    )
    for fold in (
        path((0.79 + width, 0.42), (0.75, 0.41, 0.725, 0.43)),
        path((0.79 + width, 0.5), (0.765, 0.5, 0.745, 0.52)),
    ):
        sketch.fold(fold, width=0.016)
        sketch.fold(mirror(fold), width=0.016)


def _torso(neck_x: float, neck_y: float, hem: float, hem_x: float, drop: float = 0.012) -> Path:
    return symmetric(
        path(
            (0.5, neck_y), (neck_x - 0.015, neck_y, neck_x, 0.118), _SHOULDER, (0.648, 0.24, 0.662, 0.315),
            (hem_x - 0.012, (hem + 0.3) / 2, hem_x, hem), (hem_x - 0.06, hem + drop, 0.5, hem + drop),
        )
    )  # fmt: skip


def _ribs(sketch: Sketch, x: float, y: float, height: float) -> None:
    sketch.cloth(band(x, y, height), tone=0.2)
    for i in range(1, 12):
        at = 1 - x + (2 * x - 1) * i / 12
        sketch.line([(at, y + 0.008), (at, y + height + 0.004)], width=0.003)


def t_shirt(length: str, rng: random.Random) -> Sketch:
    """A T-shirt: cropped at the waist, or long to the thigh."""
    sketch = Sketch()
    hem = {"short": 0.50, "long": 0.90}[length]
    width = {"short": 0.668, "long": 0.69}[length] + rng.uniform(-0.01, 0.015)
    v_neck = rng.random() < 0.35
    low = 0.215 if v_neck else 0.18
    sketch.cloth(path((0.42, 0.118), (0.5, 0.16, 0.58, 0.118), (0.56, 0.19), (0.44, 0.19)), tone=0.42)
    sketch.pair(path(_SHOULDER, (0.73, 0.17, 0.835, 0.315), (0.745, 0.388), (0.70, 0.34, 0.655, 0.30)))
    sketch.lines(path((0.815, 0.296), (0.728, 0.366)), width=0.004)
    if v_neck:
        half = path(
            (0.5, low),
            (0.58, 0.118),
            _SHOULDER,
            (0.648, 0.24, 0.662, 0.315),
            (width, hem),
            (0.5, hem + 0.012),
        )
        sketch.cloth(symmetric(half))
        sketch.pair(path((0.5, low), (0.58, 0.118), (0.6, 0.126), (0.5, low + 0.032)), tone=0.22)
    else:
        sketch.cloth(_torso(0.58, low, hem, width))
        sketch.cloth(
            symmetric(
                path(
                    (0.5, low),
                    (0.568, low, 0.58, 0.118),
                    (0.602, 0.127),
                    (0.585, low + 0.024, 0.5, low + 0.026),
                )
            ),
            tone=0.22,
        )
    sketch.line(
        path((1 - width + 0.01, hem - 0.022), (0.5, hem - 0.005, width - 0.01, hem - 0.022)), width=0.0035
    )
    hanging_folds(sketch, 0.36, hem - 0.03, 0.14, 3, rng)
    return sketch


def shirt(length: str, rng: random.Random) -> Sketch:
    """A button-up shirt with collar and pocket: short sleeves or long ones."""
    sketch = Sketch()
    hem, width = 0.80, 0.675 + rng.uniform(-0.01, 0.01)
    if length == "long":
        _long_sleeve(sketch)
    else:
        sketch.pair(path(_SHOULDER, (0.73, 0.17, 0.825, 0.33), (0.735, 0.392), (0.69, 0.34, 0.655, 0.30)))
        sketch.pair(path((0.825, 0.33), (0.832, 0.352), (0.741, 0.414), (0.735, 0.392)), tone=0.16)
    sketch.cloth(
        symmetric(
            path(
                (0.5, 0.15),
                (0.575, 0.118),
                _SHOULDER,
                (0.648, 0.24, 0.662, 0.315),
                (width, hem - 0.05),
                (width, hem - 0.01, 0.63, hem),
                (0.56, hem + 0.05, 0.5, hem + 0.05),
            )
        )
    )
    sketch.cloth([(0.484, 0.17), (0.516, 0.17), (0.516, hem + 0.047), (0.484, hem + 0.047)], tone=0.08)
    for i in range(6):
        sketch.dot(0.5, 0.225 + i * 0.098, 0.0125)
    sketch.cloth(
        path((0.555, 0.29), (0.628, 0.29), (0.628, 0.375), (0.592, 0.398), (0.555, 0.375)), tone=0.06
    )
    sketch.line([(0.555, 0.31), (0.628, 0.31)], width=0.004)
    sketch.cloth(path((0.435, 0.1), (0.5, 0.135, 0.565, 0.1), (0.5, 0.17)), tone=0.45)
    sketch.pair(
        path((0.5, 0.165), (0.545, 0.13, 0.567, 0.085), (0.605, 0.12), (0.6, 0.16, 0.572, 0.215)), tone=0.1
    )
    hanging_folds(sketch, 0.42, hem - 0.04, 0.14, 4, rng)
    return sketch


def sweater(length: str, rng: random.Random) -> Sketch:
    """A knitted sweater with ribbed edges: cropped, or long over the hips."""
    sketch = Sketch()
    hem = {"short": 0.50, "long": 0.90}[length]
    _long_sleeve(sketch, 0.03, 0.05)
    turtle = rng.random() < 0.5
    sketch.cloth(_torso(0.575, 0.175, hem, 0.69))
    _ribs(sketch, 0.682, hem - 0.004, 0.052)
    if turtle:
        sketch.cloth(
            symmetric(
                path((0.5, 0.065), (0.56, 0.062), (0.572, 0.1, 0.585, 0.132), (0.55, 0.175, 0.5, 0.178))
            ),
            tone=0.15,
        )
        sketch.line(path((0.43, 0.115), (0.5, 0.145, 0.57, 0.115)), width=0.004)
    else:
        sketch.cloth(path((0.425, 0.118), (0.5, 0.15, 0.575, 0.118), (0.55, 0.18), (0.45, 0.18)), tone=0.45)
        sketch.cloth(
            symmetric(
                path((0.5, 0.168), (0.56, 0.166, 0.572, 0.11), (0.607, 0.125), (0.585, 0.205, 0.5, 0.207))
            ),
            tone=0.2,
        )
    hanging_folds(sketch, 0.36, hem - 0.02, 0.15, 3, rng)
    return sketch


def hoodie(length: str, rng: random.Random) -> Sketch:
    """A hooded sweatshirt with drawstrings and a pouch: cropped, or long over the hips."""
    sketch = Sketch()
    hem = {"short": 0.50, "long": 0.90}[length]
    _long_sleeve(sketch, 0.03, 0.05)
    sketch.cloth(_torso(0.575, 0.19, hem, 0.69))
    _ribs(sketch, 0.682, hem - 0.004, 0.05)
    top, wide = hem - 0.165, 0.6
    sketch.cloth(
        symmetric(
            path(
                (0.5, top),
                (0.563, top),
                (wide + 0.025, top + 0.1),
                (wide + 0.025, hem - 0.012),
                (0.5, hem - 0.005),
            )
        ),
        tone=0.1,
    )
    sketch.cloth(
        symmetric(
            path(
                (0.5, 0.005), (0.6, 0.002, 0.612, 0.085), (0.625, 0.15, 0.6, 0.19), (0.56, 0.235, 0.5, 0.245)
            )
        )
    )
    sketch.cloth(
        symmetric(path((0.5, 0.05), (0.568, 0.05, 0.57, 0.115), (0.565, 0.165, 0.5, 0.218))), tone=0.55
    )
    for x in (0.468, 0.532):
        end = 0.33 + rng.uniform(-0.01, 0.02)
        sketch.line(path((x, 0.222), (x + (x - 0.5) * 0.4, 0.28, x, end)), width=0.009, color="trim")
    hanging_folds(sketch, 0.36, hem - 0.02, 0.15, 3, rng)
    return sketch


def jacket(length: str, rng: random.Random) -> Sketch:
    """A zipped jacket with stand-up collar and slanted pockets: cropped, or to the thigh."""
    sketch = Sketch()
    hem = {"short": 0.50, "long": 0.90}[length]
    _long_sleeve(sketch, 0.035, 0.045)
    sketch.cloth(_torso(0.575, 0.16, hem, 0.69))
    sketch.cloth(band(0.69, hem - 0.004, 0.05), tone=0.32)
    sketch.cloth(path((0.43, 0.07), (0.5, 0.1, 0.57, 0.07), (0.5, 0.19)), tone=0.5)
    sketch.pair(
        path(
            (0.505, 0.185),
            (0.545, 0.13, 0.562, 0.062),
            (0.585, 0.075),
            (0.6, 0.1, 0.602, 0.135),
            (0.56, 0.19, 0.505, 0.225),
        ),
        tone=0.3,
    )
    sketch.line([(0.5, 0.2), (0.5, hem + 0.055)], width=0.022, color="ink")
    sketch.line([(0.5, 0.2), (0.5, hem + 0.055)], width=0.011, color=METAL)
    sketch.solid([(0.489, 0.225), (0.511, 0.225), (0.509, 0.272), (0.491, 0.272)], METAL)
    low = hem - 0.06
    sketch.lines(path((0.59, low - 0.11), (0.64, low)), width=0.013)
    sketch.lines(path((0.592, low - 0.11), (0.642, low)), width=0.005, color=METAL)
    hanging_folds(sketch, 0.36, hem - 0.02, 0.15, 2, rng)
    return sketch


def coat(length: str, rng: random.Random) -> Sketch:
    """A double-breasted coat with lapels and flap pockets: to the thigh or to the calf."""
    sketch = Sketch()
    hem = {"short": 0.72, "long": 1.12}[length]
    wide = {"short": 0.715, "long": 0.755}[length]
    _long_sleeve(sketch, 0.02, 0.05)
    sketch.cloth(
        symmetric(
            path(
                (0.5, 0.2),
                (0.575, 0.118),
                _SHOULDER,
                (0.648, 0.24, 0.662, 0.315),
                (0.65, 0.42, wide - 0.04, (hem + 0.45) / 2),
                (wide, hem),
                (0.5, hem + 0.018),
            )
        )
    )
    sketch.line(path((0.552, 0.37), (0.56, hem + 0.012)), width=0.006)
    sketch.cloth(
        path((0.43, 0.09), (0.5, 0.12, 0.57, 0.09), (0.56, 0.2), (0.505, 0.32), (0.44, 0.2)), tone=0.55
    )
    sketch.pair(
        path(
            (0.5, 0.355),
            (0.54, 0.2, 0.565, 0.078),
            (0.592, 0.09),
            (0.625, 0.155),
            (0.598, 0.18),
            (0.64, 0.215),
            (0.6, 0.3, 0.5, 0.375),
        ),
        tone=0.14,
    )
    for row in range(3):
        for x in (0.462, 0.528):
            sketch.dot(x, 0.425 + row * 0.085, 0.0155)
    if rng.random() < 0.5:
        sketch.cloth(band(0.66, 0.452, 0.036, 0.008), tone=0.35)
    pocket = 0.575 if length == "short" else 0.62
    sketch.pair(
        path(
            (0.585, pocket - 0.01), (0.672, pocket + 0.005), (0.672, pocket + 0.042), (0.585, pocket + 0.03)
        ),
        tone=0.2,
    )
    hanging_folds(sketch, 0.5, hem - 0.02, wide - 0.53, 3, rng)
    return sketch
