"""robots.txt of each origin (RFC 9309), read once a run."""

import asyncio
from collections import OrderedDict
from urllib.parse import urlsplit

import aiohttp
from protego import Protego

from fashion_pipeline.errors import PermanentError
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.transfer import read_body
from fashion_pipeline.images.types import FetchFailureError
from fashion_pipeline.netguard import AddressPolicy, guarded_get

MAX_BYTES = 500 * 1024  # what RFC 9309, section 2.5 asks a reader to take at least
MAX_ORIGINS = 1_000  # parsed files in memory
MAX_CRAWL_DELAY = 10.0  # seconds; more would be a refusal, which `Disallow` is for


class Robots:
    """Answers for one run whether a URL may be asked for, and how fast."""

    def __init__(self, session: aiohttp.ClientSession, policy: AddressPolicy, limits: FetchLimits) -> None:
        self._session = session
        self._policy = policy
        self._limits = limits
        self._origins: OrderedDict[str, asyncio.Task[Protego]] = OrderedDict()

    def applies_to(self, host: str) -> bool:
        """Whether robots.txt is obeyed for `host` at all."""
        return self._limits.obey_robots and host not in self._limits.robots_exempt_hosts

    async def check(self, url: str) -> float | None:
        """Seconds between two requests that the host asks for, None where it asks for nothing.

        Raises:
            FetchFailureError: `robots_disallowed`, or `robots_unreachable`, which means "all disallowed".
        """
        split = urlsplit(url)
        origin = f"{split.scheme}://{split.netloc}"
        task = self._origins.get(origin)
        if task is None:
            task = self._origins[origin] = asyncio.create_task(self._load(origin))
            if len(self._origins) > MAX_ORIGINS:
                self._origins.popitem(last=False)
        try:
            rules = await asyncio.shield(task)
        except FetchFailureError:
            # Not kept: when the host is asked again, so is its robots.txt.
            if self._origins.get(origin) is task:
                del self._origins[origin]
            raise
        if not rules.can_fetch(url, self._limits.user_agent):
            raise FetchFailureError("robots_disallowed", f"robots.txt of {split.hostname}")
        delay = rules.crawl_delay(self._limits.user_agent)
        return min(float(delay), MAX_CRAWL_DELAY) if delay else None

    async def close(self) -> None:
        """End what is still being read; before the session closes."""
        for task in self._origins.values():
            task.cancel()
        await asyncio.gather(*self._origins.values(), return_exceptions=True)

    async def _load(self, origin: str) -> Protego:
        try:
            async with await guarded_get(self._session, f"{origin}/robots.txt", self._policy) as response:
                if response.status >= 500 or response.status == 429:
                    raise _unreachable(f"answered {response.status}")
                # 4xx means that there are no rules (RFC 9309, section 2.3.1.3).
                text = await read_body(response, MAX_BYTES, cut=True) if response.status == 200 else b""
        except PermanentError:
            text = b""  # redirected too often or to where none may go: "unavailable", as 4xx is
        except FetchFailureError as error:
            raise _unreachable(error.detail) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unreachable(type(error).__name__) from error
        return Protego.parse(text.decode("utf-8", "replace"))


def _unreachable(why: str) -> FetchFailureError:
    return FetchFailureError("robots_unreachable", f"robots.txt: {why}")
