"""Feeds of any size for the benchmarks of the whole line: garments in eight variants that share a picture."""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from fashion_pipeline_tests.benchmarks.test_cleaning import WORDS, description

DAYS = ("2026-11-02", "2026-11-03", "2026-11-04", "2026-11-05", "2026-11-06")
FIRST, EQUAL, REORDERED, CHANGED, AFTER = DAYS
SIZES = ("XS", "S", "M", "L")
COLORS = ("Black", "Navy", "Red", "Ecru", "Olive", "Brown", "White", "Blue")
KINDS = ("Dresses", "Skirts", "Bags", "Hats", "Sneakers", "Coats")
#: On the changed day: every 200th product has another price, every 400th garment left, as many are new.
PRICED, LEFT = 200, 400

Row = dict[str, str]


@dataclass(frozen=True)
class Catalogue:
    """Products spread evenly over stores; `variants` of a garment, next to each other, share its picture.

    Of the first `two_colored` garments of a store the second half of the variants has a picture of its own.
    """

    products: int
    stores: int
    variants: int
    pictures: str
    two_colored: int = 0

    @property
    def store_ids(self) -> list[str]:
        """The stores' names."""
        return [f"store-{number:02}" for number in range(self.stores)]

    @property
    def garments(self) -> int:
        """Garments of a store."""
        return self.products // self.stores // self.variants

    @property
    def all_pictures(self) -> int:
        """Distinct pictures of all stores on the first day."""
        return (self.garments + self.two_colored) * self.stores

    def rows(self, store: int, day: str) -> Iterator[Row]:
        """A store's feed of a day."""
        numbers = list(range(self.garments))
        if day == REORDERED:
            numbers.reverse()
        if day == CHANGED:
            news = range(self.garments, self.garments + len(range(1, self.garments, LEFT)))
            numbers = [number for number in numbers if number % LEFT != 1] + list(news)
        for number in numbers:
            yield from self._garment(store, number, changed=day == CHANGED)

    def _garment(self, store: int, number: int, *, changed: bool) -> Iterator[Row]:
        rng = random.Random(store * 10_000_000 + number)
        words = " ".join(rng.choices(WORDS, k=3)).title()
        text, price, kind = description(rng), rng.randrange(900, 29_900), rng.choice(KINDS)
        for variant in range(self.variants):
            place = number * self.variants + variant
            cents = price + 100 * (changed and place % PRICED == 0)
            second = number < self.two_colored and variant >= self.variants // 2
            picture = store * 1_000_000 + 500_000 * second + number
            color, size = COLORS[variant // len(SIZES) % len(COLORS)], SIZES[variant % len(SIZES)]
            yield {
                "id": f"{store}-{number}-{variant}",
                "title": f"{words} {color} {kind}",
                "description": text,
                "link": f"https://shop.example/{store}/{number}?variant={variant}",
                "image_link": f"{self.pictures}/{picture}.jpg",
                "availability": "in stock",
                "price": f"{cents / 100:.2f} EUR",
                "brand": f"Brand {number % 40}",
                "item_group_id": f"{store}-{number}",
                "color": color,
                "size": size,
                "gender": "female",
                "condition": "new",
                "product_type": f"Women > Clothing > {kind}",
            }

    def write_feeds_file(self, path: Path) -> None:
        """`feeds.yaml` of all stores, with dated feeds beside it."""
        stores = [
            {
                "id": name,
                "format": "google_csv",
                "location": f"{path.parent}/feeds/{name}-{{date}}.csv",
                "images": {
                    "smallest_side": 50,
                    "requests_per_second": 1e6,
                    "concurrency": 64,
                    "obey_robots": False,
                },
            }
            for name in self.store_ids
        ]
        whole = {"first_day": DAYS[0], "last_day": DAYS[-1], "stores": stores}
        path.write_text(yaml.safe_dump(whole), encoding="utf-8")

    def write_feed(self, folder: Path, store: int, day: str, content: str | None = None) -> Path:
        """A store's feed of a day, of its `content` or that of another; the equal day has the bytes of the first."""
        path = folder / "feeds" / f"{self.store_ids[store]}-{day}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as stream:
            rows = self.rows(store, content or (FIRST if day == EQUAL else day))
            first = next(rows)
            writer = csv.DictWriter(stream, list(first))
            writer.writeheader()
            writer.writerow(first)
            writer.writerows(rows)
        return path

    def write_feeds(self, folder: Path, day: str) -> None:
        """All stores' feeds of a day."""
        for store in range(self.stores):
            self.write_feed(folder, store, day)
