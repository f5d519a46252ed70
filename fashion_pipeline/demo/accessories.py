"""What accessories and footwear look like: one function per kind, in the manner of `tops`."""

from __future__ import annotations

import random

from fashion_pipeline.demo.sketch import Path, Sketch, path, symmetric
from fashion_pipeline.demo.tailoring import METAL

_SOLE = (232, 228, 220)
_RUBBER = (92, 84, 84)


def hat(length: str, rng: random.Random) -> Sketch:
    """A wide-brimmed sun hat with a ribbon."""
    sketch = Sketch()
    dip = rng.uniform(0.0, 0.03)
    sketch.cloth(
        path(
            (0.04, 0.56),
            (0.2, 0.40, 0.5, 0.40),
            (0.8, 0.40, 0.96, 0.56),
            (0.86, 0.74 + dip, 0.5, 0.74 + dip),
            (0.14, 0.74 + dip, 0.04, 0.56),
        )
    )
    sketch.fold(path((0.26, 0.58), (0.5, 0.68, 0.74, 0.58)), width=0.03)
    sketch.cloth(
        path(
            (0.25, 0.54),
            (0.27, 0.24, 0.36, 0.2),
            (0.43, 0.17, 0.5, 0.2),
            (0.57, 0.17, 0.64, 0.2),
            (0.73, 0.24, 0.75, 0.54),
            (0.5, 0.64, 0.25, 0.54),
        )
    )
    sketch.solid(path((0.257, 0.44), (0.5, 0.53, 0.743, 0.44), (0.75, 0.54), (0.5, 0.64, 0.25, 0.54)), "ink")
    sketch.fold(path((0.5, 0.2), (0.48, 0.26, 0.5, 0.32)), width=0.03)
    sketch.line(
        path((0.09, 0.575), (0.2, 0.70 + dip, 0.5, 0.705 + dip), (0.8, 0.70 + dip, 0.91, 0.575)), width=0.004
    )
    return sketch


def cap(length: str, rng: random.Random) -> Sketch:
    """A baseball cap with panel seams, seen from the side."""
    sketch = Sketch()
    sketch.cloth(
        path((0.62, 0.56), (0.86, 0.52, 0.98, 0.66), (0.985, 0.70, 0.93, 0.70), (0.8, 0.63, 0.62, 0.66)),
        tone=0.2,
    )
    sketch.line(path((0.64, 0.585), (0.84, 0.56, 0.95, 0.67)), width=0.004)
    sketch.cloth(
        path(
            (0.12, 0.62),
            (0.10, 0.22, 0.42, 0.2),
            (0.70, 0.2, 0.70, 0.60),
            (0.68, 0.66),
            (0.4, 0.70, 0.13, 0.66),
        )
    )
    sketch.line(path((0.42, 0.2), (0.54, 0.36, 0.53, 0.665)), width=0.006)
    sketch.line(path((0.42, 0.2), (0.26, 0.34, 0.27, 0.675)), width=0.006)
    sketch.cloth(
        path((0.12, 0.615), (0.4, 0.66, 0.70, 0.6), (0.68, 0.66), (0.4, 0.71, 0.13, 0.665)), tone=0.3
    )
    sketch.solid(
        path((0.385, 0.2), (0.39, 0.17, 0.42, 0.17), (0.45, 0.17, 0.455, 0.2), (0.42, 0.215, 0.385, 0.2)),
        "ink",
    )
    sketch.dot(0.61, 0.34, 0.012)
    sketch.dot(0.2, 0.36, 0.012)
    sketch.fold(path((0.6, 0.3), (0.66, 0.42, 0.65, 0.58)), width=0.03)
    return sketch


def bag(length: str, rng: random.Random) -> Sketch:
    """A handbag with flap and clasp: a short handle or a long shoulder strap."""
    sketch = Sketch()
    if length == "long":
        strap = path(
            (0.23, 0.52),
            (0.26, -0.12, 0.5, -0.12),
            (0.74, -0.12, 0.77, 0.52),
            (0.735, 0.52),
            (0.71, -0.07, 0.5, -0.07),
            (0.29, -0.07, 0.265, 0.52),
        )
        sketch.solid(strap, "ink")
    else:
        handle = path(
            (0.31, 0.48),
            (0.32, 0.25, 0.5, 0.25),
            (0.68, 0.25, 0.69, 0.48),
            (0.645, 0.48),
            (0.63, 0.3, 0.5, 0.3),
            (0.37, 0.3, 0.355, 0.48),
        )
        sketch.solid(handle, "ink")
    sketch.cloth(
        symmetric(
            path(
                (0.5, 0.46),
                (0.76, 0.46),
                (0.80, 0.47, 0.81, 0.53),
                (0.845, 0.86),
                (0.85, 0.92, 0.79, 0.925),
                (0.5, 0.93),
            )
        )
    )
    flap = symmetric(
        path(
            (0.5, 0.44),
            (0.76, 0.44),
            (0.81, 0.45, 0.815, 0.54),
            (0.79, 0.66, 0.68, 0.69),
            (0.6, 0.715, 0.5, 0.72),
        )
    )
    sketch.fold(path((0.2, 0.69), (0.36, 0.75, 0.5, 0.755), (0.64, 0.75, 0.8, 0.69)), width=0.035)
    sketch.cloth(flap)
    sketch.solid(symmetric(path((0.5, 0.665), (0.535, 0.665), (0.535, 0.75), (0.5, 0.75))), METAL)
    sketch.line([(0.5, 0.69), (0.5, 0.725)], width=0.012)
    for x in (0.25, 0.75) if length == "long" else (0.333, 0.667):
        sketch.dot(x, 0.485, 0.022, METAL)
    return sketch


def backpack(length: str, rng: random.Random) -> Sketch:
    """A backpack with a front pocket, side pockets and a grab handle."""
    sketch = Sketch()
    sketch.solid(
        path(
            (0.41, 0.16),
            (0.41, 0.04, 0.5, 0.04),
            (0.59, 0.04, 0.59, 0.16),
            (0.55, 0.16),
            (0.55, 0.085, 0.5, 0.085),
            (0.45, 0.085, 0.45, 0.16),
        ),
        "ink",
    )
    sketch.pair(path((0.72, 0.56), (0.83, 0.57), (0.845, 0.86), (0.82, 0.92, 0.72, 0.91)), tone=0.25)
    sketch.cloth(
        symmetric(
            path(
                (0.5, 0.11),
                (0.74, 0.11, 0.755, 0.33),
                (0.765, 0.6, 0.765, 0.86),
                (0.765, 0.95, 0.68, 0.95),
                (0.5, 0.955),
            )
        )
    )
    sketch.line(path((0.262, 0.40), (0.28, 0.22, 0.5, 0.215), (0.72, 0.22, 0.738, 0.40)), width=0.014)
    sketch.line(
        path((0.262, 0.40), (0.28, 0.22, 0.5, 0.215), (0.72, 0.22, 0.738, 0.40)), width=0.006, color=METAL
    )
    sketch.cloth(
        symmetric(
            path(
                (0.5, 0.52),
                (0.66, 0.52),
                (0.7, 0.525, 0.7, 0.57),
                (0.7, 0.85),
                (0.7, 0.89, 0.66, 0.89),
                (0.5, 0.89),
            )
        ),
        tone=0.06,
    )
    sketch.cloth(
        symmetric(
            path((0.5, 0.50), (0.67, 0.50), (0.71, 0.505, 0.71, 0.56), (0.705, 0.62, 0.6, 0.63), (0.5, 0.635))
        ),
        tone=0.22,
    )
    sketch.solid(path((0.476, 0.59), (0.524, 0.59), (0.524, 0.69), (0.476, 0.69)), METAL)
    sketch.fold(path((0.71, 0.3), (0.735, 0.5, 0.73, 0.9)), width=0.03)
    return sketch


def scarf(length: str, rng: random.Random) -> Sketch:
    """A knotted scarf with fringes: short ends or long ones."""
    sketch = Sketch()
    end = {"short": 0.62, "long": 1.0}[length]
    lean = rng.uniform(0.0, 0.03)
    for x, bottom, drift, tone in ((0.545, end - 0.09, 0.06 + lean, 0.2), (0.435, end, -0.03 - lean, 0.0)):
        half = 0.082 if length == "short" else 0.1
        low = x + drift
        sketch.cloth(
            path(
                (x - half * 0.8, 0.3),
                (low - half, bottom),
                (low + half, bottom - 0.01),
                (x + half * 0.8, 0.3),
            ),
            tone=tone,
        )
        for i in range(7):
            at = low - half + 2 * half * (i + 0.5) / 7
            sketch.line(
                path((at, bottom - 0.01), (at + 0.004, bottom + 0.03, at - 0.004, bottom + 0.06)),
                width=0.011,
                color="ink",
            )
        sketch.line([(low - half + 0.004, bottom - 0.022), (low + half - 0.004, bottom - 0.032)], width=0.005)
        sketch.fold(
            path((x + 0.02, 0.34), (x + drift / 2, (bottom + 0.3) / 2, low + 0.02, bottom - 0.03)), width=0.02
        )
    sketch.cloth(
        path(
            (0.24, 0.17),
            (0.34, 0.02, 0.5, 0.02),
            (0.66, 0.02, 0.76, 0.17),
            (0.74, 0.24, 0.66, 0.26),
            (0.62, 0.12, 0.5, 0.12),
            (0.38, 0.12, 0.34, 0.26),
            (0.26, 0.24, 0.24, 0.17),
        ),
        tone=0.3,
    )
    sketch.cloth(
        path(
            (0.23, 0.15),
            (0.36, 0.24, 0.5, 0.24),
            (0.64, 0.24, 0.77, 0.15),
            (0.82, 0.27, 0.71, 0.345),
            (0.6, 0.40, 0.5, 0.40),
            (0.4, 0.40, 0.29, 0.345),
            (0.18, 0.27, 0.23, 0.15),
        )
    )
    sketch.fold(path((0.27, 0.25), (0.4, 0.33, 0.58, 0.31), (0.68, 0.29, 0.74, 0.23)), width=0.022)
    sketch.cloth(
        path(
            (0.42, 0.22),
            (0.5, 0.2, 0.565, 0.235),
            (0.6, 0.32, 0.575, 0.4),
            (0.5, 0.44, 0.42, 0.41),
            (0.39, 0.31, 0.42, 0.22),
        ),
        tone=0.08,
    )
    return sketch


def _shift(points: Path, dx: float, dy: float) -> Path:
    return [(x + dx, y + dy) for x, y in points]


def sneakers(length: str, rng: random.Random) -> Sketch:
    """A low sneaker with laces, toe cap and a thick sole, seen from the side."""
    sketch = Sketch()
    sketch.cloth(
        path((0.16, 0.34), (0.25, 0.30, 0.37, 0.33), (0.39, 0.40, 0.35, 0.43), (0.2, 0.43)), tone=0.5
    )
    sketch.cloth(
        path(
            (0.12, 0.68),
            (0.10, 0.5, 0.14, 0.33),
            (0.17, 0.34),
            (0.2, 0.43, 0.3, 0.42),
            (0.36, 0.41, 0.40, 0.31),
            (0.46, 0.37),
            (0.58, 0.48, 0.76, 0.515),
            (0.93, 0.55, 0.94, 0.68),
        )
    )
    sketch.cloth(
        path((0.38, 0.29), (0.43, 0.275), (0.50, 0.36), (0.66, 0.475), (0.63, 0.505), (0.44, 0.41)), tone=0.25
    )
    for i in range(4):
        x, y = 0.455 + i * 0.052, 0.375 + i * 0.034
        sketch.line(path((x - 0.045, y + 0.065), (x, y + 0.01, x + 0.04, y - 0.012)), width=0.03, color="ink")
        sketch.line(
            path((x - 0.042, y + 0.062), (x, y + 0.01, x + 0.037, y - 0.01)),
            width=0.019,
            color=(250, 248, 244),
        )
    sketch.solid(path((0.76, 0.68), (0.76, 0.58, 0.82, 0.53), (0.945, 0.55, 0.95, 0.68)), _SOLE)
    sketch.cloth(path((0.12, 0.68), (0.11, 0.56, 0.125, 0.45), (0.21, 0.5, 0.23, 0.68)), tone=0.35)
    sketch.line(path((0.35, 0.66), (0.42, 0.58, 0.52, 0.50)), width=0.008)
    sketch.solid(
        path(
            (0.10, 0.665),
            (0.5, 0.685),
            (0.955, 0.655),
            (0.985, 0.70, 0.955, 0.765),
            (0.9, 0.785),
            (0.14, 0.785),
            (0.09, 0.76, 0.10, 0.665),
        ),
        _SOLE,
    )
    sketch.line(path((0.105, 0.735), (0.5, 0.745), (0.965, 0.73)), width=0.008, color=_RUBBER)
    sketch.fold(path((0.6, 0.56), (0.64, 0.58, 0.66, 0.64)), width=0.02)
    return sketch


def boots(length: str, rng: random.Random) -> Sketch:
    """A pair of heeled boots, seen from the side: to the ankle or to the knee."""
    sketch = Sketch()
    top = {"short": 0.42, "long": -0.18}[length]
    for dx, dy, tone in ((0.17, -0.045, 0.28), (0.0, 0.0, 0.0)):
        calf = 0.03 if length == "long" else 0.0
        outline = path(
            (0.20 - calf, top), (0.44 + calf, top + 0.015), (0.45 + calf, (top + 0.55) / 2, 0.41, 0.6),
            (0.48, 0.68, 0.62, 0.715),
            (0.72, 0.745, 0.725, 0.83), (0.23, 0.84), (0.19, 0.75, 0.215, 0.64),
            (0.19 - calf, (top + 0.6) / 2, 0.20 - calf, top),
        )  # fmt: skip
        sketch.cloth(_shift(outline, dx, dy), tone=tone)
        collar = path(
            (0.195 - calf, top - 0.005),
            (0.445 + calf, top + 0.01),
            (0.445 + calf, top + 0.05),
            (0.195 - calf, top + 0.035),
        )
        sketch.cloth(_shift(collar, dx, dy), tone=tone + 0.2)
        sketch.solid(
            _shift(
                path(
                    (0.215, 0.825), (0.74, 0.815), (0.745, 0.86), (0.40, 0.865), (0.36, 0.935), (0.225, 0.935)
                ),
                dx,
                dy,
            ),
            _RUBBER,
        )
        sketch.line(_shift(path((0.33, top + 0.05), (0.34, 0.6, 0.30, 0.82)), dx, dy), width=0.006)
        sketch.fold(_shift(path((0.25, 0.62), (0.32, 0.655, 0.4, 0.61)), dx, dy), width=0.02)
        sketch.fold(_shift(path((0.44, 0.72), (0.5, 0.75, 0.5, 0.8)), dx, dy), width=0.018)
    return sketch


def socks(length: str, rng: random.Random) -> Sketch:
    """A pair of socks with ribbed cuff, dark heel and toe: to the ankle or to the knee."""
    sketch = Sketch()
    top = {"short": 0.40, "long": -0.18}[length]
    for dx, dy, tone in ((0.2, -0.05, 0.25), (0.0, 0.0, 0.0)):
        leg = path(
            (0.20, top), (0.42, top), (0.425, 0.55), (0.44, 0.64, 0.55, 0.70), (0.70, 0.77, 0.68, 0.85),
            (0.65, 0.92, 0.53, 0.89),
            (0.36, 0.84, 0.25, 0.77), (0.18, 0.71, 0.195, 0.58), (0.20, top),
        )  # fmt: skip
        sketch.cloth(_shift(leg, dx, dy), tone=tone)
        toe = path((0.56, 0.707), (0.70, 0.77, 0.68, 0.85), (0.65, 0.92, 0.53, 0.89), (0.5, 0.8, 0.56, 0.707))
        heel = path(
            (0.196, 0.58), (0.28, 0.62, 0.30, 0.70), (0.29, 0.76, 0.25, 0.77), (0.18, 0.71, 0.196, 0.58)
        )
        for patch in (toe, heel):
            sketch.solid(_shift(patch, dx, dy), "ink")
        sketch.cloth(
            _shift(
                [(0.192, top - 0.01), (0.428, top - 0.01), (0.428, top + 0.075), (0.192, top + 0.075)], dx, dy
            ),
            tone=tone + 0.2,
        )
        for i in range(1, 9):
            x = 0.192 + 0.236 * i / 9
            sketch.line(_shift([(x, top), (x, top + 0.07)], dx, dy), width=0.0035)
        sketch.fold(_shift(path((0.3, 0.66), (0.36, 0.7, 0.43, 0.66)), dx, dy), width=0.02)
    return sketch
