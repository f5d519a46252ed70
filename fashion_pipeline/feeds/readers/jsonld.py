"""schema.org products in HTML pages, or in files of JSON-LD. A product, or a group of variants, is a record.

https://schema.org/Product, https://schema.org/ProductGroup, https://ogp.me
"""

from collections.abc import Iterator
from typing import Any

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.encoding import text_chunks
from fashion_pipeline.feeds.paths import Paths
from fashion_pipeline.feeds.readers.html_blocks import Block, blocks, parse_block, product_of_tags, tags
from fashion_pipeline.feeds.readers.rows import RowBatch
from fashion_pipeline.feeds.records import MAX_RECORD, Read, Source

PRODUCT = frozenset({"product", "individualproduct", "productmodel"})
GROUP = "productgroup"
#: Where products stand inside of other things. Not: products that are only related to the page's.
INSIDE = ("@graph", "mainentity", "mainentityofpage", "itemlistelement", "item")
#: What a variant does not take from its group: what names the group, and its offers.
OWN = frozenset({"@id", "@type", "sku", "productid", "mpn", "url", "offers", "hasvariant", "gtin", "gtin8",
                 "gtin12", "gtin13", "gtin14", "productgroupid", "variesby"})  # fmt: skip
#: Kinds of priceSpecification that are struck through. https://schema.org/PriceTypeEnumeration
STRUCK = ("listprice", "strikethroughprice", "msrp", "srp", "regularprice")
#: What tells the variants of a group apart where they share a SKU, in order of preference.
APART = ("productid", "@id", "mpn", "gtin", "gtin13", "gtin12", "gtin14", "gtin8", "url")
MAX_DEPTH = 12
INVALID, MENDED, FALLBACK, REPEATED = (
    "invalid JSON-LD blocks passed over",
    "JSON-LD blocks mended",
    "og: tags in place of JSON-LD",
    "items that another block of the page holds passed over",
)

Node = dict[str, Any]


def read_jsonld(source: Source) -> Iterator[Read]:
    """Records of one page.

    Raises:
        FeedError: the page is larger than a record may be.
    """
    with source.open() as stream:
        text, size = [], 0
        for chunk in text_chunks(stream, source.encoding):
            text.append(chunk)
            size += len(chunk)
            if size > MAX_RECORD:
                raise FeedError(f"{source.name} has more than {MAX_RECORD:,} characters: it is no page")
    page = _Page(source, "".join(text))
    yield from page.read()
    yield from page.batch.flush()


class _Page:
    def __init__(self, source: Source, text: str) -> None:
        self.source, self.text, self.paths = source, text, Paths()
        self.batch = RowBatch(source, self.paths.get)
        self.seen: set[str] = set()
        self.known: dict[str, Node] = {}

    def read(self) -> Iterator[Read]:
        source, tally = self.source, self.source.tally
        is_page = self.text.lstrip("\ufeff \t\r\n")[:1] not in ("{", "[")
        found = list(blocks(self.text)) if is_page else [parse_block(self.text, 1)]
        nodes: list[tuple[Block, Node]] = []
        for block in found:
            at = source.place(f"line {block.line}")
            if block.problem:
                tally.mended(INVALID, f"{at}: {block.problem}")
            elif block.mended:
                tally.mended(MENDED, at)
            nodes.extend((block, node) for node in self._nodes(block.value, 0))
        said = tags(self.text) if is_page else {}
        address = said.get("canonical") or said.get("og:url")
        before = tally.report.records
        for block, node in nodes:
            self._take(node, address, source.place(f"line {block.line}"))
        if tally.report.records == before:
            product = product_of_tags(said)
            if product is not None:
                tally.mended(FALLBACK, source.name)
                self._take(self._fields(product), address, source.place("og: tags"))
            elif any(block.problem for block in found):
                bad = next(block for block in found if block.problem)
                raw = self.text[:10_000]
                yield tally.broken(source.place(f"line {bad.line}"), f"no JSON-LD: {bad.problem}", raw)
            else:
                tally.context("page without a product")

    def _fields(self, value: Node) -> Node:
        names = self.paths.names
        return {names[key.rpartition("/")[2].removeprefix("schema:")]: part for key, part in value.items()}

    def _nodes(self, value: Any, depth: int) -> Iterator[Node]:
        """Products and groups, wherever the block keeps them."""
        if depth > MAX_DEPTH:
            return
        if isinstance(value, list):
            for part in value:
                yield from self._nodes(part, depth + 1)
        elif isinstance(value, dict):
            fields = self._fields(value)
            name = fields.get("@id")
            if isinstance(name, str) and len(fields) > 1:
                self.known.setdefault(name, fields)
            if _types(fields) & (PRODUCT | {GROUP}):
                yield fields
            else:
                for inside in INSIDE:
                    yield from self._nodes(fields.get(inside), depth + 1)

    def _take(self, node: Node, address: str | None, place: str) -> None:
        tally = self.source.tally
        listed = node.get("hasvariant")
        variants = [
            self._whole(one)
            for one in (listed if isinstance(listed, list) else [listed])
            if isinstance(one, dict)
        ]
        variants = [one for one in variants if "name" in one or "offers" in one or "sku" in one]
        group = node if variants else None
        items: list[Node] = []
        for variant in _told_apart(variants) or [node]:
            shared = {name: value for name, value in node.items() if name not in OWN} if group else {}
            items.extend(self._offered({**shared, **variant}))
        before = len(items)
        items = self._new(items)
        if not items:
            tally.context("repeated on the page")
            return
        if not variants and "offers" not in node and (GROUP in _types(node) or "image" not in node):
            tally.context("list entry or group without an offer")
            return
        if len(items) < before:
            tally.mended(REPEATED, place, before - len(items))
        tally.yielding(1, len(items))
        number = tally.report.records
        for index, item in enumerate(items, 1):
            item["group"], item["page"] = group, address
            where = f"{place}, variant {index}" if len(items) > 1 or variants else place
            origin = {name: value for name, value in item.items() if name not in ("group", "hasvariant")}
            self.batch.add(item, origin, number, where)

    def _whole(self, node: Node) -> Node:
        """A node, or what it refers to by its @id."""
        fields = self._fields(node)
        return {**self.known.get(str(fields.get("@id")), {}), **fields}

    def _new(self, items: list[Node]) -> list[Node]:
        """Those of a node's items that no node before said: many pages name one product in two blocks."""
        names = ("sku", "offer.sku", "productid", "@id", "url", "offer.url", "name")
        told = [
            next((f"{name}={value}" for name in names if (value := self.paths.get(item, name))), "")
            for item in items
        ]
        new = [item for item, name in zip(items, told, strict=True) if name not in self.seen]
        self.seen.update(told)
        return new

    def _offered(self, item: Node) -> Iterator[Node]:
        """The item with its `offer`; an item for each offer where each has a SKU of its own."""
        offers = [self._fields(one) for one in _dicts(item.get("offers"))]
        inner = [self._fields(one) for offer in offers for one in _dicts(offer.get("offers"))]
        offers = inner or offers
        for offer in offers:
            self._price(offer)
        skus = {str(offer.get("sku")) for offer in offers if offer.get("sku")}
        if len(offers) > 1 and len(skus) == len(offers):
            for offer in offers:
                said: Node = {
                    name: offer[name] for name in ("name", "image", "color", "size") if name in offer
                }
                group = {"inproductgroupwithid": item.get("productid") or item.get("sku") or item.get("@id")}
                yield {**group, **item, **said, "sku": offer["sku"], "offer": offer}
            return
        yield {**item, "offer": _joint(offers)}

    def _price(self, offer: Node) -> None:
        """The price out of price specifications, and the one that is struck through."""
        for one in _dicts(offer.get("pricespecification")):
            fields = self._fields(one)
            kind = str(fields.get("pricetype") or "").rpartition("/")[2].casefold()
            if kind in STRUCK:
                offer["listprice"] = fields.get("price")
            elif offer.get("price") in (None, ""):
                offer["price"] = fields.get("price")
            offer.setdefault("pricecurrency", fields.get("pricecurrency"))


def _told_apart(variants: list[Node]) -> list[Node]:
    """Variants with a SKU each: in place of one that they share, which is their group's, what tells them apart."""
    skus = [str(one["sku"]) for one in variants if one.get("sku")]
    if len(set(skus)) == len(skus):
        return variants
    for name in APART:
        own = {str(one[name]) for one in variants if one.get(name)}
        if len(own) == len(variants):
            return [{**one, "sku": one[name]} for one in variants]
    return variants


def _joint(offers: list[Node]) -> Node:
    """One offer out of several for the same item: its price where all ask the same, else both ends."""
    if len(offers) < 2:
        return offers[0] if offers else {}
    open_ = [offer for offer in offers if "outofstock" not in str(offer.get("availability") or "").casefold()]
    joint = dict((open_ or offers)[0])
    prices = {str(offer["price"]) for offer in offers if offer.get("price")}
    if len(prices) > 1:
        ordered = sorted(prices, key=_number)
        joint.update(price=None, lowprice=ordered[0], highprice=ordered[-1])
    return joint


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def _types(fields: Node) -> set[str]:
    named = fields.get("@type")
    listed = named if isinstance(named, list) else [named]
    return {str(one).rpartition("/")[2].removeprefix("schema:").casefold() for one in listed}
