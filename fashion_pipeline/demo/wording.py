"""The words for garments: captions in full and in part, and the vocabulary that the demo model reads.

Words are chosen so that what people type ("red striped dress", "polka dot skirt in pink") was seen in
training.
"""

from __future__ import annotations

import random
import string

from fashion_pipeline.demo.garments import Garment

_KINDS: dict[str, tuple[str, ...]] = {
    "dress": ("dress", "dress", "gown", "frock"),
    "skirt": ("skirt", "skirt", "pleated skirt"),
    "t-shirt": ("t-shirt", "t-shirt", "tee", "t shirt", "tshirt"),
    "shirt": ("shirt", "shirt", "blouse", "button-up shirt", "button up shirt"),
    "sweater": ("sweater", "sweater", "jumper", "pullover", "knit sweater"),
    "hoodie": ("hoodie", "hoodie", "hooded sweatshirt", "hooded sweater"),
    "jacket": ("jacket", "jacket", "zip jacket", "bomber jacket"),
    "coat": ("coat", "coat", "overcoat", "double-breasted coat", "trench coat"),
    "trousers": ("trousers", "trousers", "pants", "chinos"),
    "jumpsuit": ("jumpsuit", "jumpsuit", "dungarees", "overalls"),
    "scarf": ("scarf", "scarf", "shawl", "fringed scarf"),
    "socks": ("socks", "socks", "pair of socks", "stockings"),
    "boots": ("boots", "boots", "pair of boots", "leather boots"),
    "bag": ("bag", "bag", "handbag", "purse"),
    "shorts": ("shorts", "shorts", "drawstring shorts"),
    "hat": ("hat", "hat", "sun hat", "wide-brimmed hat", "brimmed hat"),
    "cap": ("cap", "cap", "baseball cap"),
    "backpack": ("backpack", "backpack", "rucksack"),
    "sneakers": ("sneakers", "sneakers", "trainers", "sneaker", "tennis shoes"),
}
_COLORS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "turquoise": ("turquoise", "turquoise", "teal", "aqua"),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink", "pink", "rose"),
    "brown": ("brown",),
    "beige": ("beige", "beige", "sand", "tan"),
    "black": ("black",),
    "grey": ("grey", "grey", "gray"),
    "white": ("white",),
}
_PATTERNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "solid": (("", "", "plain", "solid"), ("",)),
    "striped": (("striped", "striped", "stripe", "stripy"), ("stripes", "stripe print")),
    "dotted": (("dotted", "dotted", "polka dot", "spotted"), ("dots", "polka dots", "spots")),
    "checked": (
        ("checked", "checked", "plaid", "tartan", "checkered"),
        ("checks", "a check pattern", "plaid"),
    ),
    "floral": (
        ("floral", "floral", "flowered", "flower print"),
        ("flowers", "a flower print", "a floral print"),
    ),
    "zigzag": (("zigzag", "zigzag", "zig zag", "chevron"), ("zigzags", "a zigzag pattern", "chevrons")),
}
"""Before the garment, and after a `with`."""

_LENGTHS: dict[str, dict[str, tuple[str, ...]]] = {
    "short": {
        "": ("short", "short"),
        "dress": ("mini", "knee-length"),
        "skirt": ("mini", "knee-length"),
        "t-shirt": ("cropped", "crop"),
        "sweater": ("cropped",),
        "hoodie": ("cropped",),
        "jacket": ("cropped",),
        "shirt": ("short sleeve", "short-sleeved"),
        "trousers": ("cropped",),
        "boots": ("ankle",),
        "socks": ("ankle",),
    },
    "long": {
        "": ("long", "long"),
        "dress": ("maxi", "floor-length"),
        "skirt": ("maxi", "ankle-length"),
        "shirt": ("long sleeve", "long-sleeved"),
        "trousers": ("full-length",),
        "boots": ("knee high", "tall"),
        "socks": ("knee high",),
        "bag": ("long strap", "shoulder"),
    },
}
_LOOSE: dict[str, tuple[str, ...]] = {
    "sneakers": ("shoes", "footwear"),
    "boots": ("shoes", "footwear"),
    "backpack": ("bag",),
    "bag": ("tote bag", "accessory"),
    "cap": ("hat",),
    "coat": ("outerwear", "coats and jackets"),
    "jacket": ("outerwear", "coats and jackets"),
    "t-shirt": ("top", "shirt"),
    "shirt": ("top",),
    "sweater": ("top", "knitwear"),
    "hoodie": ("top", "sweatshirt"),
    "trousers": ("jeans", "slacks"),
    "jumpsuit": ("playsuit",),
}
"""Wider words that people search with; used in partial captions only."""

_OPENINGS = ("", "", "", "", "a ", "a photo of a ", "a drawing of a ", "women's ", "men's ", "new ", "the ")
_PLURALS = {"dress": "dresses", "scarf": "scarves"}

_CHATTER_TEXT = (
    "for summer winter spring autumn women men ladies kids wedding party office beach holiday work casual "
    "elegant classic modern vintage cotton wool linen silk leather denim knitted soft warm light cheap "
    "nice cute beautiful pretty looking with in on and or the a of to my me i want find show buy shop "
    "sale size style fashion outfit wear colour color collection everyday original studio atelier "
    "essentials relaxed fit slim oversized organic recycled premium nordic item clothes clothing garment "
    "something picture image product "
)
CHATTER: tuple[str, ...] = tuple(_CHATTER_TEXT.split())
"""Words that say nothing about the drawing; seen in training, so that the model learns to read past them."""


def caption(garment: Garment, *, variant: int = 0) -> str:
    """Name every attribute of a garment: `red and white striped short dress`.

    Variant 0 is the plain form; others, chosen by the variant's number, use synonyms and other word orders.
    """
    if variant == 0:
        words = _first_words(garment)
        return " ".join(filter(None, (words["colors"], words["pattern"], words["length"], words["kind"])))
    rng = random.Random(f"{garment.key}|caption|{variant}")
    return _phrase(garment, rng, length=True, second=True, pattern=True)


def partial_caption(garment: Garment, *, variant: int) -> str:
    """Name a garment as people search: some attributes left out, sometimes words that mean nothing here."""
    rng = random.Random(f"{garment.key}|partial|{variant}")
    text = _phrase(
        garment,
        rng,
        length=rng.random() < 0.35,
        second=rng.random() < 0.3,
        pattern=rng.random() < 0.8,
        color=rng.random() < 0.65,
        loose=rng.random() < 0.15,
    )
    if rng.random() < 0.3:
        extra = [rng.choice(CHATTER) for _ in range(rng.randint(1, 4))]
        if rng.random() < 0.3:
            extra.append("".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 8))))
        cut = rng.randint(0, len(extra))
        text = " ".join([*extra[:cut], text, *extra[cut:]])
    return text


def vocabulary() -> list[str]:
    """Every word of every caption, lower case and without punctuation, sorted."""
    phrases: list[str] = [*_OPENINGS, *CHATTER, *_PLURALS.values()]
    for kinds in (*_KINDS.values(), *_LOOSE.values()):
        phrases += [*kinds, *(_plural(kind) for kind in kinds)]
    for colors in _COLORS.values():
        phrases += colors
    for before, after in _PATTERNS.values():
        phrases += [*before, *after]
    for lengths in _LENGTHS.values():
        for names in lengths.values():
            phrases += names
    strip = str.maketrans("", "", string.punctuation)
    return sorted({word for phrase in phrases for word in phrase.lower().translate(strip).split()})


def _first_words(garment: Garment) -> dict[str, str]:
    second = f" and {garment.second_color}" if garment.second_color else ""
    return {
        "colors": garment.color + second,
        "pattern": "" if garment.pattern == "solid" else garment.pattern,
        "length": "" if garment.length == "regular" else garment.length,
        "kind": garment.kind,
    }


def _plural(kind: str) -> str:
    head, _, last = kind.rpartition(" ")
    plural = _PLURALS.get(last, last if last.endswith("s") else last + "s")
    return f"{head} {plural}".strip()


def _phrase(
    garment: Garment,
    rng: random.Random,
    *,
    length: bool,
    second: bool,
    pattern: bool,
    color: bool = True,
    loose: bool = False,
) -> str:
    kind = rng.choice(_LOOSE.get(garment.kind, _KINDS[garment.kind]) if loose else _KINDS[garment.kind])
    if rng.random() < 0.12:
        kind = _plural(kind)
    first = rng.choice(_COLORS[garment.color]) if color else ""
    other = rng.choice(_COLORS[garment.second_color]) if garment.second_color and second and color else ""
    before, after = _PATTERNS[garment.pattern]
    adjective, noun = (rng.choice(before), rng.choice(after)) if pattern else ("", "")
    size = ""
    if length and garment.length != "regular":
        names = _LENGTHS[garment.length]
        size = rng.choice(names[""] + names.get(garment.kind, ()))
    colors = f"{first}{rng.choice((' and ', ' and ', ' '))}{other}" if other else first
    forms: list[tuple[str, ...]] = [
        (colors, adjective, size, kind),
        (size, colors, adjective, kind),
        (adjective, colors, size, kind),
    ]
    if noun:
        forms += [(size, first, kind, "with", other, noun), (first, size, kind, "with", other, noun)]
    if adjective and colors:
        forms += [(adjective, size, kind, "in", colors), (size, adjective, kind, "in", colors)]
    elif colors:
        forms += [(size, kind, "in", colors)]
    return rng.choice(_OPENINGS) + " ".join(filter(None, rng.choice(forms)))
