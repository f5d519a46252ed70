"""The garments of the demo: their attributes, their pictures and the words for them.

A garment is its attributes; a picture is drawn from the attributes and a seed, so that two products of one
look have two pictures. Nothing here knows about feeds, models or torch.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from fashion_pipeline.demo import accessories, bottoms, tops
from fashion_pipeline.demo.patterns import PATTERNS as _DRAWN_PATTERNS
from fashion_pipeline.demo.patterns import fabric
from fashion_pipeline.demo.sketch import Rgb, Sketch, render

COLORS: dict[str, Rgb] = {
    "red": (206, 38, 48),
    "orange": (240, 128, 32),
    "yellow": (250, 212, 58),
    "green": (46, 140, 74),
    "turquoise": (70, 196, 190),
    "blue": (44, 88, 204),
    "purple": (122, 62, 166),
    "pink": (246, 152, 190),
    "brown": (118, 72, 42),
    "beige": (220, 196, 158),
    "black": (32, 31, 36),
    "grey": (142, 145, 152),
    "white": (251, 250, 247),
}
"""Far enough apart in hue or lightness to be told apart on a picture of 112 pixels."""

PATTERNS: tuple[str, ...] = ("solid", *_DRAWN_PATTERNS)

_SHAPES: dict[str, tuple[Callable[[str, random.Random], Sketch], tuple[str, ...]]] = {
    "dress": (bottoms.dress, ("short", "long")),
    "skirt": (bottoms.skirt, ("short", "long")),
    "t-shirt": (tops.t_shirt, ("short", "long")),
    "shirt": (tops.shirt, ("short", "long")),
    "sweater": (tops.sweater, ("short", "long")),
    "hoodie": (tops.hoodie, ("short", "long")),
    "jacket": (tops.jacket, ("short", "long")),
    "coat": (tops.coat, ("short", "long")),
    "trousers": (bottoms.trousers, ("short", "long")),
    "jumpsuit": (bottoms.jumpsuit, ("short", "long")),
    "scarf": (accessories.scarf, ("short", "long")),
    "socks": (accessories.socks, ("short", "long")),
    "boots": (accessories.boots, ("short", "long")),
    "bag": (accessories.bag, ("short", "long")),
    "shorts": (bottoms.shorts, ("regular",)),
    "hat": (accessories.hat, ("regular",)),
    "cap": (accessories.cap, ("regular",)),
    "backpack": (accessories.backpack, ("regular",)),
    "sneakers": (accessories.sneakers, ("regular",)),
}
KINDS: tuple[str, ...] = tuple(_SHAPES)
LENGTHS: dict[str, tuple[str, ...]] = {kind: lengths for kind, (_, lengths) in _SHAPES.items()}
"""The lengths that a kind comes in; `regular` where length says nothing about it."""


@dataclass(frozen=True, slots=True, order=True)
class Garment:
    """One look. `second_color` is set exactly when `pattern` is not `solid`, and differs from `color`.

    Raises ValueError for a combination that does not exist.
    """

    kind: str
    color: str
    pattern: str
    second_color: str | None
    length: str

    def __post_init__(self) -> None:
        if self.kind not in LENGTHS or self.length not in LENGTHS[self.kind]:
            raise ValueError(f"no {self.length} {self.kind} is drawn; lengths by kind: {LENGTHS}")
        if self.pattern not in PATTERNS or self.color not in COLORS:
            raise ValueError(f"unknown pattern or colour in {self.color} {self.pattern}")
        plain = self.pattern == "solid"
        if plain != (self.second_color is None) or self.second_color == self.color:
            raise ValueError(
                f"a {self.pattern} garment in {self.color} cannot have {self.second_color} as second colour"
            )
        if self.second_color is not None and self.second_color not in COLORS:
            raise ValueError(f"unknown second colour {self.second_color}")

    @property
    def key(self) -> str:
        """The attributes as one string, the same on every machine and in every version of Python."""
        return "|".join((self.kind, self.color, self.pattern, self.second_color or "", self.length))


def all_garments() -> Iterator[Garment]:
    """Every combination of attributes, in a fixed order: 26,169 of them."""
    for kind, lengths in LENGTHS.items():
        for length in lengths:
            for color in COLORS:
                yield Garment(kind, color, "solid", None, length)
                for pattern in PATTERNS[1:]:
                    for second in COLORS:
                        if second != color:
                            yield Garment(kind, color, pattern, second, length)


def held_out(garment: Garment, *, share: float = 0.1) -> bool:
    """Whether the look belongs to the share that the demo model is never trained on: by hash of its
    attributes.
    """
    digest = hashlib.sha256(garment.key.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def draw(garment: Garment, *, seed: int, size: int = 256) -> Image.Image:
    """Draw a garment as an RGB picture of `size` x `size` pixels.

    The same attributes, seed and size give the same pixels on the same version of Pillow. The seed varies
    pose, proportions, details, the pattern's phase and the background, never an attribute.
    """
    rng = random.Random(f"{garment.key}|{seed}")
    shape, _ = _SHAPES[garment.kind]
    sketch = shape(garment.length, rng)
    base = COLORS[garment.color]
    second = COLORS[garment.second_color] if garment.second_color else None

    def cloth(side: int, source: random.Random) -> Image.Image:
        return fabric(garment.pattern, base, second, side, source)

    return render(sketch, base, cloth, rng, size)
