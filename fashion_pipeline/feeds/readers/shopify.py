"""Shopify `products.json` and `/products/<handle>.js`. A product is a record, its variants the items.

The reader flattens a variant and its product into one row of source fields; the mapping says what becomes
of them. https://shopify.dev/docs/api/ajax/reference/product
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.encoding import text_chunks
from fashion_pipeline.feeds.items import Value
from fashion_pipeline.feeds.mapping import normal_name
from fashion_pipeline.feeds.readers.json_shapes import beginning, in_lines, json_lines
from fashion_pipeline.feeds.readers.json_stream import Element, JsonList
from fashion_pipeline.feeds.readers.rows import RowBatch, plain
from fashion_pipeline.feeds.records import Read, Source, json_text

#: What Shopify writes where a product has only one variant.
DEFAULT = frozenset({"Default Title", "Default"})
#: Source fields of the product that every variant has too; those of the variant win.
OF_PRODUCT = ("title", "body_html", "description", "vendor", "product_type", "type", "handle")
#: What the document of one product is wrapped in: `/products/<handle>.json`.
ALONE = "product"
GENDER_TAGS = {
    **dict.fromkeys(("women", "womens", "women's", "woman", "ladies", "female"), "female"),
    **dict.fromkeys(("men", "mens", "men's", "man", "male"), "male"),
    "unisex": "unisex",
}
OF_VARIANT = ("id", "price", "compare_at_price", "available", "sku", "barcode")

Row = dict[str, "Value"]


def read_shopify(source: Source) -> Iterator[Read]:
    """Records of one document of products: pages, a list, one product, or one in each line.

    Raises:
        FeedError: no JSON, cut, or an object without the list of products (an error message of the shop).
    """
    key = source.mapping.records or "products"
    products = _Products(source)
    with source.open() as stream:
        head, whole = beginning(text_chunks(stream, source.encoding))
        listed = JsonList(whole, source.name, key, source.mended)
        lines = in_lines(head)
        for element in json_lines(whole, source) if lines else listed:
            yield from products.take(element)
        if not lines and not listed.found:
            if not isinstance(listed.outside.get(ALONE), dict):
                raise FeedError(_no_products(listed.outside, key, source))
            yield from products.take(Element(1, 1, listed.outside[ALONE]))
    yield from products.batch.flush()


def _no_products(outside: dict[str, Any], key: str, source: Source) -> str:
    for name in ("errors", "error", "message"):
        if name in outside:
            return f"{source.name} is an error message ({str(outside[name])[:200]}): fetch it again"
    found = ", ".join(list(outside)[:12]) or "nothing"
    return (
        f"{source.name}: other format than configured: no list {key!r} in the JSON, found keys: {found}; "
        "set the right `format:`"
    )


def _problem(product: Any) -> str:
    if not isinstance(product, dict):
        return "no JSON object"
    variants = product.get("variants")
    if "variants" not in product:
        return "no `variants`: not a product of Shopify's storefront"
    if variants is not None and not (
        isinstance(variants, list) and all(isinstance(variant, dict) for variant in variants)
    ):
        return "`variants` is no list of objects"
    return ""


def _text(value: Any) -> str | None:
    """A JSON value as text; numbers are text already."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json_text(value)


def _images(value: Any) -> list[dict[str, Any]]:
    """The pictures as objects; `/products/<handle>.js` gives plain addresses."""
    listed = value if isinstance(value, list) else []
    return [{"src": one} if isinstance(one, str) else one for one in listed if isinstance(one, (dict, str))]


def _option_names(product: dict[str, Any]) -> list[str]:
    names = []
    options = product.get("options")
    for option in options if isinstance(options, list) else []:
        # Older themes give plain names.
        name = option.get("name") if isinstance(option, dict) else option
        names.append(f"option:{normal_name(str(name))}")
    return names


class _Products:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.batch = RowBatch(source, plain, lambda origin: {**origin[0], "variants": [origin[1]]})
        mapping = source.mapping
        self.known_options = {
            name for column in mapping.fields for name in mapping.candidates(column) if ":" in name
        }

    def take(self, element: Element) -> Iterator[Read]:
        """Take one element of the list; gives what is ready."""
        source = self.source
        place = source.place(f"product {element.number} (line {element.line})")
        problem = element.problem or _problem(element.value)
        if problem:
            yield from self.batch.flush()
            raw = element.text or json_text(element.value)[:10_000]
            yield source.tally.broken(place, problem, raw)
            return
        self.add(element.value, place)
        if self.batch.full:
            yield from self.batch.flush()

    def add(self, product: dict[str, Any], place: str) -> None:
        """Take one product; one that a crawl saw on an earlier page is context."""
        source, tally = self.source, self.source.tally
        variants = product.get("variants") or []
        if source.documents > 1 and product.get("id") is not None:
            # Page numbers shift when products change during a crawl (feeds.md, Shopify).
            mark = hash(str(product["id"]))
            if mark in source.seen:
                tally.context("repeated on a later page")
                return
            source.seen.add(mark)
        if not variants:
            tally.context("product without variants")
            return
        if product.get("status") in ("draft", "archived") or product.get("published_at", "") is None:
            tally.context("not published")
            return
        tally.yielding(1, len(variants))
        options, images = _option_names(product), _images(product.get("images"))
        images.sort(key=lambda image: int(str(image.get("position") or 0)) if _is_number(image) else 0)
        tags = product.get("tags")
        shared: Row = {name: _text(product[name]) for name in OF_PRODUCT if name in product}
        shared["product_id"] = _text(product.get("id"))
        listed = tags if isinstance(tags, list) else str(tags or "").split(",")
        shared["tags"] = [str(tag) for tag in tags] if isinstance(tags, list) else _text(tags)
        shared["tag:gender"] = gender_of([str(tag) for tag in listed])
        for number, variant in enumerate(variants, 1):
            row = dict(shared)
            row.update((name, _text(variant[name])) for name in OF_VARIANT if name in variant)
            self._options(row, variant, options)
            _pictures(row, variant, images)
            row["availability"] = _availability(variant)
            row["url"] = self._url(shared.get("handle"), row.get("id"))
            self.batch.add(row, (product, variant), tally.report.records, f"{place}, variant {number}")

    def _options(self, row: Row, variant: dict[str, Any], names: list[str]) -> None:
        title, told = str(row.get("title") or ""), []
        for index, name in enumerate(names[:3], 1):
            value = _text(variant.get(f"option{index}"))
            if not value or value in DEFAULT:
                continue
            row[name] = value
            # Colour and size have columns of their own; what else tells variants apart goes to the title.
            if name not in self.known_options and value.casefold() not in title.casefold():
                told.append(value)
        if told:
            row["title"] = f"{title} - {' / '.join(told)}"

    def _url(self, handle: Value, variant_id: Value) -> str | None:
        if not handle or not self.source.base_url:
            return None
        query = f"?variant={variant_id}" if variant_id else ""
        return f"{self.source.base_url}/products/{handle}{query}"


def _availability(variant: dict[str, Any]) -> str | None:
    """What the Admin API says of a variant's stock; the storefront says `available` instead."""
    if variant.get("inventory_quantity") is None:
        return None
    if not variant.get("inventory_management", "shopify"):
        return "in_stock"  # not counted
    return availability_of(str(variant["inventory_quantity"]), str(variant.get("inventory_policy")))


def availability_of(quantity: str, policy: str) -> str | None:
    """Availability by the pieces that there are, and what Shopify does when there are none."""
    if not re.fullmatch(r"-?\d+", quantity):
        return None
    if int(quantity) > 0:
        return "in_stock"
    return "backorder" if policy.casefold() == "continue" else "out_of_stock"


def _is_number(image: dict[str, Any]) -> bool:
    return str(image.get("position") or "0").isdecimal()


def _pictures(row: Row, variant: dict[str, Any], images: list[dict[str, Any]]) -> None:
    featured = variant.get("featured_image")
    main = featured.get("src") if isinstance(featured, dict) else None
    if not main:
        own = [
            image
            for image in images
            if image.get("id") is not None
            and (image["id"] == variant.get("image_id")
                 or variant.get("id") in (image.get("variant_ids") or ()))
        ]  # fmt: skip
        main = next((image.get("src") for image in (own or images)), None)
    sources = [str(image["src"]) for image in images if image.get("src")]
    row["image"] = str(main) if main else None
    row["images"] = [url for url in sources if url != main]


def gender_of(tags: Sequence[str]) -> str | None:
    """The gender that tags name, as `women` or `gender:women`; both together are unisex."""
    words = (re.sub(r"^gender\s*[:_=]\s*", "", tag.strip().casefold()) for tag in tags)
    found = {GENDER_TAGS[word] for word in words if word in GENDER_TAGS}
    return None if not found else found.pop() if len(found) == 1 else "unisex"
