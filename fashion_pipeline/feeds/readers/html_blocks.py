"""What an HTML page says of its product: JSON-LD blocks, the canonical address, og: tags."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fashion_pipeline.feeds.readers.json_stream import DECODER

#: Some templates escape the plus sign.
LD_JSON = r"application/ld(?:\+|&#(?:x2b|43);)json"
_SCRIPT = re.compile(
    rf"<script\b[^>]*?\btype\s*=\s*[\"']?{LD_JSON}[^>]*>(.*?)</script\s*>",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(r"<(?:meta|link)\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([a-zA-Z:_-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_WRAPPED = re.compile(
    r"\A\s*(?:<!--|(?:/\*|//)?\s*<!\[CDATA\[(?:\s*\*/)?)(.*?)(?:-->|(?://|/\*)?\s*\]\]>(?:\s*\*/)?)?\s*\Z",
    re.DOTALL,
)
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")


@dataclass(frozen=True)
class Block:
    """One JSON-LD block: its line, its value, or why there is none. `mended` says that it was no JSON."""

    line: int
    value: Any
    problem: str = ""
    mended: bool = False


def blocks(page: str) -> Iterator[Block]:
    """The JSON-LD blocks of a page."""
    for found in _SCRIPT.finditer(page):
        yield parse_block(found.group(1), page.count("\n", 0, found.start()) + 1)


def parse_block(text: str, line: int) -> Block:
    """One block. Mended are comments around it, commas before a bracket, and text that was escaped as HTML."""
    try:
        return Block(line, DECODER.decode(text.strip()))
    except RecursionError:
        return Block(line, None, "nested too deep")
    except json.JSONDecodeError as error:
        problem = error.msg
    wrapped = _WRAPPED.match(text)
    bare = (wrapped.group(1) if wrapped else text).strip().rstrip(";")
    for attempt in (bare, _TRAILING_COMMA.sub(r"\1", bare), html.unescape(bare)):
        try:
            return Block(line, DECODER.decode(attempt), mended=True)
        except (json.JSONDecodeError, RecursionError):
            continue
    return Block(line, None, problem)


def tags(page: str) -> dict[str, str]:
    """Properties of meta tags by lower-case name, the first of each, and `canonical`."""
    found: dict[str, str] = {}
    for tag in _TAG.finditer(page):
        values = {
            name.lower(): html.unescape(next((v for v in rest if v), ""))
            for name, *rest in _ATTRIBUTE.findall(tag.group())
        }
        if values.get("rel", "").lower() == "canonical":
            found.setdefault("canonical", values.get("href", ""))
        name = values.get("property") or values.get("name") or values.get("itemprop")
        if name and values.get("content"):
            found.setdefault(name.lower(), values["content"])
    return found


def product_of_tags(said: dict[str, str]) -> dict[str, Any] | None:
    """The product that og: tags describe, in schema.org's words; None where they describe none."""
    price = said.get("product:price:amount") or said.get("og:price:amount")
    if not said.get("og:title") or not (price or said.get("og:type", "").lower().endswith("product")):
        return None
    product: dict[str, Any] = {
        "name": said["og:title"],
        "description": said.get("og:description"),
        "image": said.get("og:image"),
        "url": said.get("og:url"),
        "sku": said.get("product:retailer_item_id") or said.get("product:sku"),
        "brand": said.get("product:brand") or said.get("og:brand"),
        "color": said.get("product:color"),
        "size": said.get("product:size"),
        "offers": {
            "price": price,
            "priceCurrency": said.get("product:price:currency") or said.get("og:price:currency"),
            "availability": said.get("product:availability") or said.get("og:availability"),
        },
    }
    return {name: value for name, value in product.items() if value is not None}
