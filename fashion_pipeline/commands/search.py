"""`fashion-pipeline search`: the serving collection, asked from a terminal."""

import json
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from fashion_pipeline import parts
from fashion_pipeline.cleaning.currencies import format_price
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.embeddings.decode import ImageDecodeError, decode_image
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.images.page import Card, html_sheet
from fashion_pipeline.images.sheet import Tile, contact_sheet
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.index.search import recommend, search, search_like
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import PointHit, SearchFilter
from fashion_pipeline.line.points import serving_collection, serving_model_ref
from fashion_pipeline.settings import Settings

#: What a contact sheet is written as: a picture, or a page that needs nothing beside it.
SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".html")


@dataclass(frozen=True)
class SearchRequest:
    """What is asked within filters: one of `text`, `image`, or ids of products that are liked and disliked."""

    text: str | None = None
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    image: Path | None = None
    stores: tuple[str, ...] = ()
    brand: str | None = None
    category: str | None = None
    color: str | None = None
    gender: str | None = None
    availability: str | None = None
    price_min: float | None = None
    price_max: float | None = None
    currency: str | None = None
    limit: int = 10

    def filter(self) -> SearchFilter:
        """The filters in the index's terms."""
        return SearchFilter(
            store=self.stores or None,
            brand=self.brand,
            category=self.category,
            color=self.color,
            gender=self.gender,
            availability=self.availability,
            price_min=self.price_min,
            price_max=self.price_max,
            currency=self.currency.upper() if self.currency else None,
        )

    def words(self) -> str:
        """What is asked, as the title of a contact sheet."""
        if self.text is not None:
            return self.text
        if self.image is not None:
            return f"like {self.image.name}"
        return "for a taste" if len(self.like) + len(self.unlike) > 1 else "like a product"


def run_search(settings: Settings, request: SearchRequest, *, as_json: bool, out: Path | None) -> int:
    """Search, print a table or JSON, and write a contact sheet where `out` says so; the exit code.

    Raises:
        PermanentError: not exactly one of text, product and picture was given, or `out` is no picture's name.
    """
    if out is not None and out.suffix.lower() not in SHEET_SUFFIXES:
        raise PermanentError(f"--out writes a contact sheet: end {out.name!r} in {', '.join(SHEET_SUFFIXES)}")
    given = [request.text is not None, bool(request.like or request.unlike), request.image is not None]
    if sum(given) != 1:
        raise PermanentError(
            "give one of: words to search for, --like PRODUCT_ID (and more of them, and --unlike, for a taste), "
            "--image FILE"
        )
    vectors = parts.open_vectors(settings)
    hits = find(settings, vectors, request)
    if as_json:
        print(json.dumps([{"id": str(hit.id), "score": hit.score, **hit.payload} for hit in hits], indent=2))
    else:
        _print_table(hits)
    if out is not None and hits:
        write_sheet(ImageStore(parts.open_data(settings)), hits, out, title=request.words())
        if not as_json:
            print(f"contact sheet: {out}")
    return 0 if hits else 1


def find(settings: Settings, vectors: VectorStore, request: SearchRequest) -> list[PointHit]:
    """The hits for a request, best first, one per variant group."""
    if request.like or request.unlike:
        like, unlike = _ids("--like", request.like), _ids("--unlike", request.unlike)
        if len(like) == 1 and not unlike:
            return search_like(vectors, settings.alias, like[0], filter=request.filter(), limit=request.limit)
        return recommend(
            vectors, settings.alias, like=like, unlike=unlike, filter=request.filter(), limit=request.limit
        )
    serving = serving_collection(vectors, settings.alias)
    model_ref = serving_model_ref(serving, settings.model_ref)
    encoder = parts.open_encoder(settings, model_ref)
    try:
        if request.text is not None:
            vector = encoder.encode_texts([request.text])[0]
        else:
            assert request.image is not None
            vector = encoder.encode_images(np.stack([_pixels(request.image, model_ref)]))[0]
    finally:
        encoder.close()
    return search(vectors, settings.alias, vector, filter=request.filter(), limit=request.limit)


def _ids(option: str, values: tuple[str, ...]) -> list[UUID]:
    try:
        return [UUID(value) for value in values]
    except ValueError as error:
        raise PermanentError(f"{option} takes the id of a product (a UUID), not {values!r}") from error


def _pixels(path: Path, model_ref: str) -> NDArray[np.uint8]:
    try:
        return decode_image(path.read_bytes(), read_spec(model_ref).preprocessing)
    except (OSError, ImageDecodeError) as error:
        raise PermanentError(f"--image {path} cannot be read as a picture: {error}") from error


def _price(hit: PointHit) -> str:
    price = hit.payload.get("sale_price") or hit.payload.get("price")
    return "" if price is None else format_price(float(price), str(hit.payload.get("currency", "")))


def _print_table(hits: list[PointHit]) -> None:
    table = Table()
    for column in ("score", "title", "price", "store", "product"):
        table.add_column(column, justify="right" if column in {"score", "price"} else "left")
    for hit in hits:
        title, store = str(hit.payload.get("title", "")), str(hit.payload.get("store_id", ""))
        table.add_row(f"{hit.score:.3f}", title, _price(hit), store, str(hit.id))
    console = wide_console()
    # Titles are the feeds': brackets in them are no markup.
    console.print(table if hits else "nothing was found", markup=False)


def write_sheet(images: ImageStore, hits: list[PointHit], out: Path, *, title: str) -> None:
    """A contact sheet of the hits: picture, title, price, store, score."""
    cards = []
    for hit in hits:
        sha256 = str(hit.payload.get("image_sha256", ""))
        picture = images.read(sha256) if sha256 and images.exists(sha256) else None
        name, store = str(hit.payload.get("title", "")), str(hit.payload.get("store_id", ""))
        link = hit.payload.get("product_url")
        cards.append(Card(picture, name, _price(hit), store, f"{hit.score:.3f}", link))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".html":
        about = f"{len(cards)} products, best first; the number is the score"
        out.write_text(html_sheet(cards, title=title, about=about), encoding="utf-8")
        return
    tiles = [Tile(each.image, (each.title, each.price, f"{each.store}  {each.score}")) for each in cards]
    contact_sheet(tiles, columns=5, tile_size=200).save(out)
