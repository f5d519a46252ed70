"""Who is asked next: requests in lanes, one per host, each with its own pace, pauses and breaker.

Requests are pulled from their source only when no lane can use a free slot, so the source may be endless.
Nothing here touches the network; the caller tells what came of each job.
"""

import asyncio
import heapq
import itertools
import logging
import math
import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.types import FetchFailureError, HostTiming, ImageRequest

logger = logging.getLogger(__name__)

FILES = "file:"
LIMITED_TURNS = 6  # pauses of 1, 2, 4, ... seconds for a host that says "too many" and not how long


@dataclass(slots=True)
class Lane:
    """One host: its waiting jobs, and what its answers so far allow."""

    name: str
    slots: int
    interval: float
    waiting: "deque[Job]" = field(default_factory=deque)
    active: int = 0
    armed: bool = False
    next_at: float = 0.0
    paused_until: float = 0.0
    failures: int = 0
    trips: int = 0
    limited: int = 0
    closed: FetchFailureError | None = None
    requests: int = 0
    seconds: float = 0.0
    bytes: int = 0


@dataclass(slots=True)
class Job:
    """One request on its way: where it is now, and what it has cost so far."""

    request: ImageRequest
    url: str
    lane: Lane
    holding: bool = False
    hops: int = 0
    tries: int = 0
    failure: FetchFailureError | None = None


def lane_name(url: str) -> str:
    """The host of a URL, `FILES` for a file or a path, or "" where there is no host."""
    if url[:5].lower() == "file:" or url[:1] in ("/", "."):
        return FILES
    try:
        return (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return ""


class PoliteQueue:
    """Jobs in an order that keeps every host's limits; for one event loop and one taker."""

    def __init__(self, requests: Iterable[ImageRequest], limits: FetchLimits) -> None:
        self._source: Iterator[ImageRequest] = iter(requests)
        self._limits = limits
        self._exhausted = False
        self._lanes: dict[str, Lane] = {}
        self._ready: list[tuple[float, int, Lane]] = []
        self._delayed: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._active = 0
        self._in_hand = 0
        self._changed = asyncio.Event()
        self._wakes_at = math.inf
        self.retries = 0

    async def take(self) -> Job | None:
        """The next job that may be sent now, waiting until there is one; None when all are done."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            job, wake_at = self._next(loop.time())
            if job is not None:
                return job
            if self._exhausted and not self._in_hand:
                return None
            self._wakes_at = math.inf if wake_at is None else wake_at
            try:
                async with asyncio.timeout_at(wake_at):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def take_now(self) -> Job | None:
        """A job that may be sent at once, for who just finished one: without the detour by `take`."""
        job, _ = self._next(asyncio.get_running_loop().time())
        free = self._active < self._limits.concurrency
        if job is None or (free and self._ready and self._ready[0][0] < self._wakes_at):
            self._changed.set()
        return job

    def _next(self, now: float) -> tuple[Job | None, float | None]:
        if self._active >= self._limits.concurrency:
            return None, None
        while self._delayed and self._delayed[0][0] <= now:
            self._enqueue(heapq.heappop(self._delayed)[2])
        while True:
            while self._ready and self._ready[0][0] <= now:
                lane = heapq.heappop(self._ready)[2]
                lane.armed = False
                if lane.waiting and self._ready_at(lane) <= now and self._has_slot(lane):
                    return self._start(lane, now), None
                self._arm(lane)
            if self._exhausted or self._in_hand >= self._limits.look_ahead:
                break
            self._pull()
        return None, min((heap[0][0] for heap in (self._ready, self._delayed) if heap), default=None)

    def _pull(self) -> None:
        request = next(self._source, None)
        if request is None:
            self._exhausted = True
            return
        self._in_hand += 1
        self._enqueue(Job(request, request.url, self.lane(lane_name(request.url))))

    def lane(self, name: str) -> Lane:
        """The lane of that name, made when it is new."""
        if name not in self._lanes:
            limits = self._limits
            polite = name not in (FILES, "")
            rate = limits.per_host_rate if polite else None
            slots = limits.per_host_concurrency if polite else limits.concurrency
            self._lanes[name] = Lane(name, slots, 1 / rate if rate else 0.0)
        return self._lanes[name]

    def _enqueue(self, job: Job) -> None:
        job.lane.waiting.append(job)
        self._arm(job.lane)

    @staticmethod
    def _ready_at(lane: Lane) -> float:
        return 0.0 if lane.closed is not None else max(lane.next_at, lane.paused_until)

    @staticmethod
    def _has_slot(lane: Lane) -> bool:
        return lane.active < lane.slots or lane.closed is not None

    def _arm(self, lane: Lane) -> None:
        if not lane.armed and lane.waiting and self._has_slot(lane):
            heapq.heappush(self._ready, (self._ready_at(lane), next(self._order), lane))
            lane.armed = True

    def _start(self, lane: Lane, now: float) -> Job:
        lane.active += 1
        lane.next_at = max(now, lane.next_at) + lane.interval
        self._active += 1
        job = lane.waiting.popleft()
        job.holding = True
        self._arm(lane)
        return job

    def left_host(self, job: Job) -> None:
        """The host has said all; another request may be sent, while this one's bytes are still worked on.

        `take_now` has to follow, or nobody uses the slot.
        """
        job.lane.active -= job.holding
        self._active -= job.holding
        job.holding = False
        self._arm(job.lane)

    def done(self, job: Job) -> None:
        """The job has its result."""
        self.left_host(job)
        self._in_hand -= 1
        if not self._in_hand or self._in_hand + 1 == self._limits.look_ahead:
            self._changed.set()

    def moved(self, job: Job, url: str) -> None:
        """The job was redirected: it waits for its turn at the new host."""
        self.left_host(job)
        job.url, job.hops, job.lane = url, job.hops + 1, self.lane(lane_name(url))
        self._enqueue(job)
        self._changed.set()

    def answered(self, lane: Lane, seconds: float, size: int) -> None:
        """The host answered as a working host does, whatever the answer was."""
        lane.requests += 1
        lane.seconds += seconds
        lane.bytes += size
        lane.failures = lane.trips = lane.limited = 0
        if lane.slots < self._limits.per_host_concurrency and lane.name not in (FILES, ""):
            lane.slots = self._limits.per_host_concurrency

    def slow_down(self, lane: Lane, interval: float) -> None:
        """Keep at least `interval` seconds between two requests to the host."""
        lane.interval = max(lane.interval, interval)
        lane.next_at = max(lane.next_at, asyncio.get_running_loop().time() + lane.interval)

    def host_failed(self, lane: Lane, failure: FetchFailureError, seconds: float) -> None:
        """The host gave no proper answer; after `breaker_failures` in a row it is left alone for a while.

        When the pause is over one request probes it. After `breaker_trips` pauses the lane closes for
        this run.
        """
        lane.requests += 1
        lane.seconds += seconds
        now = asyncio.get_running_loop().time()
        if lane.closed is not None or lane.paused_until > now:
            return
        lane.failures += 1
        if lane.failures < self._limits.breaker_failures and not lane.trips:
            return
        lane.failures = 0
        lane.trips += 1
        if lane.trips > self._limits.breaker_trips:
            self._close(lane, f"failed again after {lane.trips - 1} pauses, last with {failure.error}", None)
            return
        self._pause(lane, self._limits.breaker_pause * 2 ** (lane.trips - 1), failure.error)

    def host_limited(self, lane: Lane, failure: FetchFailureError, seconds: float) -> None:
        """The host asked for a pause (429, 430, 503): so long as it said, else 1, 2, 4, ... seconds."""
        lane.requests += 1
        lane.seconds += seconds
        asked = failure.retry_after
        paused = lane.paused_until > asyncio.get_running_loop().time()
        if lane.closed is not None or (paused and asked is None):
            return
        # Requests that were under way when the pause began are part of the same limit.
        lane.limited += not paused
        pause = max(asked, 1.0) if asked is not None else 2.0 ** (lane.limited - 1)
        if pause > self._limits.max_pause or lane.limited > LIMITED_TURNS:
            self._close(lane, f"asked for a pause of {pause:.0f} s after {lane.limited} limits", pause)
            return
        self._pause(lane, pause, failure.error)

    def _pause(self, lane: Lane, seconds: float, why: str) -> None:
        lane.paused_until = max(lane.paused_until, asyncio.get_running_loop().time() + seconds)
        lane.slots = 1
        logger.warning("%s: %s, asked again after %.0f s", lane.name, why, seconds)

    def _close(self, lane: Lane, why: str, retry_after: float | None) -> None:
        detail = f"{lane.name} {why}"
        lane.closed = FetchFailureError("host_unavailable", detail, retry_after=retry_after)
        lane.armed = False
        self._arm(lane)
        logger.warning("%s: its remaining pictures wait for another run", detail)

    def again(self, job: Job, failure: FetchFailureError, *, delayed: bool) -> bool:
        """Give the job another try in this run if it has one left; False when it has not."""
        job.tries += 1
        job.failure = failure
        if job.lane.closed is not None or job.request.attempts or job.tries >= self._limits.tries:
            return False
        self.retries += 1
        self.left_host(job)
        if delayed:
            wait = self._limits.retry_delay * 2 ** (job.tries - 1) * random.uniform(0.75, 1.25)
            when = asyncio.get_running_loop().time() + wait
            heapq.heappush(self._delayed, (when, next(self._order), job))
        else:
            job.lane.waiting.appendleft(job)
            self._arm(job.lane)
        self._changed.set()
        return True

    def slowest(self, count: int = 5) -> tuple[HostTiming, ...]:
        """The hosts with the longest mean time of an answer."""
        timings = (
            HostTiming(lane.name, lane.requests, lane.seconds / lane.requests, lane.bytes)
            for lane in self._lanes.values()
            if lane.requests and lane.name
        )
        return tuple(heapq.nlargest(count, timings, key=lambda timing: timing.mean_seconds))
