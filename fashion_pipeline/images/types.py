"""What goes into the fetcher and what comes out, and the classes of failure.

`ERRORS` is the one place where a failure is called permanent or transient; the documentation shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One picture to ask for.

    `key` is the caller's own, given back with the result. `etag`, `last_modified` and `sha256` are what
    the last good answer said; they make the request conditional where the store still has the bytes.
    `attempts` counts earlier runs that failed: such a URL is asked once a run, without tries in the run.
    """

    key: str
    url: str
    store_id: str
    etag: str | None = None
    last_modified: str | None = None
    sha256: str | None = None
    attempts: int = 0


class ImageStatus(StrEnum):
    """What became of a request."""

    FETCHED = "fetched"
    NOT_MODIFIED = "not_modified"
    FAILED_TRANSIENT = "failed_transient"
    FAILED_PERMANENT = "failed_permanent"


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The one answer to one request.

    `size` (bytes), `width`, `height` (pixels as stored, before any EXIF rotation) and `format` are set for
    `fetched` only; `not_modified` repeats the request's `sha256`. `stored` says that the bytes were new to
    the store. `error` is a key of `ERRORS` or `http_<status>`; `detail` holds no secret. `retry_after` is
    how many seconds the host asked to be left alone.
    """

    key: str
    url: str
    status: ImageStatus
    sha256: str | None = None
    size: int | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    http_status: int | None = None
    error: str | None = None
    detail: str | None = None
    stored: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class HostTiming:
    """How one host answered: requests sent, mean seconds to the end of an answer, bytes of pictures."""

    host: str
    requests: int
    mean_seconds: float
    bytes: int


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What a run of the fetcher did: `requested = fetched + not_modified + sum(failed.values())`.

    `reused` of the fetched pictures were already in the store under other URLs; `bytes` counts all
    fetched ones; `retries` are requests sent again within the run.
    """

    requested: int
    fetched: int
    reused: int
    not_modified: int
    failed: Mapping[str, int]
    bytes: int
    seconds: float
    retries: int
    slowest: tuple[HostTiming, ...]

    @property
    def stored(self) -> int:
        """Pictures whose bytes were new to the store."""
        return self.fetched - self.reused

    @property
    def images_per_second(self) -> float:
        """Answers of any kind per second of the run."""
        return self.requested / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        """One line for a log."""
        failed = ", ".join(f"{count:,} {error}" for error, count in self.failed.items()) or "none"
        hosts = ", ".join(f"{each.host} {each.mean_seconds:.2f} s" for each in self.slowest) or "none"
        return (
            f"{self.requested:,} pictures asked for in {self.seconds:.1f} s, {self.images_per_second:,.0f}/s: "
            f"{self.fetched:,} fetched ({self.reused:,} of them known bytes), {self.not_modified:,} not modified, "
            f"failed: {failed}; {self.bytes:,} bytes, {self.retries:,} tries again; slowest hosts: {hosts}"
        )


class FetchFailureError(Exception):
    """Why one request got no picture; `error` is a class of `ERRORS`."""

    def __init__(
        self, error: str, detail: str, *, http_status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(error, detail)
        self.error = error
        self.detail = detail
        self.http_status = http_status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """One class of failure: asked again by itself or not, and what it means."""

    permanent: bool
    meaning: str


ERRORS: Mapping[str, ErrorClass] = MappingProxyType(
    {
        "forbidden_address": ErrorClass(True, "the URL, a redirect or a DNS answer leads where none may go"),
        "bad_redirect": ErrorClass(True, "more than three redirects, one from https to http, or to nowhere"),
        "robots_disallowed": ErrorClass(True, "the host's robots.txt forbids it"),
        "file_not_found": ErrorClass(True, "a file: URL names no regular file"),
        "not_an_image": ErrorClass(True, "the bytes are no picture, whatever their name or type says"),
        "unsupported_format": ErrorClass(True, "a picture of a format that is not decoded (SVG, HEIC, ...)"),
        "empty": ErrorClass(True, "no bytes"),
        "too_large": ErrorClass(True, "more bytes than allowed, counted after decompression"),
        "too_many_pixels": ErrorClass(True, "the header announces more pixels than allowed"),
        "too_many_frames": ErrorClass(True, "an animation of more frames than allowed"),
        "broken_header": ErrorClass(True, "a picture whose header makes no sense"),
        "unsupported_encoding": ErrorClass(True, "a Content-Encoding that was not asked for"),
        "truncated": ErrorClass(False, "a picture whose end is missing"),
        "incomplete_body": ErrorClass(False, "the connection ended before the announced length"),
        "bad_response": ErrorClass(False, "an answer that is not proper HTTP"),
        "connection": ErrorClass(False, "no connection, or it broke before an answer"),
        "tls": ErrorClass(False, "no trusted TLS connection"),
        "dns": ErrorClass(False, "the name has no address"),
        "connect_timeout": ErrorClass(False, "no connection in time"),
        "stalled": ErrorClass(False, "nothing was received for too long"),
        "timeout": ErrorClass(False, "the whole answer took too long"),
        "rate_limited": ErrorClass(False, "429, 430, or 503 with Retry-After, more often than tried"),
        "host_unavailable": ErrorClass(False, "not asked: the host failed or paused too long in this run"),
        "robots_unreachable": ErrorClass(False, "the host's robots.txt cannot be had (RFC 9309, 2.3.1.4)"),
        "file_unreadable": ErrorClass(False, "a file: URL's file cannot be read now"),
    }
)

# 403 is what a firewall says for an hour as well as what a bucket says for ever; 408, 421, 423 and 425
# pass by their definition (RFC 9110, RFC 8470); 304 without a condition is a cache gone wrong.
TRANSIENT_STATUSES = frozenset({304, 403, 408, 421, 423, 425, 429, 430})


def is_permanent(error: str) -> bool:
    """Whether a failure of class `error` (a key of `ERRORS`, or `http_<status>`) comes again for sure."""
    known = ERRORS.get(error)
    if known is not None:
        return known.permanent
    status = int(error.removeprefix("http_"))
    return status < 500 and status not in TRANSIENT_STATUSES
