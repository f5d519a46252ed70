"""One value of one column -> its cell: the clean value, what is kept of the raw one, what to warn of.

Cells depend on nothing but the value, so the cleaner remembers them: a feed repeats its values.
"""

import json
from collections.abc import Callable, Hashable
from datetime import UTC, datetime, timedelta
from typing import Generic, NamedTuple, TypeVar

from fashion_pipeline.cleaning.gtin import check_gtin
from fashion_pipeline.cleaning.reasons import RowWarning
from fashion_pipeline.cleaning.text import clean_line, clean_text, printable
from fashion_pipeline.cleaning.urls import image_key, is_plain_url, normalize_url
from fashion_pipeline.cleaning.values import category_path, clean_value, is_placeholder, normalize
from fashion_pipeline.feeds.addresses import split_addresses

#: Attributes stand in database indexes, whose entries end below 2,704 bytes: 500 characters of four
#: bytes fit. Google allows 200 at most.
MAX_ATTRIBUTE = 500

#: Longer values are rarely repeated, and a memo's memory is to be known.
_LONGEST_KEY = 2_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(dict[K, V], Generic[K, V]):
    """A function's results by argument, forgotten all at once when there are `limit` of them."""

    def __init__(self, make: Callable[[K], V], limit: int) -> None:
        super().__init__()
        self._make = make
        self._limit = limit

    def __missing__(self, key: K) -> V:
        value = self._make(key)
        if len(self) >= self._limit:
            self.clear()
        if not isinstance(key, str) or len(key) <= _LONGEST_KEY:
            self[key] = value
        return value


class Cell(NamedTuple):
    """A clean value; its raw value as a JSON member where it was normalized; a warning; map misses."""

    value: str | None
    raw: str | None = None
    warning: RowWarning | None = None
    unknown: bool = False


class ImageCell(NamedTuple):
    """The main picture: URL, key, URLs that stood behind it in the same field, a warning."""

    url: str | None
    key: str
    others: tuple[str, ...]
    warning: RowWarning | None


class GalleryCell(NamedTuple):
    """Further pictures: URL by key in the feed's order; a warning."""

    urls: dict[str, str]
    warning: RowWarning | None


class PicturesCell(NamedTuple):
    """The pictures of an item: main URL and its key, further URLs, their keys as one text, warnings."""

    url: str | None
    key: str | None
    further: list[str] | None
    further_keys: str
    warnings: tuple[RowWarning, ...]


class Window(NamedTuple):
    """The time in which a sale price holds; either end may be open."""

    starts: datetime | None
    ends: datetime | None


NOTHING = Cell(None)


def key_cell(field: str) -> Callable[[str | None], Cell]:
    """Cells of a field that names something (`mpn`, `item_group_id`): nothing in it is decoded."""

    def make(raw: str | None) -> Cell:
        value = clean_line(raw) if raw else None
        if value is None or is_placeholder(field, value):
            return NOTHING
        return Cell(value) if len(value) <= MAX_ATTRIBUTE else Cell(None, None, RowWarning.VALUE_TOO_LONG)

    return make


def text_cell(field: str, limit: int | None) -> Callable[[str | None], Cell]:
    """Cells of a field of plain text; longer ones than `limit` are dropped with a warning."""

    def make(raw: str | None) -> Cell:
        value = clean_value(field, raw) if raw else None
        if value is None:
            return NOTHING
        return (
            Cell(value)
            if limit is None or len(value) <= limit
            else Cell(None, None, RowWarning.VALUE_TOO_LONG)
        )

    return make


def category_cell(raw: str | None) -> Cell:
    """Cells of the shop's own category path."""
    return Cell(category_path(raw)) if raw else NOTHING


def mapped_cell(field: str) -> Callable[[str | None], Cell]:
    """Cells of a field with a map of values; the raw value is kept where it differs."""

    def make(raw: str | None) -> Cell:
        if not raw or not raw.strip():
            return NOTHING
        normal = normalize(field, raw)
        if normal is None:
            return Cell(None, _member(field, raw) if clean_text(raw) else None)
        if len(normal.value) > MAX_ATTRIBUTE:
            return Cell(None, None, RowWarning.VALUE_TOO_LONG)
        return Cell(
            normal.value, None if normal.value == raw else _member(field, raw), None, not normal.known
        )

    return make


def gtin_cell(raw: str | None) -> Cell:
    """Cells of the GTIN: a wrong one is dropped, its raw value kept."""
    text = clean_line(raw) if raw else None
    if text is None or is_placeholder("gtin", text):
        return NOTHING
    value, warning = check_gtin(text)
    if value == raw:
        return Cell(value)
    return Cell(value, _member("gtin", text[:MAX_ATTRIBUTE]), warning)


def page_cell(base_url: str | None) -> Callable[[str | None], Cell]:
    """Cells of the product's page."""

    def make(raw: str | None) -> Cell:
        if not raw or is_placeholder("product_url", raw):
            return Cell(None, None, RowWarning.PRODUCT_URL_MISSING)
        url, _ = normalize_url(raw, base_url)
        if url is None or url.startswith("file:"):
            return Cell(None, None, RowWarning.PRODUCT_URL_INVALID)
        return Cell(url)

    return make


def image_cell(base_url: str | None) -> Callable[[str | tuple[str, ...] | None], ImageCell]:
    """Cells of the main picture; of several candidates the first usable one counts."""

    def make(raw: str | tuple[str, ...] | None) -> ImageCell:
        if isinstance(raw, str) and is_plain_url(raw):
            return ImageCell(raw, image_key(raw), (), None)
        candidates = (raw,) if isinstance(raw, str) else raw or ()
        warning = RowWarning.IMAGE_MISSING
        for candidate in candidates:
            if not candidate or not candidate.strip() or is_placeholder("image_url", candidate):
                continue
            first, *others = split_addresses(candidate) or [candidate]
            url, trouble = normalize_url(first, base_url)
            if url is not None:
                return ImageCell(
                    url, image_key(url), tuple(others), RowWarning.IMAGE_URL_SPLIT if others else None
                )
            warning = trouble or warning
        return ImageCell(None, "", (), warning)

    return make


def gallery_cell(base_url: str | None) -> Callable[[str | tuple[str, ...] | None], GalleryCell]:
    """Cells of the further pictures."""

    def make(raw: str | tuple[str, ...] | None) -> GalleryCell:
        found: dict[str, str] = {}
        warning = None
        for value in (raw,) if isinstance(raw, str) else raw or ():
            if is_plain_url(value):
                found.setdefault(image_key(value), value)
                continue
            for part in split_addresses(value):
                url, _ = normalize_url(part, base_url)
                if url is not None:
                    found.setdefault(image_key(url), url)
                elif not is_placeholder("image_url", part):
                    warning = RowWarning.ADDITIONAL_IMAGE_INVALID
        return GalleryCell(found, warning)

    return make


RawPictures = tuple[str | tuple[str, ...] | None, str | tuple[str, ...] | None]


def pictures_cell(base_url: str | None) -> Callable[[RawPictures], PicturesCell]:
    """Cells of all pictures of an item: (main, further), each key once."""
    image_of, gallery_of = image_cell(base_url), gallery_cell(base_url)

    def make(raw: RawPictures) -> PicturesCell:
        main, further = raw
        image, gallery = image_of(main), gallery_of(further)
        if image.others:
            gallery = gallery_of((*image.others, *gallery.urls.values()))
        others = gallery.urls
        others.pop(image.key, None)
        return PicturesCell(
            image.url,
            image.key or None,
            list(others.values()) or None,
            "\x1e".join(others),
            tuple(warning for warning in (image.warning, gallery.warning) if warning is not None),
        )

    return make


def sale_window(raw: str | None) -> Window | None:
    """Google's `sale_price_effective_date`: two ISO 8601 times joined by `/`; without a zone, UTC.

    An end that is a day ends with that day, as shops mean it. None where it cannot be read or ends before it starts.
    """
    if not raw or not raw.strip() or is_placeholder("sale_price_effective_date", raw):
        return Window(None, None)
    starts, slash, ends = raw.strip().partition("/")
    if not slash:
        return None
    try:
        window = Window(_time(starts), _time(ends, whole_day=True))
    except (ValueError, OverflowError):
        return None
    if window.starts and window.ends and window.ends <= window.starts:
        return None
    return window


def _time(text: str, *, whole_day: bool = False) -> datetime | None:
    text = text.strip()
    if not text:
        return None
    time = datetime.fromisoformat(text)
    if whole_day and len(text) <= len("2026-11-02"):
        time += timedelta(days=1)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _member(name: str, raw: str) -> str:
    return f'"{name}": {json.dumps(printable(raw), ensure_ascii=False)}'
