"""Which failures of a Qdrant server pass, and trying again with backoff and jitter.

Every request that goes through here may be repeated: points are written by id, and aliases and
collections are checked before they are changed.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from fashion_pipeline.errors import CollectionError, FashionPipelineError, PermanentError, TransientError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: Waits of about 0.25, 0.5, 1, 2 and 4 s: a restart of a server is outlived, an outage is reported.
TRIES = 6
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 10.0

#: What qdrant-client raises: its own, gRPC's, and from its checks and its `:memory:` mode Python's.
FAILURES = (ApiException, QdrantException, grpc.RpcError, ValueError, KeyError, RuntimeError)

_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_PASSING_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
    }
)


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code in _PASSING_STATUS
    if isinstance(error, ResponseHandlingException):
        return isinstance(error.source, httpx.TransportError)
    if isinstance(error, grpc.RpcError):
        return _code(error) in _PASSING_CODES
    return isinstance(error, ResourceExhaustedResponse)


def call(what: str, request: Callable[[], _T], *, tries: int = TRIES) -> _T:
    """Run `request`, again where its failure may pass, at most `tries` times.

    `what` names the operation and its target in messages.

    Raises:
        TransientError: it still failed in a way that may pass.
        CollectionError: there is no such collection, or a vector does not fit it.
        PermanentError: it was refused for another reason.
    """
    for attempt in range(1, tries + 1):
        try:
            return request()
        except FAILURES as error:
            wait = _next_wait(what, error, attempt, tries)
        time.sleep(wait)
    raise AssertionError("unreachable")


async def call_async(what: str, request: Callable[[], Awaitable[_T]], *, tries: int = TRIES) -> _T:
    """`call` for a coroutine function."""
    for attempt in range(1, tries + 1):
        try:
            return await request()
        except FAILURES as error:
            wait = _next_wait(what, error, attempt, tries)
        await asyncio.sleep(wait)
    raise AssertionError("unreachable")


def _next_wait(what: str, error: Exception, attempt: int, tries: int) -> float:
    """Seconds until the next try; raises our own error where there is none."""
    if not is_passing(error):
        raise translated(what, error) from error
    if attempt == tries:
        raise TransientError(f"{what}: failed {tries} times, last with: {_text(error)}") from error
    wait = min(_FIRST_WAIT * 2.0 ** (attempt - 1), _LONGEST_WAIT) * random.uniform(0.5, 1.5)
    if isinstance(error, ResourceExhaustedResponse):
        wait = max(wait, min(float(error.retry_after_s), 60.0))
    _log.warning("%s: try %d of %d failed (%s), again in %.1f s", what, attempt, tries, _text(error), wait)
    return wait


def translated(what: str, error: Exception) -> FashionPipelineError:
    """Our error for a request that was refused."""
    text = _text(error)
    lowered = text.lower()
    status = getattr(error, "status_code", None)
    code = _code(error)
    if status in (401, 403) or code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return PermanentError(f"{what}: the server refused the API key: check QDRANT_API_KEY ({text})")
    if "collection" in lowered and ("not found" in lowered or "doesn't exist" in lowered):
        return CollectionError(
            f"{what}: there is no such collection: materialize `qdrant_collection` ({text})"
        )
    if "dimension" in lowered or "not aligned" in lowered:
        return CollectionError(f"{what}: the vector does not fit the collection: {text}")
    return PermanentError(f"{what}: {text}")


def already_exists(error: Exception) -> bool:
    """Whether a request failed because what it creates is there already."""
    status = getattr(error, "status_code", None)
    code = _code(error)
    return status == 409 or code is grpc.StatusCode.ALREADY_EXISTS or "already exists" in _text(error).lower()


def _code(error: BaseException) -> grpc.StatusCode | None:
    code = getattr(error, "code", None)
    found = code() if isinstance(error, grpc.RpcError) and callable(code) else None
    return found if isinstance(found, grpc.StatusCode) else None


def _text(error: BaseException) -> str:
    if isinstance(error, UnexpectedResponse):
        return f"{error.status_code} {error.content[:300].decode(errors='replace')}"
    if isinstance(error, ResponseHandlingException):
        return f"{type(error.source).__name__}: {error.source}"
    details = getattr(error, "details", None)
    if isinstance(error, grpc.RpcError) and callable(details):
        return f"{_code(error)}: {details()}"
    return f"{type(error).__name__}: {error}"
