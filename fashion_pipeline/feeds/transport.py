"""Fetching a feed's bytes: http(s) behind the guard, local files, object stores through fsspec.

Bytes stream into the target while their SHA-256 is taken. Every failure is a TransientError or a
PermanentError, and no message holds a secret.
"""

import asyncio
import datetime as dt
import os
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import IO, Any

import aiohttp
import fsspec
from pydantic import SecretStr

from fashion_pipeline.errors import FashionPipelineError, PermanentError, SettingsError, TransientError
from fashion_pipeline.feeds.config import StoreConfig, Supplement, location_for
from fashion_pipeline.feeds.crawl import crawl
from fashion_pipeline.feeds.mapping import PRODUCT_NEEDS, SUPPLEMENT_NEEDS, PageStyle, load_mapping
from fashion_pipeline.feeds.transfer import (
    BLOCK,
    Fetched,
    Request,
    Sink,
    Validators,
    check_status,
    open_session,
    receive,
    retrying,
)
from fashion_pipeline.netguard import AddressPolicy, guarded_get, resolve_file_url

__all__ = ["Fetched", "Validators", "fetch", "fetch_feed"]

#: The largest feed that was heard of is 0.5 GiB.
MAX_BYTES = 4 << 30
#: One try of one request, seconds: 4 GiB at 5 MB/s.
TIMEOUT = 900.0
ATTEMPTS = 4
#: Seconds before the second try; doubles for each further one.
BACKOFF = 2.0
OBJECT_STORES = ("s3://", "gs://", "gcs://", "az://", "abfs://", "abfss://")
USER_AGENT = "fashion-pipeline (product feed reader)"


def fetch(
    location: str,
    *,
    policy: AddressPolicy,
    target: Path,
    headers: Mapping[str, str | SecretStr] | None = None,
    validators: Validators | None = None,
    max_bytes: int = MAX_BYTES,
    timeout: float = TIMEOUT,
    pages: PageStyle | None = None,
    requests_per_second: float = 1.0,
    attempts: int = ATTEMPTS,
    backoff: float = BACKOFF,
    user_agent: str = USER_AGENT,
) -> Fetched:
    """Fetch the bytes at `location` into `target`, which is whole when this returns and may be anything else.

    `location` is an http(s) URL, a path or `file:` URL below the policy's roots, or an object store's URL.
    `pages` crawls an http(s) location page by page into one zip. `timeout` is in seconds and counts
    for one try of one request. Must not be called inside a running event loop.

    Raises:
        TransientError: the other side failed in a way that passes, also after several tries.
        PermanentError: no such feed, no permission, another address than allowed, larger than `max_bytes`.
    """
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in (headers or {}).items()
    }
    request = Request(
        location=location,
        policy=policy,
        headers={"User-Agent": user_agent, "Accept": "*/*", **plain, "Accept-Encoding": "gzip"},
        validators=validators or Validators(),
        max_bytes=max_bytes,
        timeout=timeout,
        attempts=attempts,
        backoff=backoff,
        requests_per_second=requests_per_second,
    )
    if location.lower().startswith(("http://", "https://")):
        return crawl(request, target, pages) if pages else asyncio.run(_fetch_http(request, target))
    if location.lower().startswith(OBJECT_STORES):
        return _fetch_object(request, target)
    return _fetch_file(request, target)


def fetch_feed(
    store: StoreConfig,
    day: dt.date,
    *,
    policy: AddressPolicy,
    target: Path,
    validators: Validators | None = None,
    supplement: Supplement | None = None,
    **options: Any,
) -> Fetched:
    """Fetch a store's feed of a day, or one of its supplements, as its configuration says.

    `options` go to `fetch`. No message of an error holds what the store has from the environment.

    Raises:
        TransientError, PermanentError: as `fetch`, with the store's id.
    """
    part = supplement or store
    needs = SUPPLEMENT_NEEDS if supplement else PRODUCT_NEEDS
    try:
        return fetch(
            location_for(part, day),
            policy=policy,
            target=target,
            headers=part.headers,
            validators=validators,
            pages=load_mapping(part.format, part.mapping, needs).pages,
            requests_per_second=store.requests_per_second,
            **options,
        )
    except FashionPipelineError as error:
        what = " (a supplement of the feed; nothing is captured without it)" if supplement else ""
        raise type(error)(f"store {store.id!r}: {store.hide_secrets(str(error))}{what}") from None


async def _fetch_http(request: Request, target: Path) -> Fetched:
    async with open_session(request) as session:
        return await retrying(request, lambda: _get(session, request, request.location, target))


async def _get(session: aiohttp.ClientSession, request: Request, url: str, target: Path) -> Fetched:
    headers = dict(request.headers)
    known = request.validators
    if known.etag:
        headers["If-None-Match"] = known.etag
    if known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    async with await guarded_get(session, url, request.policy, headers=headers) as response:
        check_status(response, request.shown)
        if response.status == 304:
            if not (known.etag or known.last_modified):
                raise PermanentError(
                    f"{request.shown} answers 304 to an unconditional request: ask the store"
                )
            return Fetched(True, 0, "", known.etag, known.last_modified)
        with target.open("wb") as stream:
            sink = Sink(stream, request.max_bytes, request.shown)
            await receive(response, sink, request.shown)
        content_type, charset = _content_type(response.headers.get("Content-Type"))
        return Fetched(
            not_modified=False,
            size=sink.size,
            sha256=sink.sha256,
            etag=response.headers.get("ETag"),
            last_modified=response.headers.get("Last-Modified"),
            content_type=content_type,
            charset=charset,
        )


def _content_type(header: str | None) -> tuple[str | None, str | None]:
    if not header:
        return None, None
    message = Message()
    message["Content-Type"] = header
    charset = message.get_content_charset()
    return message.get_content_type(), charset


def _fetch_file(request: Request, target: Path) -> Fetched:
    path = resolve_file_url(request.location, request.policy)
    try:
        with path.open("rb") as source:
            stat = os.fstat(source.fileno())
            etag = file_etag(stat)
            if request.validators.etag == etag:
                return Fetched(True, 0, "", etag)
            size, sha256 = _copy(source, target, request)
    except FileNotFoundError:
        raise PermanentError(f"no file {path}: put the feed there, or check `location`") from None
    except (IsADirectoryError, NotADirectoryError):
        raise PermanentError(f"{path} is a folder, not a feed: name the file in `location`") from None
    except PermissionError:
        raise PermanentError(f"{path} may not be read by this user: change its permissions") from None
    except OSError as error:
        raise TransientError(f"{path}: cannot be read ({error.strerror}): try again") from error
    if size != stat.st_size:
        raise TransientError(f"{path} changed while it was read: try again when it is written")
    return Fetched(False, size, sha256, etag)


def _fetch_object(request: Request, target: Path) -> Fetched:
    shown = request.shown
    try:
        fs, path = fsspec.core.url_to_fs(request.location)
        fs.invalidate_cache()
        info = fs.info(path)
        etag = object_etag(info)
        if etag and etag == request.validators.etag:
            return Fetched(True, 0, "", etag)
        with fs.open(path, "rb") as source:
            size, sha256 = _copy(source, target, request)
    except FashionPipelineError:
        raise
    except ImportError as error:
        raise SettingsError(f"{shown} needs a package that is not installed: {error}") from None
    except FileNotFoundError:
        raise PermanentError(f"no object {shown}: check `location`, or ask the store") from None
    except PermissionError:
        raise PermanentError(f"{shown} may not be read: check the credentials in the environment") from None
    except Exception as error:  # noqa: BLE001 - every fsspec backend raises its own kind
        raise TransientError(f"{shown}: cannot be read ({type(error).__name__}): try again later") from None
    if info.get("size") is not None and size != int(info["size"]):
        raise TransientError(f"{shown}: {size:,} of {int(info['size']):,} bytes came: try again")
    return Fetched(False, size, sha256, etag)


def file_etag(stat: os.stat_result) -> str:
    """What tells a local file from its earlier and later contents, in the form of an ETag."""
    return f'"{stat.st_size}-{stat.st_mtime_ns}"'


def object_etag(info: Mapping[str, Any]) -> str | None:
    """The same of an object, from what its store says of it (S3, Azure, Google), where it says anything."""
    return str(info.get("ETag") or info.get("etag") or info.get("md5Hash") or "") or None


def _copy(source: IO[bytes], target: Path, request: Request) -> tuple[int, str]:
    with target.open("wb") as stream:
        sink = Sink(stream, request.max_bytes, request.shown)
        while block := source.read(BLOCK):
            sink.write(block)
    return sink.size, sink.sha256
