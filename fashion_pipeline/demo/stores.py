"""Four invented stores and what they sell on each of the demo's days.

Everything follows from fixed seeds: the same day gives the same products everywhere. What differs between the
days is written down here and nowhere else: prices, arrivals, departures, changed pictures. Broken rows are in
`feed_files`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache

from fashion_pipeline.demo.garments import COLORS, LENGTHS, PATTERNS, Garment
from fashion_pipeline.demo.wording import caption

DAYS: tuple[date, date] = (date(2026, 11, 2), date(2026, 11, 3))

_NEUTRALS = ("black", "white", "grey", "beige", "blue", "brown")
_WORN = (
    "dress",
    "skirt",
    "t-shirt",
    "shirt",
    "sweater",
    "hoodie",
    "jacket",
    "coat",
    "trousers",
    "shorts",
    "jumpsuit",
)


@dataclass(frozen=True, slots=True)
class Store:
    """One store's character: what it sells, to whom, at what prices."""

    id: str
    name: str
    kinds: tuple[str, ...]
    brands: tuple[str, ...]
    products: int
    currency: str
    price_from: int
    price_to: int
    price_step: Decimal
    price_end: Decimal
    picture_format: str
    plain_share: float
    colors: tuple[str, ...]
    adjectives: tuple[str, ...]
    closing: str


@dataclass(frozen=True, slots=True)
class Product:
    """One product of a store on one day; every size of it is a row with the same picture."""

    store: Store
    number: int
    garment: Garment
    seed: int
    brand: str
    title: str
    description: str
    price: Decimal
    compare_at: Decimal | None
    gender: str
    material: str
    sizes: tuple[str, ...]
    sold_out: frozenset[str]
    picture: str
    """File name below the store's folder of pictures; of another store's folder where it holds a slash."""
    picture_version: int = 1

    @property
    def group(self) -> str:
        """The id that the sizes share."""
        return f"{self.store.id[:3].upper()}{1000 + self.number}"


STORES: tuple[Store, ...] = (
    Store(
        id="nordlys",
        name="Nordlys Studio",
        kinds=("coat", "jacket", "sweater", "trousers", "dress", "skirt", "shirt", "scarf", "boots", "hat"),
        brands=("Nordlys",),
        products=66,
        currency="DKK",
        price_from=299,
        price_to=2199,
        price_step=Decimal(50),
        price_end=Decimal(-1),
        picture_format="jpg",
        plain_share=0.5,
        colors=(*_NEUTRALS, "turquoise", "red", "green", "yellow"),
        adjectives=("Quiet", "Everyday", "Harbour", "Fjord", "Studio", "Winter"),
        closing="Designed in Aarhus, made in small series.",
    ),
    Store(
        id="marchetti",
        name="Bottega Marchetti",
        kinds=("bag", "boots", "sneakers", "scarf", "hat", "shirt", "dress", "backpack", "coat", "skirt"),
        brands=("Bottega Marchetti", "Linea Rossa"),
        products=74,
        currency="EUR",
        price_from=39,
        price_to=490,
        price_step=Decimal(5),
        price_end=Decimal("-0.10"),
        picture_format="jpg",
        plain_share=0.35,
        colors=tuple(COLORS),
        adjectives=("Firenze", "Portofino", "Amalfi", "Siena", "Capri", "Milano"),
        closing="Cut and finished by hand in our workshop.",
    ),
    Store(
        id="sunday-market",
        name="Sunday Market",
        kinds=(*_WORN, "hat", "cap", "bag", "backpack", "socks", "sneakers", "boots", "scarf"),
        brands=("Common Thread", "Tiny Parade", "Oak & Ember", "Nordlys", "Half Past Noon"),
        products=118,
        currency="USD",
        price_from=9,
        price_to=129,
        price_step=Decimal(2),
        price_end=Decimal("-0.01"),
        picture_format="png",
        plain_share=0.25,
        colors=tuple(COLORS),
        adjectives=("Weekend", "Park", "Picnic", "Corner Store", "Lemonade", "Sunday"),
        closing="Free returns within 30 days.",
    ),
    Store(
        id="kiyomi",
        name="Kiyomi Vintage",
        kinds=(
            "dress",
            "skirt",
            "shirt",
            "coat",
            "jacket",
            "jumpsuit",
            "bag",
            "hat",
            "t-shirt",
            "hoodie",
            "cap",
            "socks",
            "shorts",
        ),
        brands=("Kiyomi Selection", "Showa Mode"),
        products=88,
        currency="JPY",
        price_from=1500,
        price_to=24000,
        price_step=Decimal(500),
        price_end=Decimal(0),
        picture_format="webp",
        plain_share=0.15,
        colors=tuple(COLORS),
        adjectives=("Shibuya", "Retro", "Seventies", "Kissaten", "City Pop", "Archive"),
        closing="One of a kind; gently worn, washed and mended.",
    ),
)

_GENDERS = {"dress": "female", "skirt": "female", "jumpsuit": "female"}
_MATERIALS = {
    "boots": ("leather", "suede"),
    "sneakers": ("canvas", "leather"),
    "bag": ("leather", "canvas"),
    "backpack": ("canvas", "nylon"),
    "sweater": ("wool", "cashmere", "cotton"),
    "coat": ("wool", "wool blend"),
    "scarf": ("wool", "silk", "cashmere"),
    "hat": ("felt", "straw"),
    "cap": ("cotton", "corduroy"),
    "socks": ("cotton", "merino"),
    "jacket": ("nylon", "denim", "wool"),
}
_SHOE_SIZES = ("37", "38", "39", "40", "41", "42")
_ONE_SIZE = ("hat", "cap", "bag", "backpack", "scarf")

ARRIVALS = {"nordlys": 3, "marchetti": 4, "sunday-market": 6, "kiyomi": 5}
"""Products that a store sells on the second day only: the last ones by number."""

DEPARTURES = {
    "nordlys": (7, 31),
    "marchetti": (12, 40),
    "sunday-market": (3, 58, 77, 90),
    "kiyomi": (5, 22, 61),
}
"""Numbers of the products that are gone on the second day: well below the tenth that the guard allows."""

REPRICED = {"nordlys": 5, "marchetti": 9, "sunday-market": 8, "kiyomi": 11}
"""On the second day every n-th product of a store costs 15 % less."""

REPLACED_PICTURE = ("nordlys", 10)
"""Store and number of the product whose picture has other bytes behind the same URL on the second day."""

VERSIONED_PICTURE = ("marchetti", 8)
"""Store and number of the product whose picture has other bytes and `?v=2` in its URL on the second day."""

SHARED_PICTURE = ("sunday-market", 20, "nordlys", 4)
"""Store and number that sell what another store and number sell, with a byte-equal picture."""

FEATURED = {
    ("nordlys", 4): Garment("dress", "red", "striped", "white", "short"),
    ("marchetti", 76): Garment("dress", "red", "striped", "white", "long"),
    ("sunday-market", 95): Garment("dress", "red", "striped", "beige", "short"),
    ("kiyomi", 39): Garment("dress", "red", "striped", "black", "long"),
}
"""Looks that are not left to chance: what the demo searches for, one of them new on the second day."""


def products(store: Store, day: date) -> list[Product]:
    """What a store sells on a day, by number. A day before the first is empty, one after the last is the
    last.
    """
    if day < DAYS[0]:
        return []
    everything = _assortment(store)
    if day < DAYS[1]:
        return list(everything[: store.products])
    return [_second_day(product) for product in everything if product.number not in DEPARTURES[store.id]]


def store_named(store_id: str) -> Store:
    """The store with that id. Raises KeyError where there is none."""
    return {store.id: store for store in STORES}[store_id]


def _second_day(product: Product) -> Product:
    store = product.store
    place = (store.id, product.number)
    if product.number % REPRICED[store.id] == 0 and product.number < store.products:
        whole = (product.price * Decimal("0.85") / store.price_step).to_integral_value() * store.price_step
        product = replace(
            product, price=max(whole, store.price_step) + store.price_end, compare_at=product.price
        )
    if place in (REPLACED_PICTURE, VERSIONED_PICTURE):
        product = replace(product, picture_version=2, seed=product.seed + 1_000_000)
    return product


@cache
def _assortment(store: Store) -> tuple[Product, ...]:
    rng = random.Random(f"assortment of {store.id}")
    taken: set[Garment] = set()
    made = []
    for number in range(store.products + ARRIVALS[store.id]):
        garment = _look(store, number, rng)
        while garment in taken:
            garment = _look(store, number, rng)
        garment = FEATURED.get((store.id, number), garment)
        taken.add(garment)
        made.append(_product(store, number, garment, rng))
    return tuple(made)


def _look(store: Store, number: int, rng: random.Random) -> Garment:
    kind = store.kinds[number % len(store.kinds)]
    color = rng.choice(store.colors)
    if rng.random() < store.plain_share:
        pattern, second = "solid", None
    else:
        pattern = PATTERNS[1 + (number + rng.randrange(2)) % (len(PATTERNS) - 1)]
        second = rng.choice([other for other in COLORS if other != color])
    return Garment(kind, color, pattern, second, rng.choice(LENGTHS[kind]))


def _product(store: Store, number: int, garment: Garment, rng: random.Random) -> Product:
    seed, brand = rng.randrange(1 << 20), rng.choice(store.brands)
    step_count = int((store.price_to - store.price_from) / store.price_step)
    price = store.price_from + store.price_step * rng.randrange(step_count)
    price = (price / store.price_step).to_integral_value() * store.price_step + store.price_end
    material = rng.choice(_MATERIALS.get(garment.kind, ("cotton", "linen", "viscose", "organic cotton")))
    name = caption(garment)
    title = f"{rng.choice(store.adjectives)} {name.title()}".replace(" And ", " and ").replace(
        "T-Shirt", "T-shirt"
    )
    sizes = _sizes(store, garment, rng)
    extension = store.picture_format if number % 6 == 0 else "jpg"
    product = Product(
        store=store, number=number, garment=garment, seed=seed, brand=brand, title=title,
        description=_description(garment, material, store),
        price=price, compare_at=None,
        gender=_GENDERS.get(garment.kind, rng.choice(("female", "male", "unisex"))),
        material=material, sizes=sizes,
        sold_out=frozenset(size for size in sizes if rng.random() < 0.12),
        picture=f"{store.id[:3]}-{1000 + number}.{extension}",
    )  # fmt: skip
    if (store.id, number) == SHARED_PICTURE[:2]:
        original = _assortment(store_named(SHARED_PICTURE[2]))[SHARED_PICTURE[3]]
        product = replace(
            product, garment=original.garment, seed=original.seed, title=original.title, brand=original.brand,
            material=original.material, sizes=original.sizes, sold_out=frozenset(),
            picture=product.picture.rsplit(".", 1)[0] + "." + original.picture.rsplit(".", 1)[1],
        )  # fmt: skip
    return product


def _description(garment: Garment, material: str, store: Store) -> str:
    size = "" if garment.length == "regular" else f"{garment.length} "
    article = "A pair of" if garment.kind.endswith("s") and garment.kind != "dress" else "A"
    colors = garment.color + (f" and {garment.second_color}" if garment.second_color else "")
    pattern = "" if garment.pattern == "solid" else f", {garment.pattern}"
    return f"{article} {size}{garment.kind} in {colors}{pattern}. {material.capitalize()}. {store.closing}"


def _sizes(store: Store, garment: Garment, rng: random.Random) -> tuple[str, ...]:
    if garment.kind in _ONE_SIZE or store.id == "kiyomi":
        return ("one size",) if garment.kind in _ONE_SIZE else (rng.choice(("S", "M", "L")),)
    if garment.kind in ("boots", "sneakers"):
        start = rng.randrange(3)
        return _SHOE_SIZES[start : start + 3]
    if garment.kind == "socks":
        return ("36-40", "41-45")
    return {"nordlys": ("S", "M", "L"), "marchetti": ("S", "M", "L")}.get(store.id, ("S", "L"))
