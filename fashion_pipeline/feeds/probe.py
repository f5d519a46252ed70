"""Asking a store whether its feed changed, without fetching it: one conditional request, headers only."""

import asyncio
import datetime as dt
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp
import fsspec

from fashion_pipeline.errors import FashionPipelineError, TransientError
from fashion_pipeline.feeds.config import StoreConfig, location_for
from fashion_pipeline.feeds.mapping import load_mapping
from fashion_pipeline.feeds.transfer import Validators, check_status
from fashion_pipeline.feeds.transport import OBJECT_STORES
from fashion_pipeline.netguard import AddressPolicy, guarded_connector, guarded_get, resolve_file_url

#: Requests under way at once, over all stores and to one host: many stores may lie on one platform.
CONCURRENCY, PER_HOST = 32, 4
#: One store, seconds: who does not send headers in this time is asked at the next tick.
STORE_SECONDS = 10.0


class Answer(StrEnum):
    """What a store says of its feed."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    UNTOLD = "untold"  # no validators, or many pages: only fetching it would tell
    FAILED = "failed"
    UNASKED = "unasked"  # the time was over


@dataclass(frozen=True)
class Probe:
    """One store, its answer, and the validator that tells this content from others."""

    store_id: str
    answer: Answer
    version: str = ""
    detail: str = ""


def probe_feeds(
    stores: Sequence[tuple[StoreConfig, Validators]],
    day: dt.date,
    *,
    policy: AddressPolicy,
    seconds: float,
    user_agent: str,
    concurrency: int = CONCURRENCY,
) -> list[Probe]:
    """Ask all `stores` at once, at most `concurrency` at a time, for at most `seconds` in all.

    No answer of one store holds up another's. Must not be called inside a running event loop.
    """
    return asyncio.run(_probe_all(stores, day, policy, seconds, user_agent, concurrency))


async def _probe_all(
    stores: Sequence[tuple[StoreConfig, Validators]],
    day: dt.date,
    policy: AddressPolicy,
    seconds: float,
    user_agent: str,
    concurrency: int,
) -> list[Probe]:
    places = asyncio.Semaphore(concurrency)
    timeout = aiohttp.ClientTimeout(total=STORE_SECONDS)
    async with aiohttp.ClientSession(
        connector=guarded_connector(policy, limit=concurrency, limit_per_host=PER_HOST),
        timeout=timeout,
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:

        async def one(store: StoreConfig, known: Validators) -> Probe:
            async with places:
                try:
                    return await asyncio.wait_for(
                        _probe(session, store, known, day, policy, user_agent), STORE_SECONDS
                    )
                except TimeoutError:
                    return Probe(store.id, Answer.FAILED, detail=f"no answer in {STORE_SECONDS:.0f} s")
                except (FashionPipelineError, aiohttp.ClientError, OSError) as error:
                    said = store.hide_secrets(f"{type(error).__name__}: {error}")
                    return Probe(store.id, Answer.FAILED, detail=said.splitlines()[0])

        tasks = {asyncio.create_task(one(store, known)): store.id for store, known in stores}
        if not tasks:
            return []
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return [
            Probe(store_id, Answer.UNASKED) if task in late else task.result()
            for task, store_id in tasks.items()
        ]


async def _probe(
    session: aiohttp.ClientSession,
    store: StoreConfig,
    known: Validators,
    day: dt.date,
    policy: AddressPolicy,
    user_agent: str,
) -> Probe:
    location = location_for(store, day)
    if not (known.etag or known.last_modified):
        return Probe(store.id, Answer.UNTOLD, detail="the last answer had no ETag and no Last-Modified")
    if location.lower().startswith(("http://", "https://")):
        if load_mapping(store.format, store.mapping).pages:
            return Probe(store.id, Answer.UNTOLD, detail="a feed of many pages has no validator of the whole")
        return await _probe_http(session, store, known, location, policy, user_agent)
    look = _object_etag if location.lower().startswith(OBJECT_STORES) else _file_etag
    etag = await asyncio.to_thread(look, location, policy)
    return _judged(store.id, known, Validators(etag))


async def _probe_http(
    session: aiohttp.ClientSession,
    store: StoreConfig,
    known: Validators,
    location: str,
    policy: AddressPolicy,
    user_agent: str,
) -> Probe:
    headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "gzip"}
    headers |= {name: value.get_secret_value() for name, value in store.headers.items()}
    if known.etag:
        headers["If-None-Match"] = known.etag
    if known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    async with await guarded_get(session, location, policy, headers=headers) as response:
        check_status(response, store.public_location)
        if response.status == 304:
            return Probe(store.id, Answer.UNCHANGED)
        # The body is not read: a server that ignores conditions still tells by its headers.
        response.close()
        return _judged(store.id, known, _validators(response.headers))


def _validators(headers: Mapping[str, str]) -> Validators:
    return Validators(headers.get("ETag"), headers.get("Last-Modified"))


def _judged(store_id: str, known: Validators, now: Validators) -> Probe:
    for before, after in ((known.etag, now.etag), (known.last_modified, now.last_modified)):
        if before and after:
            if before == after:
                return Probe(store_id, Answer.UNCHANGED)
            return Probe(store_id, Answer.CHANGED, version=after)
    return Probe(store_id, Answer.UNTOLD, detail="the answer has no ETag and no Last-Modified to compare")


def _file_etag(location: str, policy: AddressPolicy) -> str:
    stat = os.stat(resolve_file_url(location, policy))
    return f'"{stat.st_size}-{stat.st_mtime_ns}"'


def _object_etag(location: str, _: AddressPolicy) -> str | None:
    fs, path = fsspec.core.url_to_fs(location)
    fs.invalidate_cache()
    try:
        info: dict[str, Any] = fs.info(path)
    except Exception as error:  # noqa: BLE001 - every fsspec backend raises its own kind
        raise TransientError(f"the object cannot be looked at ({type(error).__name__})") from None
    return str(info.get("ETag") or info.get("etag") or info.get("md5Hash") or "") or None
