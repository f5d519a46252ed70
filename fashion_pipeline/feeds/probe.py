"""Asking a store whether its feed changed, without fetching it: one conditional request each for the feed
and its supplements, headers only.

A store that hangs, or that fails in a way nobody thought of, costs its own answer and no other's.
"""

import asyncio
import contextlib
import datetime as dt
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import aiohttp
import fsspec
from yarl import URL

from fashion_pipeline.errors import TransientError
from fashion_pipeline.feeds.config import StoreConfig, Supplement, location_for, public_location_for
from fashion_pipeline.feeds.transfer import Validators, check_status
from fashion_pipeline.feeds.transport import OBJECT_STORES, file_etag, object_etag
from fashion_pipeline.netguard import AddressPolicy, guarded_connector, guarded_get, resolve_file_url

_T = TypeVar("_T")

#: Requests under way at once, over all stores and to one host: many stores may lie on one platform.
CONCURRENCY, PER_HOST = 32, 4
#: One file of a store, seconds: who does not send headers in this time is asked at the next tick.
PART_SECONDS = 10.0
WEB = ("http://", "https://")


class Answer(StrEnum):
    """What a store says of its feed."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    UNTOLD = "untold"  # no validators, or many pages: only fetching it would tell
    FAILED = "failed"
    UNASKED = "unasked"  # the time was over


#: Of the answers about a store's files, the first of these is the store's.
WEIGHT = (Answer.CHANGED, Answer.UNASKED, Answer.FAILED, Answer.UNTOLD, Answer.UNCHANGED)


@dataclass(frozen=True)
class Known:
    """A store and what is known of its captured files: the feed, then each supplement in order.

    None stands for a file that was not captured: a supplement, or a place, that is new in feeds.yaml.
    """

    store: StoreConfig
    files: tuple[Validators | None, ...]


@dataclass(frozen=True)
class Probe:
    """One store, its answer, and the validators that tell this content from others."""

    store_id: str
    answer: Answer
    version: str = ""
    detail: str = ""


@dataclass(frozen=True)
class _Part:
    """The feed of a store, or one of its supplements."""

    store: StoreConfig
    supplement: Supplement | None
    known: Validators | None

    @property
    def name(self) -> str:
        if self.supplement is None:
            return "the feed"
        return f"supplement {self.store.supplements.index(self.supplement) + 1}"


@dataclass(frozen=True)
class _Said:
    answer: Answer
    version: str = ""
    detail: str = ""


def probe_feeds(
    stores: Sequence[Known],
    day: dt.date,
    *,
    policy: AddressPolicy,
    seconds: float,
    user_agent: str,
    concurrency: int = CONCURRENCY,
    part_seconds: float = PART_SECONDS,
) -> list[Probe]:
    """Ask all `stores` at once, at most `concurrency` at a time, for at most `seconds` in all.

    Each file of a store has `part_seconds`, from the first name look-up to the last header. What hangs in the
    system (a name server, a network drive) is left behind in its thread: this returns in time all the same.
    """
    parts = [
        _Part(each.store, supplement, known)
        for each in stores
        for supplement, known in zip((None, *each.store.supplements), each.files, strict=True)
    ]
    asking = _Asking(parts, day, policy, user_agent, concurrency, part_seconds)
    # The loop's own end waits for every thread that it began: this thread does not.
    threading.Thread(target=lambda: asyncio.run(asking.run(seconds)), name="probes", daemon=True).start()
    said = asking.wait(seconds + 1.0)
    return [_of_store(each.store, [(p.name, s) for p, s in zip(parts, said, strict=True) if p.store is each.store])
            for each in stores]  # fmt: skip


def _of_store(store: StoreConfig, said: Sequence[tuple[str, _Said]]) -> Probe:
    answer = min((each.answer for _, each in said), key=WEIGHT.index)
    one = len(said) == 1
    versions = (each.version if one else f"{name} {each.version}" for name, each in said if each.version)
    details = (each.detail if one else f"{name}: {each.detail}" for name, each in said if each.detail)
    return Probe(store.id, answer, "; ".join(versions), "; ".join(details))


class _Asking:
    """The answers as they come in; the loop that asks runs in a thread of its own."""

    def __init__(
        self,
        parts: Sequence[_Part],
        day: dt.date,
        policy: AddressPolicy,
        user_agent: str,
        concurrency: int,
        part_seconds: float,
    ) -> None:
        self._parts = parts
        self._day, self._policy, self._user_agent = day, policy, user_agent
        self._concurrency, self._part_seconds = concurrency, part_seconds
        self._said: dict[int, _Said] = {}
        self._over = threading.Event()
        self._failure: Exception | None = None

    def wait(self, seconds: float) -> list[_Said]:
        """What was said within `seconds`, one for each part."""
        self._over.wait(seconds)
        if self._failure is not None:
            raise self._failure
        said = dict(self._said)
        return [said.get(number, _Said(Answer.UNASKED)) for number in range(len(self._parts))]

    async def run(self, seconds: float) -> None:
        """Ask each part, for at most `seconds` in all."""
        # Names are looked up in these threads: those that hang may not leave none for the others.
        rounds = math.ceil(seconds / self._part_seconds)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(self._concurrency * (1 + rounds)))
        try:
            places = asyncio.Semaphore(self._concurrency)
            hosts: dict[str, asyncio.Semaphore] = {}
            async with aiohttp.ClientSession(
                connector=guarded_connector(self._policy, limit=0),
                auto_decompress=False,
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session:
                tasks = [
                    asyncio.create_task(self._ask(session, number, part, places, hosts))
                    for number, part in enumerate(self._parts)
                ]
                if tasks:
                    await asyncio.wait(tasks, timeout=seconds)
                self._over.set()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        except Exception as error:  # noqa: BLE001 - raised again by `wait`
            self._failure = error
        finally:
            self._over.set()

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        number: int,
        part: _Part,
        places: asyncio.Semaphore,
        hosts: dict[str, asyncio.Semaphore],
    ) -> None:
        try:
            location = location_for(part.supplement or part.store, self._day)
            host = (URL(location).host or "") if location.lower().startswith(WEB) else part.store.id
            # Waiting for a place is not the store's slowness: its time begins when it is asked.
            async with hosts.setdefault(host, asyncio.Semaphore(PER_HOST)), places:
                async with asyncio.timeout(self._part_seconds):
                    self._said[number] = await self._probe(session, part, location)
        except TimeoutError:
            self._said[number] = _Said(Answer.FAILED, detail=f"no answer in {self._part_seconds:g} s")
        except Exception as error:  # noqa: BLE001 - whatever fails here is this store's, and no other's
            told = part.store.hide_secrets(f"{type(error).__name__}: {error}")
            self._said[number] = _Said(Answer.FAILED, detail=told.splitlines()[0])

    async def _probe(self, session: aiohttp.ClientSession, part: _Part, location: str) -> _Said:
        known = part.known
        if known is None:
            return _Said(Answer.CHANGED, version="never captured", detail="it is new in feeds.yaml")
        if not (known.etag or known.last_modified):
            return _Said(Answer.UNTOLD, detail="the last answer had no ETag and no Last-Modified")
        if location.lower().startswith(WEB):
            if (part.supplement or part.store).resolved_mapping().pages:
                return _Said(Answer.UNTOLD, detail="a feed of many pages has no validator of the whole")
            return await self._probe_http(session, part, known, location)
        look = _object_etag if location.lower().startswith(OBJECT_STORES) else _file_etag
        etag = await _in_thread(f"probe {part.store.id} {part.name}", lambda: look(location, self._policy))
        return _judged(known, Validators(etag))

    async def _probe_http(
        self, session: aiohttp.ClientSession, part: _Part, known: Validators, location: str
    ) -> _Said:
        headers = {"User-Agent": self._user_agent, "Accept": "*/*", "Accept-Encoding": "gzip"}
        own = (part.supplement or part.store).headers
        headers |= {name: value.get_secret_value() for name, value in own.items()}
        if known.etag:
            headers["If-None-Match"] = known.etag
        if known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        async with await guarded_get(session, location, self._policy, headers=headers) as response:
            check_status(response, public_location_for(part.store, self._day, part.supplement))
            if response.status == 304:
                return _Said(Answer.UNCHANGED)
            # The body is not read: a server that ignores conditions still tells by its headers.
            response.close()
            return _judged(known, _validators(response.headers))


def _validators(headers: Mapping[str, str]) -> Validators:
    return Validators(headers.get("ETag"), headers.get("Last-Modified"))


def _judged(known: Validators, now: Validators) -> _Said:
    for before, after in ((known.etag, now.etag), (known.last_modified, now.last_modified)):
        if before and after:
            return _Said(Answer.UNCHANGED) if before == after else _Said(Answer.CHANGED, version=after)
    return _Said(Answer.UNTOLD, detail="the answer has no ETag and no Last-Modified to compare")


async def _in_thread(name: str, look: Callable[[], _T]) -> _T:
    """`look()` in a thread of its own, which neither the loop nor the process waits for when it hangs.

    Raises:
        TransientError: a thread of that name is still looking since an earlier time.
    """
    if any(thread.name == name for thread in threading.enumerate()):
        raise TransientError("an earlier look at it has not ended yet: its drive or object store hangs")
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: Exception | None) -> None:
        if not done.done():
            if error is None:
                done.set_result(result)  # type: ignore[arg-type]
            else:
                done.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = look()
        except Exception as caught:  # noqa: BLE001 - raised again where it is awaited
            error = caught
        # The loop is closed where nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return await done


def _file_etag(location: str, policy: AddressPolicy) -> str:
    return file_etag(os.stat(resolve_file_url(location, policy)))


def _object_etag(location: str, _: AddressPolicy) -> str | None:
    try:
        fs, path = fsspec.core.url_to_fs(location)
        fs.invalidate_cache()
        info: dict[str, Any] = fs.info(path)
    except Exception as error:  # noqa: BLE001 - every fsspec backend raises its own kind
        raise TransientError(f"the object cannot be looked at ({type(error).__name__})") from None
    return object_etag(info)
