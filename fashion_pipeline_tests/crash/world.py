"""The outside world of a crash test, drawn from a seed: stores, days, their feeds, and the pictures of a server."""

import csv
import io
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from html import escape
from pathlib import Path
from typing import Any

import yaml

from fashion_pipeline.demo.garments import Garment, draw
from fashion_pipeline_tests.small_world import LOOKS

FIRST = date(2026, 11, 2)
NAMES = ("alpha", "beta", *(f"store-{number}" for number in range(3, 31)))
COLUMNS = ("id", "title", "price", "image_link", "availability", "product_type", "item_group_id", "color")
#: Products of a store on its first day.
FEWEST, MOST = 28, 40
PICTURES = 48

Row = dict[str, str]


@dataclass(frozen=True)
class Step:
    """One partition of the line: a store on a day."""

    day: date
    store: str

    def __str__(self) -> str:
        return f"{self.day} {self.store}"


@dataclass
class World:
    """What lies outside of the line. Two worlds of one seed and one address are equal to the byte."""

    seed: str
    address: str
    stores: tuple[str, ...] = ()
    days: tuple[date, ...] = ()
    #: By path below the server's address, or below the folder of files.
    feeds: dict[str, bytes] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    #: What the server does with a picture's path; see `server`.
    behaviours: dict[str, str] = field(default_factory=dict)

    @property
    def steps(self) -> list[Step]:
        """Every partition, day by day."""
        return [Step(day, store) for day in self.days for store in self.stores]

    def feeds_file(self, folder: Path) -> str:
        """`feeds.yaml`: the first store's feeds come from the server, the others' are files in `folder`."""
        stores: list[dict[str, Any]] = []
        for number, name in enumerate(self.stores):
            place = f"{self.address}/feeds" if number == 0 else str(folder / "feeds")
            stores.append(
                {
                    "id": name,
                    "location": f"{place}/{name}-{{date}}.{'xml' if number % 2 else 'csv'}",
                    "currency": "EUR",
                    "images": {
                        "smallest_side": 50,
                        "requests_per_second": 1000,
                        "own_hosts": ["127.0.0.1"],
                    },
                    **_format(number),
                }
            )
        whole = {"first_day": self.days[0], "last_day": self.days[-1], "stores": stores}
        return yaml.safe_dump(whole)

    def write(self, folder: Path) -> None:
        """Put feeds, pictures and the server's instructions into a folder."""
        for kind, files in (("feeds", self.feeds), ("pictures", self.pictures)):
            (folder / kind).mkdir(parents=True)
            for name, content in files.items():
                (folder / kind / name).write_bytes(content)
        (folder / "behaviours.json").write_text(json.dumps(self.behaviours))
        (folder / "feeds.yaml").write_text(self.feeds_file(folder), encoding="utf-8")


def _format(number: int) -> dict[str, Any]:
    if number % 2:
        return {"format": "google_xml"}
    fields = {
        "external_id": "id", "title": "title", "price": "price", "image_url": "image_link", "color": "color",
        "availability": "availability", "product_type": "product_type", "item_group_id": "item_group_id",
    }  # fmt: skip
    return {"format": "delimited", "mapping": {"fields": fields, "delimiter": ","}}


def make_world(
    seed: str, address: str, *, stores: int, days: int, products: tuple[int, int] = (FEWEST, MOST)
) -> World:
    """Draw a world; `address` is where its server will answer, `products` the bounds of a store's first day."""
    dice = random.Random(seed)
    world = World(seed, address, NAMES[:stores], tuple(FIRST + timedelta(n) for n in range(days)))
    for number in range(PICTURES):
        look = Garment(*_look(dice))
        target = io.BytesIO()
        draw(look, seed=number, size=64).save(target, "PNG")
        world.pictures[f"{number}.png"] = target.getvalue()
    # The same bytes under two addresses are one picture.
    world.pictures["twice.png"] = world.pictures["0.png"]
    names = sorted(world.pictures)
    for name in dice.sample(names, 10):
        world.behaviours[name] = dice.choice(
            ["missing", "busy_once", "cut_once", "slow", "no_picture", "slow"]
        )
    for number, store in enumerate(world.stores):
        rows = {n: _row(dice, store, n, world) for n in range(dice.randint(*products))}
        gone: dict[int, Row] = {}
        for turn, day in enumerate(world.days):
            if turn:
                _change(dice, store, rows, gone, world)
            listed = _broken(dice, list(rows.values()))
            if turn and dice.random() < 0.08:
                listed = listed[: len(listed) // 3]
            write, suffix = (_xml, "xml") if number % 2 else (_csv, "csv")
            world.feeds[f"{store}-{day}.{suffix}"] = write(listed)
    return world


def _look(dice: random.Random) -> tuple[Any, ...]:
    look = dice.choice(LOOKS)
    return (
        look.kind,
        dice.choice(["red", "blue", "green", "black"]),
        look.pattern,
        look.second_color,
        look.length,
    )


def _row(dice: random.Random, store: str, number: int, world: World) -> Row:
    name = dice.choice(sorted(world.pictures))
    return {
        "id": f"{store}-{number}",
        "title": f"Garment {number} of {store}, {dice.choice(['long', 'short', 'wide'])}",
        "price": f"{dice.randint(10, 200)}.{dice.choice(['00', '50', '95'])} EUR",
        "image_link": f"{world.address}/pictures/{name}",
        "availability": "in_stock",
        "product_type": dice.choice(["Clothing > Dresses", "Clothing > Coats", "Bags"]),
        "item_group_id": f"{store}-group-{number // 2}" if dice.random() < 0.8 else "",
        "color": dice.choice(["red", "blue", ""]),
    }


def _change(
    dice: random.Random, store: str, rows: dict[int, Row], gone: dict[int, Row], world: World
) -> None:
    """A day's changes: a few of everything, and fewer departures than the guards refuse."""

    def some(count: int) -> list[Row]:
        return [rows[n] for n in dice.sample(sorted(rows), count)]

    for row in some(2):
        row["price"] = f"{dice.randint(10, 200)}.00 EUR"
    for row in some(2):
        row["title"] += " again"
    for row in some(1):
        row["availability"] = "out_of_stock"
    for row in some(2):
        row["image_link"] = f"{world.address}/pictures/{dice.choice(sorted(world.pictures))}"
    for row in some(1):
        row["image_link"] = row["image_link"].partition("?")[0] + f"?v={dice.randint(1, 99)}"
    if gone and dice.random() < 0.5:
        number, row = gone.popitem()
        rows[number] = row
    for number in dice.sample(sorted(rows), 1 if len(rows) < 25 else 2):
        gone[number] = rows.pop(number)
    first = max([*rows, *gone]) + 1
    for number in range(first, first + dice.randint(1, 3)):
        rows[number] = _row(dice, store, number, world)


def _broken(dice: random.Random, rows: list[Row]) -> list[Row]:
    """The day's rows with one that stands twice, one that contradicts itself, and fewer broken ones than the fifth at
    which the guards refuse.
    """
    listed = [dict(row) for row in rows]
    damages = ({"price": ""}, {"title": " "}, {"price": "on request"}, {"id": ""})
    for damage, row in zip(dice.sample(damages, dice.randint(0, 2)), dice.sample(listed, 2), strict=False):
        row.update(damage)
    listed.append(dict(dice.choice(listed)))
    if dice.random() < 0.5:
        listed.append(dice.choice(listed) | {"title": "another"})
    dice.shuffle(listed)
    return listed


def _csv(rows: list[Row]) -> bytes:
    target = io.StringIO(newline="")
    writer = csv.DictWriter(target, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode()


def _xml(rows: list[Row]) -> bytes:
    def item(row: Mapping[str, str]) -> str:
        return (
            "<item>"
            + "".join(f"<g:{name}>{escape(value)}</g:{name}>" for name, value in row.items())
            + "</item>"
        )

    head = '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0"><channel>\n'
    return (head + "\n".join(item(row) for row in rows) + "\n</channel></rss>\n").encode()
