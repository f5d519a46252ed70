"""The demo's world on disk: dated feed files and the pictures that they point at.

`feeds.yaml` beside this module configures the stores. Files are written aside and renamed, and only where
their bytes differ, so that a second call touches nothing and pictures keep their time of change.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from datetime import date
from pathlib import Path

import PIL

from fashion_pipeline.demo import accessories, bottoms, garments, patterns, sketch, tailoring, tops
from fashion_pipeline.demo.feed_files import WRITERS
from fashion_pipeline.demo.garments import draw
from fashion_pipeline.demo.stores import DAYS, SHARED_PICTURE, STORES, Product, products, store_named

PICTURE_SIZE = 400
_FORMATS = {
    "jpg": ("JPEG", {"quality": 90}),
    "png": ("PNG", {"compress_level": 6}),
    "webp": ("WEBP", {"quality": 88, "method": 2}),
}


def write_world(root: Path, *, day: date) -> None:
    """Bring the demo's world below `root` to a day.

    Writes `feeds/<store>-<day><ending>` for every demo day up to `day`, and `images/<store>/<name>` as the
    pictures are on `day`. The world does not go back: where feeds of a later demo day are there already, it
    stays at that day, so that a demo which is run again finds nothing changed.

    Raises:
        ValueError: `day` is before the first demo day.
    """
    if day < DAYS[0]:
        raise ValueError(f"the demo begins on {DAYS[0]}, there is no world on {day}")
    pictures = root / "images"
    reached = [d for d in DAYS if any((root / "feeds").glob(f"*-{d.isoformat()}.*"))]
    day = max([day, *reached])
    wanted = {
        f"{store.id}/{product.picture}": product for store in STORES for product in products(store, day)
    }
    _write_pictures(pictures, wanted)
    for store in STORES:
        ending, writer = WRITERS[store.id]
        for feed_day in DAYS:
            if feed_day <= day:
                content = writer(products(store, feed_day), feed_day, pictures)
                _write(root / "feeds" / f"{store.id}-{feed_day.isoformat()}{ending}", content)


def picture(product: Product) -> bytes:
    """The bytes of a product's picture: 400 x 400 pixels, JPEG, PNG or WebP by the file's name."""
    if (product.store.id, product.number) == SHARED_PICTURE[:2]:
        original = store_named(SHARED_PICTURE[2])
        product = next(p for p in products(original, DAYS[0]) if p.number == SHARED_PICTURE[3])
    format_name, options = _FORMATS[product.picture.rsplit(".", 1)[1]]
    drawn = io.BytesIO()
    draw(product.garment, seed=product.seed, size=PICTURE_SIZE).save(drawn, format_name, **options)
    return drawn.getvalue()


def _write_pictures(folder: Path, wanted: dict[str, Product]) -> None:
    """Draw what is not there yet as wanted; a list of what was drawn spares drawing it again to compare."""
    ledger = folder / ".drawn.json"
    drawn: dict[str, list[str]] = json.loads(ledger.read_text()) if ledger.is_file() else {}
    code = _drawing_code()
    for name, product in wanted.items():
        path = folder / name
        look = f"{code} {product.garment.key} {product.seed}"
        known_look, known_bytes = drawn.get(name, ["", ""])
        if look == known_look and path.is_file() and _sha256(path.read_bytes()) == known_bytes:
            continue
        content = picture(product)
        _write(path, content)
        drawn[name] = [look, _sha256(content)]
    _write(ledger, json.dumps(drawn, indent=0, sort_keys=True).encode())


def _drawing_code() -> str:
    """What decides a drawing's bytes beside its attributes: our code and Pillow."""
    sources = [
        Path(module.__file__ or "").read_bytes()
        for module in (accessories, bottoms, garments, patterns, sketch, tailoring, tops)
    ]
    return _sha256(b"".join(sources) + f"{PIL.__version__} {PICTURE_SIZE} {_FORMATS}".encode())[:16]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    with aside.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
