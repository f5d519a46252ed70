"""The crawl of a Shopify shop's `products.json`: page after page into one zip, in crawl order.

The pages are stored as they came; that a product stands on two of them is seen in reading. The zip holds no
times, so that an unchanged shop gives equal bytes.
"""

import asyncio
import hashlib
import io
import time
import zipfile
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import aiohttp
import orjson

from fashion_pipeline.errors import FeedError, PermanentError
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

#: The most that Shopify gives on one page.
PAGE_SIZE = 250
#: One million products: a crawl that goes on beyond it does not end.
MAX_PAGES = 4_000
MAX_PAGE_BYTES = 64 << 20
NO_TIME = (1980, 1, 1, 0, 0, 0)


def crawl(request: Request, target: Path) -> Fetched:
    """Fetch pages until one is empty; `target` becomes a zip of the pages that are not.

    Raises:
        FeedError: a page is no JSON with `products` (a password page, an error message).
        TransientError, PermanentError: as `fetch`.
    """
    pages = asyncio.run(_crawl(request, target))
    return Fetched(
        not_modified=False,
        size=target.stat().st_size,
        sha256=sha256_file(target),
        content_type="application/zip",
        pages=pages,
    )


async def _crawl(request: Request, target: Path) -> int:
    pause = 1.0 / request.requests_per_second
    total, count, before = 0, 0, ""
    async with open_session(request) as session:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            while True:
                number, began = count + 1, time.monotonic()
                body = await retrying(request, lambda n=number: _page(session, request, n))  # type: ignore[misc]
                products = _products(body, number, request)
                digest = hashlib.sha256(body).hexdigest()
                if digest == before:
                    if products >= PAGE_SIZE:
                        told = f"page {number} equals page {count}: the shop does not page; ask it"
                        raise PermanentError(f"{request.shown}: {told}")
                    break  # one page without paging: a copy of `products.json` on some other server
                if not products and count:
                    break
                # The first page is kept though it is empty: reading refuses it with the right words.
                member = zipfile.ZipInfo(f"page-{number:05}.json", NO_TIME)
                archive.writestr(member, body, zipfile.ZIP_DEFLATED)
                count, before, total = number, digest, total + len(body)
                if not products:
                    break
                if total > request.max_bytes:
                    raise FeedError(f"{request.shown}: more than {request.max_bytes:,} bytes of pages")
                if count >= MAX_PAGES:
                    raise FeedError(f"{request.shown}: no end after {MAX_PAGES} pages: is this one shop?")
                await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))
    return count


async def _page(session: aiohttp.ClientSession, request: Request, number: int) -> bytes:
    url = page_url(request.location, number)
    buffer = io.BytesIO()
    async with await guarded_get(session, url, request.policy, headers=request.headers) as response:
        check_status(response, f"{request.shown} (page {number})")
        await receive(response, Sink(buffer, MAX_PAGE_BYTES, request.shown), request.shown)
    return buffer.getvalue()


def page_url(location: str, number: int) -> str:
    """The address of one page; what the location asks for besides stays."""
    split = urlsplit(location)
    query = [(name, value) for name, value in parse_qsl(split.query) if name not in ("limit", "page")]
    query += [("limit", str(PAGE_SIZE)), ("page", str(number))]
    return urlunsplit(split._replace(query=urlencode(query), fragment=""))


def _products(body: bytes, number: int, request: Request) -> int:
    """How many products a page has."""
    try:
        value = orjson.loads(body)
        products = value["products"]
        return len(products) if isinstance(products, list) else _refuse(body, number, request)
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return _refuse(body, number, request)


def _refuse(body: bytes, number: int, request: Request) -> int:
    start = " ".join(body[:120].decode("utf-8", "replace").split())
    raise FeedError(
        f"{request.shown}: page {number} is no JSON with `products` ({start!r}): the shop asks for a "
        "password or has switched it off; open the location in a browser"
    )
