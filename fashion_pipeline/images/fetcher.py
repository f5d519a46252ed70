"""The fetcher: asks for pictures politely, safely and once, and hands over each result as it comes."""

import asyncio
import inspect
import time
from collections import Counter, deque
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
Found = TypeVar("Found")
#: Bytes to keep, why they could not be kept, or a result to hand over.
Outcome = Answer | FetchFailureError | ImageResult
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
# Pictures per turn of a thread: a turn costs the event loop as much as a picture does.
BATCH = 16
# Seconds that a picture takes a thread, above which it waits for a disk or a network: only then further
# threads help, and otherwise they slow each other and the event loop down.
SLOW = 0.005
# Bytes of answers that are not handed over yet, until no further answer is taken.
MOST_HELD = 64 * 2**20


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
        self._landed: deque[tuple[Job, Outcome]] = deque()
        self._held = 0
        self._held_bytes = 0
        self._room = asyncio.Event()
        self._turns = 0
        self._seconds_each = 0.0
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
                    async with asyncio.TaskGroup() as self._tasks:
                        while (job := await self._queue.take()) is not None:
                            self._tasks.create_task(self._work(job))
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

    async def _work(self, job: Job | None) -> None:
        while job is not None:
            if job.lane.closed is not None:
                failure = job.failure or job.lane.closed
                await self._land(job, _failed(job, failure, job.lane.closed.retry_after))
            else:
                await self._ask(job)
            job = self._queue.take_now()

    async def _ask(self, job: Job) -> None:
        started = time.perf_counter()
        try:
            answer = await (self._file(job) if job.lane.name == FILES else self._http(job))
            if answer.target is not None and job.hops >= self._policy.max_redirects:
                raise FetchFailureError("bad_redirect", f"more than {job.hops} redirects")
        except FetchFailureError as failure:
            self._count(job, failure, time.perf_counter() - started)
            if not self._again(job, failure):
                await self._land(job, _failed(job, failure, failure.retry_after))
            return
        self._queue.answered(job.lane, time.perf_counter() - started, len(answer.body or b""))
        if answer.target is not None:
            self._queue.moved(job, answer.target)
        else:
            await self._land(job, _unchanged(job, answer) if answer.body is None else answer)

    async def _land(self, job: Job, outcome: Outcome) -> None:
        """Leave the host with an outcome for `_take_turns`; while too many are held, with the host's slot."""
        while self._held >= self._limits.concurrency or self._held_bytes > MOST_HELD:
            self._room.clear()
            await self._room.wait()
        self._landed.append((job, outcome))
        self._held += 1
        self._held_bytes += _size(outcome)
        if not self._turns or (self._turns < self._limits.threads and self._seconds_each > SLOW):
            self._turns += 1
            self._tasks.create_task(self._take_turns())
        self._queue.left_host(job)

    async def _take_turns(self) -> None:
        """Keep and hand over what landed, in turns of a thread."""
        while self._landed:
            most = 1 if self._seconds_each > SLOW else BATCH
            batch = [self._landed.popleft() for _ in range(min(most, len(self._landed)))]
            size = sum(_size(outcome) for _, outcome in batch)
            if any(isinstance(outcome, Answer) for _, outcome in batch):
                began = time.perf_counter()
                batch = await self._in_thread(self._keep_each, batch)
                self._seconds_each = (time.perf_counter() - began) / len(batch)
            self._held_bytes -= size
            async with self._handing_over:
                for job, outcome in batch:
                    await self._hand_over(job, outcome)
                    self._held -= 1
                    self._room.set()
        self._turns -= 1

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

    def _keep_each(self, batch: list[tuple[Job, Outcome]]) -> list[tuple[Job, Outcome]]:
        """The batch with each answer's picture kept, or with the reason why it cannot be."""
        kept: list[tuple[Job, Outcome]] = []
        for job, outcome in batch:
            if isinstance(outcome, Answer):
                try:
                    outcome = self._keep(job.request, outcome, outcome.body or b"")
                except FetchFailureError as failure:
                    outcome = failure
            kept.append((job, outcome))
        return kept

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

    async def _in_thread(self, function: Callable[[Unpack[Arguments]], Found], *args: *Arguments) -> Found:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def _hand_over(self, job: Job, outcome: Outcome) -> None:
        if isinstance(outcome, FetchFailureError):
            if self._again(job, outcome):
                return
            outcome = _failed(job, outcome, outcome.retry_after)
        assert isinstance(outcome, ImageResult)
        waiting = self._on_result(outcome)
        if inspect.isawaitable(waiting):
            await waiting
        self._statuses[outcome.status] += 1
        self._bytes += outcome.size or 0
        self._reused += outcome.status is ImageStatus.FETCHED and not outcome.stored
        if outcome.error is not None:
            self._failed[outcome.error] += 1
        if self._progress is not None:
            self._progress(self._statuses.total(), self._total)
        self._queue.done(job)


def _size(outcome: Outcome) -> int:
    return len(outcome.body or b"") if isinstance(outcome, Answer) else 0


def _unchanged(job: Job, answer: Answer) -> ImageResult:
    request = job.request
    return ImageResult(
        request.key,
        request.url,
        ImageStatus.NOT_MODIFIED,
        sha256=request.sha256,
        etag=answer.etag or request.etag,
        last_modified=answer.last_modified or request.last_modified,
        http_status=answer.http_status,
    )


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
