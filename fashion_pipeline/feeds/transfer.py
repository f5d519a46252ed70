"""How bytes travel: the values of a fetch, and http(s) requests with limits, retries and checks.

Whether a failure is worth another try is decided here, once. Nothing connects but through `netguard`.
"""

import asyncio
import datetime as dt
import hashlib
import random
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import IO, Any, TypeVar

import aiohttp

from fashion_pipeline.errors import FashionPipelineError, FeedError, PermanentError, TransientError
from fashion_pipeline.netguard import AddressPolicy, guarded_connector, redact

_T = TypeVar("_T")

BLOCK = 1 << 20
#: A server that sends nothing for this long has gone, seconds.
SILENCE = 60.0
#: A server may make a run wait this long, seconds; beyond it the run's own retry is the better place.
LONGEST_WAIT = 120.0
#: 430 is Shopify's "too many requests" for crawlers.
TRANSIENT_STATUS = frozenset({408, 425, 429, 430, 500, 502, 503, 504, 520, 521, 522, 523, 524})


@dataclass(frozen=True)
class Validators:
    """What an earlier answer said, so that an unchanged feed is not sent again."""

    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True)
class Fetched:
    """What was fetched. With `not_modified` nothing was written, and `size` and `sha256` are 0 and ""."""

    not_modified: bool
    size: int
    sha256: str
    etag: str | None = None
    last_modified: str | None = None
    content_type: str | None = None
    charset: str | None = None
    pages: int = 1

    @property
    def validators(self) -> Validators:
        """To be given to the next fetch."""
        return Validators(self.etag, self.last_modified)


@dataclass(frozen=True)
class Request:
    """All that one fetch needs, apart from where to write."""

    location: str
    policy: AddressPolicy
    headers: Mapping[str, str]
    validators: Validators
    max_bytes: int
    timeout: float
    attempts: int
    backoff: float
    requests_per_second: float

    @property
    def shown(self) -> str:
        """The location as it may stand in a message."""
        return redact(self.location)


class StatusError(FashionPipelineError):
    """An answer that is worth another try, with the server's own wish when."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Sink:
    """Writes blocks into a file, hashes them, and stops at the limit."""

    def __init__(self, stream: IO[bytes], limit: int, shown: str) -> None:
        self._stream, self._limit, self._shown = stream, limit, shown
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, block: bytes) -> None:
        """Append one block.

        Raises:
            FeedError: more bytes than allowed.
        """
        self.size += len(block)
        if self.size > self._limit:
            raise FeedError(
                f"{self._shown} is larger than {self._limit:,} bytes: if that is right, allow larger feeds"
            )
        self._hash.update(block)
        self._stream.write(block)

    @property
    def sha256(self) -> str:
        """Digest of all that was written."""
        return self._hash.hexdigest()


def open_session(request: Request) -> aiohttp.ClientSession:
    """A session that can reach only what the policy allows; bodies come as they are on the wire."""
    return aiohttp.ClientSession(
        connector=guarded_connector(request.policy, limit=2),
        timeout=aiohttp.ClientTimeout(
            total=request.timeout, sock_connect=30, sock_read=min(SILENCE, request.timeout)
        ),
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def retrying(request: Request, work: Callable[[], Awaitable[_T]]) -> _T:
    """Do `work`, again after a while when it fails in a way that passes.

    Raises:
        TransientError: it failed so each time, or the server asks for a longer wait than a run should last.
    """
    problem = ""
    for attempt in range(request.attempts):
        wait: float | None = None
        try:
            return await work()
        except StatusError as error:
            problem, wait = str(error), error.retry_after
        except aiohttp.ClientConnectorCertificateError:
            raise PermanentError(f"{request.shown}: its certificate is not valid: ask the store") from None
        except aiohttp.InvalidURL:
            raise PermanentError(f"{request.shown}: not a URL: mend `location`") from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError, TransientError) as error:
            # The error's own text may hold the whole URL.
            problem = str(error) if isinstance(error, TransientError) else _words(request, error)
        if wait is not None and wait > LONGEST_WAIT:
            raise TransientError(f"{problem}, and asks to wait {wait:.0f} s: try again later")
        if attempt + 1 < request.attempts:
            spread = request.backoff * 2**attempt * random.uniform(0.75, 1.25)
            await asyncio.sleep(max(wait or 0.0, spread))
    raise TransientError(f"{problem}, {request.attempts} times: try again later")


def _words(request: Request, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"{request.shown}: no answer in time"
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"{request.shown}: the transfer was cut before its end"
    return f"{request.shown}: the connection failed ({type(error).__name__})"


def check_status(response: aiohttp.ClientResponse, shown: str) -> None:
    """Let 200 and 304 through.

    Raises:
        StatusError: worth another try.
        PermanentError: not worth one.
    """
    status = response.status
    if status in (200, 304):
        return
    said = f"{shown} answers {status} {response.reason or ''}".rstrip()
    if status in TRANSIENT_STATUS:
        raise StatusError(said, _retry_after(response.headers.get("Retry-After")))
    if status in (401, 403):
        raise PermanentError(f"{said}: not allowed to read it; check the credentials in `headers`")
    if status in (404, 410):
        raise PermanentError(f"{said}: there is no feed; check `location`, or ask the store")
    raise PermanentError(f"{said}: not a feed; open the location by hand")


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from either form of RFC 9110, section 10.2.3."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())


async def receive(response: aiohttp.ClientResponse, sink: Sink, shown: str) -> None:
    """Stream a body into `sink`, without its transfer compression.

    A gzipped answer is stored expanded: compressed anew by the server each time, equal feeds would differ.

    Raises:
        TransientError: fewer bytes than announced.
        PermanentError: compressed in a way that was not asked for.
    """
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip"):
        raise PermanentError(f"{shown} is sent as Content-Encoding {coding!r}, which was not asked for")
    unpack = _Gunzip() if coding.endswith("gzip") else None
    received = 0
    try:
        async for block in response.content.iter_chunked(BLOCK):
            received += len(block)
            if unpack is None:
                sink.write(block)
            else:
                for part in unpack.feed(block):
                    sink.write(part)
    except zlib.error:
        raise TransientError(f"{shown}: the answer's gzip is broken") from None
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and received != int(announced):
        raise TransientError(f"{shown}: {received:,} of {int(announced):,} announced bytes came")
    if unpack is not None and not unpack.complete:
        raise TransientError(f"{shown}: the answer's gzip ends early")


class _Gunzip:
    """Gzip members one after another, in blocks; what only claims to be gzip passes through."""

    def __init__(self) -> None:
        self._unpacker: Any = None
        self._plain = False
        self._begun = b""

    @property
    def complete(self) -> bool:
        return self._plain or (self._unpacker is None and len(self._begun) < 2)

    def feed(self, block: bytes) -> list[bytes]:
        if self._unpacker is None:
            block, self._begun = self._begun + block, b""
            if not self._plain and len(block) < 2:
                self._begun = block
                return []
        given: list[bytes] = []
        while block:
            if self._plain:
                given.append(block)
                break
            if self._unpacker is None:
                if block[:2] != b"\x1f\x8b":
                    # Either never gzip, or padding behind the last member.
                    self._plain = not given
                    if given:
                        break
                    continue
                self._unpacker = zlib.decompressobj(31)
            part = self._unpacker.decompress(block, BLOCK)
            if part:
                given.append(part)
            block = self._unpacker.unconsumed_tail
            if self._unpacker.eof:
                block, self._unpacker = self._unpacker.unused_data, None
        return given
