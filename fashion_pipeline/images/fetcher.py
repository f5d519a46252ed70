"""The fetcher: asks for pictures politely, safely and once, and hands over each result as it comes."""

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple, Unpack

import aiohttp
from aiohttp.abc import AbstractResolver

from fashion_pipeline.images.inspect import ImageError, inspect_image
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.queue import FILES, Job, PoliteQueue
from fashion_pipeline.images.robots import Robots
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.images.transfer import Answer, ask, conditions, read_file
from fashion_pipeline.images.types import (
    FetchFailureError,
    FetchReport,
    ImageRequest,
    ImageResult,
    ImageStatus,
    is_permanent,
)
from fashion_pipeline.netguard import AddressPolicy, guarded_connector

Arguments = TypeVarTuple("Arguments")
Outcome = TypeVar("Outcome")
OnResult = Callable[[ImageResult], Awaitable[None] | None]
Progress = Callable[[int, int | None], None]

# Failures of the host rather than of one picture; so many in a row open its breaker.
HOST_FAILURES = frozenset(
    {"connection", "tls", "dns", "connect_timeout", "stalled", "timeout", "bad_response", "incomplete_body",
     "robots_unreachable"}
)  # fmt: skip
# Failures that often pass within seconds. Not those that took a timeout to find out.
TRIED_AGAIN = frozenset({"connection", "bad_response", "incomplete_body", "truncated"})
# Originals rather than what a CDN makes of them for a browser that says that it takes WebP.
ACCEPT = "image/jpeg, image/png;q=0.9, image/*;q=0.8, */*;q=0.5"


class ImageFetcher:
    """Fetches pictures into a store within an address policy and limits."""

    def __init__(
        self,
        policy: AddressPolicy,
        store: ImageStore,
        limits: FetchLimits | None = None,
        *,
        lookup: AbstractResolver | None = None,
    ) -> None:
        """`lookup` replaces the system's resolver; its answers are checked all the same."""
        self._policy = policy
        self._store = store
        self._limits = limits or FetchLimits()
        self._lookup = lookup

    async def fetch(
        self,
        requests: Iterable[ImageRequest],
        on_result: OnResult,
        *,
        total: int | None = None,
        progress: Progress | None = None,
    ) -> FetchReport:
        """Ask for every picture of `requests` and give each exactly one result.

        `requests` is pulled as there is room, `on_result` is called one at a time, in no order; while it
        runs, no further result is handed over, so that memory stays bounded. A bad picture, URL or host
        is a result and never an exception. What `requests`, `on_result`, `progress` or the store raise,
        and cancellation, end the run and propagate.
        """
        run = _Run(self._policy, self._store, self._limits, on_result, total, progress)
        return await run.whole(requests, self._lookup)


class _Run:
    def __init__(
        self,
        policy: AddressPolicy,
        store: ImageStore,
        limits: FetchLimits,
        on_result: OnResult,
        total: int | None,
        progress: Progress | None,
    ) -> None:
        self._policy = policy
        self._store = store
        self._limits = limits
        self._on_result = on_result
        self._total = total
        self._progress = progress
        self._handing_over = asyncio.Lock()
        self._statuses: Counter[ImageStatus] = Counter()
        self._failed: Counter[str] = Counter()
        self._reused = 0
        self._bytes = 0

    async def whole(self, requests: Iterable[ImageRequest], lookup: AbstractResolver | None) -> FetchReport:
        started = time.perf_counter()
        limits = self._limits
        self._queue = PoliteQueue(requests, limits)
        # The queue holds the limits of connections: a second set of limits would wait behind its back.
        connector = guarded_connector(
            self._policy, lookup=lookup, limit=0, ttl_dns_cache=300, keepalive_timeout=30
        )
        with ThreadPoolExecutor(limits.threads, thread_name_prefix="images") as self._threads:
            async with aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": limits.user_agent, "Accept": ACCEPT, "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(
                    total=limits.timeout, sock_connect=limits.connect_timeout, sock_read=limits.read_timeout
                ),
            ) as self._session:
                self._robots = Robots(self._session, self._policy, limits)
                try:
                    async with asyncio.TaskGroup() as tasks:
                        while (job := await self._queue.take()) is not None:
                            tasks.create_task(self._work(job))
                except BaseExceptionGroup as group:
                    # One failure ended the run; the caller knows its own exception, not our tasks.
                    raise _first(group) from None
                finally:
                    await self._robots.close()
        return FetchReport(
            requested=self._statuses.total(),
            fetched=self._statuses[ImageStatus.FETCHED],
            reused=self._reused,
            not_modified=self._statuses[ImageStatus.NOT_MODIFIED],
            failed=dict(self._failed.most_common()),
            bytes=self._bytes,
            seconds=time.perf_counter() - started,
            retries=self._queue.retries,
            slowest=self._queue.slowest(),
        )

    async def _work(self, job: Job) -> None:
        if job.lane.closed is not None:
            await self._finish(job, _failed(job, job.failure or job.lane.closed, job.lane.closed.retry_after))
            return
        started = time.perf_counter()
        counted = False
        try:
            answer = await (self._file(job) if job.lane.name == FILES else self._http(job))
            if answer.target is not None:
                if job.hops < self._policy.max_redirects:
                    self._queue.answered(job.lane, time.perf_counter() - started, 0)
                    self._queue.moved(job, answer.target)
                    return
                raise FetchFailureError("bad_redirect", f"more than {job.hops} redirects")
            self._queue.answered(job.lane, time.perf_counter() - started, len(answer.body or b""))
            self._queue.left_host(job)
            counted = True
            result = await self._result(job.request, answer)
        except FetchFailureError as failure:
            if not counted:
                self._count(job, failure, time.perf_counter() - started)
            if not self._again(job, failure):
                await self._finish(job, _failed(job, failure, failure.retry_after))
            return
        await self._finish(job, result)

    def _count(self, job: Job, failure: FetchFailureError, seconds: float) -> None:
        """Tell the queue what a failure says of the host."""
        if failure.error == "rate_limited":
            self._queue.host_limited(job.lane, failure, seconds)
        elif _server_error(failure) or failure.error in HOST_FAILURES:
            self._queue.host_failed(job.lane, failure, seconds)
        elif failure.http_status is not None:
            self._queue.answered(job.lane, seconds, 0)

    def _again(self, job: Job, failure: FetchFailureError) -> bool:
        """Give the job another try in this run, where the failure is of a kind that passes soon."""
        if failure.error == "rate_limited":
            return self._queue.again(job, failure, delayed=False)
        passing = _server_error(failure) or failure.error in TRIED_AGAIN
        return passing and self._queue.again(job, failure, delayed=True)

    async def _http(self, job: Job) -> Answer:
        if self._robots.applies_to(job.lane.name):
            delay = await self._robots.check(job.url)
            if delay is not None:
                self._queue.slow_down(job.lane, delay)
        headers = conditions(job.request) if await self._known(job.request) else {}
        return await ask(self._session, job.url, self._policy, headers, self._limits)

    async def _file(self, job: Job) -> Answer:
        etag = job.request.etag if await self._known(job.request) else None
        return await self._in_thread(read_file, job.url, etag, self._policy, self._limits)

    async def _known(self, request: ImageRequest) -> bool:
        """Whether the last answer's bytes are still in the store; without them no condition is sent."""
        if request.sha256 is None or not (request.etag or request.last_modified):
            return False
        return await self._in_thread(self._store.exists, request.sha256)

    async def _result(self, request: ImageRequest, answer: Answer) -> ImageResult:
        if answer.body is None:
            return ImageResult(
                request.key,
                request.url,
                ImageStatus.NOT_MODIFIED,
                sha256=request.sha256,
                etag=answer.etag or request.etag,
                last_modified=answer.last_modified or request.last_modified,
                http_status=answer.http_status,
            )
        return await self._in_thread(self._keep, request, answer, answer.body)

    def _keep(self, request: ImageRequest, answer: Answer, body: bytes) -> ImageResult:
        try:
            info = inspect_image(body, self._limits.pixels)
        except ImageError as error:
            raise FetchFailureError(error.slug, str(error), http_status=answer.http_status) from error
        sha256, stored = self._store.put(body)
        return ImageResult(
            request.key,
            request.url,
            ImageStatus.FETCHED,
            sha256=sha256,
            size=len(body),
            width=info.width,
            height=info.height,
            format=info.format,
            etag=answer.etag,
            last_modified=answer.last_modified,
            http_status=answer.http_status,
            stored=stored,
        )

    async def _in_thread(
        self, function: Callable[[Unpack[Arguments]], Outcome], *args: *Arguments
    ) -> Outcome:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def _finish(self, job: Job, result: ImageResult) -> None:
        async with self._handing_over:
            waiting = self._on_result(result)
            if inspect.isawaitable(waiting):
                await waiting
            self._statuses[result.status] += 1
            self._bytes += result.size or 0
            self._reused += result.status is ImageStatus.FETCHED and not result.stored
            if result.error is not None:
                self._failed[result.error] += 1
            if self._progress is not None:
                self._progress(self._statuses.total(), self._total)
        self._queue.done(job)


def _server_error(failure: FetchFailureError) -> bool:
    return failure.http_status is not None and failure.http_status >= 500


def _failed(job: Job, failure: FetchFailureError, retry_after: float | None) -> ImageResult:
    permanent = is_permanent(failure.error)
    return ImageResult(
        job.request.key,
        job.request.url,
        ImageStatus.FAILED_PERMANENT if permanent else ImageStatus.FAILED_TRANSIENT,
        http_status=failure.http_status,
        error=failure.error,
        detail=failure.detail,
        retry_after=retry_after,
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
