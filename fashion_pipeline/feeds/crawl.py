"""The crawl of a shop's pages of products, Shopify's and WooCommerce's: one zip, in crawl order.

The pages are stored as they came; that a product stands on two of them is seen in reading. The zip holds no
times, so that an unchanged shop gives equal bytes.
"""

import asyncio
import hashlib
import io
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
import orjson

from fashion_pipeline.errors import FeedError, PermanentError
from fashion_pipeline.feeds.mapping import PageStyle
from fashion_pipeline.feeds.transfer import (
    Fetched,
    Request,
    Sink,
    check_status,
    open_session,
    receive,
    retrying,
)
from fashion_pipeline.ids import sha256_file
from fashion_pipeline.netguard import guarded_get


@dataclass(frozen=True)
class Pages:
    """How a kind of shop gives its products in pages: the most on one, and what its requests are called."""

    size: int
    size_name: str
    #: Key of the list of products; None where the page itself is the list.
    key: str | None


STYLES: dict[PageStyle, Pages] = {
    "shopify": Pages(250, "limit", "products"),
    # X-WP-TotalPages says how many there are. https://developer.wordpress.org/rest-api/using-the-rest-api/pagination/
    "woocommerce": Pages(100, "per_page", None),
}
#: One million products: a crawl that goes on beyond it does not end.
MAX_PAGES = 4_000
MAX_PAGE_BYTES = 64 << 20
NO_TIME = (1980, 1, 1, 0, 0, 0)


def crawl(request: Request, target: Path, style: PageStyle) -> Fetched:
    """Fetch pages until one is empty or the last; `target` becomes a zip of the pages that are not empty.

    Raises:
        FeedError: a page is no JSON with products (a password page, an error message).
        TransientError, PermanentError: as `fetch`.
    """
    pages = asyncio.run(_crawl(request, target, STYLES[style]))
    return Fetched(
        not_modified=False,
        size=target.stat().st_size,
        sha256=sha256_file(target),
        content_type="application/zip",
        pages=pages,
    )


async def _crawl(request: Request, target: Path, style: Pages) -> int:
    pause = 1.0 / request.requests_per_second
    total, count, before = 0, 0, ""
    async with open_session(request) as session:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            while True:
                number, began = count + 1, time.monotonic()
                body, last = await retrying(request, lambda n=number: _page(session, request, n, style))  # type: ignore[misc]
                products = _products(body, number, request, style)
                digest = hashlib.sha256(body).hexdigest()
                if digest == before:
                    if products >= style.size:
                        told = f"page {number} equals page {count}: the shop does not page; ask it"
                        raise PermanentError(f"{request.shown}: {told}")
                    break  # one page without paging: a copy on some other server
                if not products and count:
                    break
                # The first page is kept though it is empty: reading refuses it with the right words.
                member = zipfile.ZipInfo(f"page-{number:05}.json", NO_TIME)
                archive.writestr(member, body, zipfile.ZIP_DEFLATED)
                count, before, total = number, digest, total + len(body)
                if not products or count == last:
                    break
                if total > request.max_bytes:
                    raise FeedError(f"{request.shown}: more than {request.max_bytes:,} bytes of pages")
                if count >= MAX_PAGES:
                    raise FeedError(f"{request.shown}: no end after {MAX_PAGES} pages: is this one shop?")
                await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))
    return count


async def _page(
    session: aiohttp.ClientSession, request: Request, number: int, style: Pages
) -> tuple[bytes, int | None]:
    """A page, and which one is the last, where the server says so."""
    url = page_url(request.location, number, style)
    buffer = io.BytesIO()
    async with await guarded_get(session, url, request.policy, headers=request.headers) as response:
        check_status(response, f"{request.shown} (page {number})")
        await receive(response, Sink(buffer, MAX_PAGE_BYTES, request.shown), request.shown)
        total = response.headers.get("X-WP-TotalPages", "")
    return buffer.getvalue(), int(total) if total.isdecimal() else None


def page_url(location: str, number: int, style: Pages = STYLES["shopify"]) -> str:
    """The address of one page; what the location asks for besides stays."""
    split = urlsplit(location)
    query = [(name, value) for name, value in parse_qsl(split.query) if name not in (style.size_name, "page")]
    query += [(style.size_name, str(style.size)), ("page", str(number))]
    return urlunsplit(split._replace(query=urlencode(query), fragment=""))


def _products(body: bytes, number: int, request: Request, style: Pages) -> int:
    """How many products a page has."""
    try:
        products: Any = orjson.loads(body)
        products = products if style.key is None else products[style.key]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        products = None
    if isinstance(products, list):
        return len(products)
    start = " ".join(body[:120].decode("utf-8", "replace").split())
    told = "is no JSON list" if style.key is None else f"is no JSON with `{style.key}`"
    raise FeedError(
        f"{request.shown}: page {number} {told} ({start!r}): the shop asks for a password or has switched "
        "it off; open the location in a browser"
    )
