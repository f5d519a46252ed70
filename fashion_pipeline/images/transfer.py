"""One request and its answer: conditional headers, bounded bodies, and each failure named once."""

import os
import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp

from fashion_pipeline.errors import ForbiddenAddressError
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.types import FetchFailureError, ImageRequest
from fashion_pipeline.netguard import (
    AddressPolicy,
    RedirectError,
    redirect_target,
    resolve_file_url,
    send_get,
)

LIMITED_STATUSES = frozenset({429, 430})  # 430 is what Shopify says to a client that it takes for a bot
LONGEST_PAUSE = 7 * 24 * 3600.0  # what a header asks for has to fit into a time stamp
LONGEST_VALIDATOR = 512
ENCODINGS = {"gzip": 47, "x-gzip": 47, "deflate": 47}  # zlib's window bits: gzip or zlib, by the header


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request brought: the bytes, or a place to go to, or neither for "not modified"."""

    body: bytes | None = None
    target: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    http_status: int | None = None


def conditions(request: ImageRequest) -> dict[str, str]:
    """The headers that make a request for known bytes conditional (RFC 9110, section 13)."""
    headers = {}
    if request.etag:
        headers["If-None-Match"] = request.etag
    if request.last_modified:
        headers["If-Modified-Since"] = request.last_modified
    return headers


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, 0 to a week; None where it says nothing readable."""
    if not value:
        return None
    if value.strip().isdecimal():
        return min(float(value), LONGEST_PAUSE)
    try:
        when = parsedate_to_datetime(value)
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), LONGEST_PAUSE)


def _validator(response: aiohttp.ClientResponse, name: str) -> str | None:
    """A header to keep and send back; None where a table or a request could not hold it."""
    value = response.headers.get(name, "")
    kept = value and value.isascii() and value.isprintable() and len(value) <= LONGEST_VALIDATOR
    return value if kept else None


async def ask(
    session: aiohttp.ClientSession,
    url: str,
    policy: AddressPolicy,
    headers: Mapping[str, str],
    limits: FetchLimits,
) -> Answer:
    """Send one GET and read its answer; a redirect is returned, not followed.

    Raises:
        FetchFailureError: whatever went wrong, by its class.
    """
    try:
        async with await send_get(session, url, policy, headers=headers) as response:
            return await _read(response, url, policy, conditional=bool(headers), limits=limits)
    except FetchFailureError:
        raise
    except (aiohttp.ClientError, ForbiddenAddressError, RedirectError, OSError, ValueError) as error:
        raise FetchFailureError(*_name(error)) from error


def _name(error: Exception) -> tuple[str, str]:
    """The class of a failure and words for it; aiohttp's own words may hold the URL and stay out."""
    detail = getattr(error, "strerror", None) or type(error).__name__
    match error:
        case ForbiddenAddressError():
            return "forbidden_address", str(error)
        case RedirectError():
            return "bad_redirect", str(error)
        case aiohttp.ConnectionTimeoutError():
            return "connect_timeout", "no connection in time"
        case aiohttp.SocketTimeoutError():
            return "stalled", "nothing received for too long"
        case TimeoutError():
            return "timeout", "the answer took too long"
        case aiohttp.ClientConnectorDNSError():
            return "dns", str(detail)
        case aiohttp.ClientSSLError():
            return "tls", type(error).__name__
        case aiohttp.InvalidURL():
            return "forbidden_address", "not a URL that can be asked"
        case aiohttp.ClientPayloadError():
            return "incomplete_body", "the connection ended before the announced length"
        case aiohttp.ClientResponseError():
            return "bad_response", "not HTTP, or headers that are too large"
        case aiohttp.ClientConnectionError() | OSError():
            return "connection", str(detail)
    return "bad_response", type(error).__name__


async def _read(
    response: aiohttp.ClientResponse,
    url: str,
    policy: AddressPolicy,
    *,
    conditional: bool,
    limits: FetchLimits,
) -> Answer:
    status = response.status
    etag, last_modified = _validator(response, "ETag"), _validator(response, "Last-Modified")
    target = redirect_target(response, url, policy)
    if target is not None:
        return Answer(target=target, http_status=status)
    if status == 304 and conditional:
        return Answer(etag=etag, last_modified=last_modified, http_status=status)
    if status == 204:
        raise FetchFailureError("empty", "no content", http_status=status)
    if status != 200:
        pause = retry_after(response.headers.get("Retry-After"))
        limited = status in LIMITED_STATUSES or (status == 503 and pause is not None)
        error = "rate_limited" if limited else f"http_{status}"
        raise FetchFailureError(error, f"answered {status}", http_status=status, retry_after=pause)
    body = await read_body(response, limits.max_bytes)
    return Answer(body, None, etag, last_modified, status)


async def read_body(response: aiohttp.ClientResponse, max_bytes: int, *, cut: bool = False) -> bytes:
    """The body, decompressed, never more than `max_bytes` of it in memory.

    The session must not decompress by itself: it would do so chunk by chunk, whatever comes out.
    With `cut` a longer body is cut instead of refused.

    Raises:
        FetchFailureError: `too_large`, `unsupported_encoding`, or `incomplete_body` for broken compression.
        aiohttp.ClientError, TimeoutError: as aiohttp raises them.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "") and encoding not in ENCODINGS:
        raise FetchFailureError(
            "unsupported_encoding", f"Content-Encoding {encoding[:40]!r}", http_status=200
        )
    if not cut and (response.content_length or 0) > max_bytes:
        raise _too_large(f"{response.content_length:,} bytes announced", max_bytes)
    inflate = zlib.decompressobj(ENCODINGS[encoding]) if encoding in ENCODINGS else None
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        if inflate is not None:
            try:
                chunk = inflate.decompress(chunk, max_bytes + 1 - size)
            except zlib.error as error:
                raise FetchFailureError("incomplete_body", "broken compression", http_status=200) from error
        size += len(chunk)
        parts.append(chunk)
        if size > max_bytes:
            if cut:
                break
            raise _too_large("stopped reading", max_bytes)
    if inflate is not None and not inflate.eof and not cut:
        raise FetchFailureError("incomplete_body", "compressed data without its end", http_status=200)
    return b"".join(parts)[:max_bytes]


def _too_large(detail: str, max_bytes: int) -> FetchFailureError:
    return FetchFailureError("too_large", f"more than {max_bytes:,} bytes: {detail}", http_status=200)


def read_file(url: str, etag: str | None, policy: AddressPolicy, limits: FetchLimits) -> Answer:
    """The bytes behind a `file:` URL or path, or no bytes where size and time of change are those of `etag`.

    Runs in a thread. The entity tag is made of the file's size and `mtime_ns`.

    Raises:
        FetchFailureError: whatever went wrong, by its class.
    """
    try:
        path = resolve_file_url(url, policy)
        # The last part is no link any more, and a pipe must not block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except ForbiddenAddressError as error:
        raise FetchFailureError("forbidden_address", str(error)) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FetchFailureError("file_not_found", f"no file {Path(url).name!r}") from error
    except OSError as error:
        raise FetchFailureError("file_unreadable", error.strerror or type(error).__name__) from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise FetchFailureError("file_not_found", "not a regular file")
        current = f'"{facts.st_size:x}-{facts.st_mtime_ns:x}"'
        if current == etag:
            return Answer(etag=current)
        if facts.st_size > limits.max_bytes:
            raise _too_large(f"{facts.st_size:,} bytes", limits.max_bytes)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return Answer(stream.read(limits.max_bytes), etag=current)
    except OSError as error:
        raise FetchFailureError("file_unreadable", error.strerror or type(error).__name__) from error
    finally:
        os.close(descriptor)
