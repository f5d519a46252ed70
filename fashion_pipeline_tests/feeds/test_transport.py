"""Fetching: against a real server on loopback that misbehaves, local files and an object store in memory."""

import asyncio
import datetime as dt
import gzip
import hashlib
import json
import threading
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from fashion_pipeline.errors import FeedError, ForbiddenAddressError, PermanentError, TransientError
from fashion_pipeline.feeds.config import load_feeds
from fashion_pipeline.feeds.crawl import page_url
from fashion_pipeline.feeds.transport import Fetched, Validators, fetch, fetch_feed
from fashion_pipeline.netguard import AddressPolicy, RedirectError
from fashion_pipeline_tests.feeds.conftest import read, store
from fashion_pipeline_tests.object_store import S3Bucket

BODY = b"id,title\n1,One\n" * 1000
SHA = hashlib.sha256(BODY).hexdigest()
LOOPBACK = AddressPolicy(allowed_hosts=frozenset({"127.0.0.1"}))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Shop:
    """A server in a thread whose handlers a test sets by path; it notes every request."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.requests: list[web.Request] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __call__(self, path: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.handlers[path] = handler
            return handler

        return register

    def answers(self, path: str, *answers: tuple[int, bytes, dict[str, str]]) -> None:
        """Give these one after another; the last one for ever."""
        left = list(answers)

        @self(path)
        async def give(_: web.Request) -> web.Response:
            status, body, headers = left.pop(0) if len(left) > 1 else left[0]
            return web.Response(status=status, body=body, headers=headers)

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        handler = self.handlers.get(request.path)
        return await handler(request) if handler else web.Response(status=404)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def start() -> web.ServerRunner:
            runner = web.ServerRunner(web.Server(self._dispatch))
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            return runner

        runner = self._loop.run_until_complete(start())
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def __enter__(self) -> "Shop":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as running:
        yield running


def _fetch(location: str, target: Path, **options: Any) -> Fetched:
    return fetch(
        location, **{"policy": LOOPBACK, "target": target, "backoff": 0.01, "timeout": 10.0, **options}
    )


def test_bytes_hash_and_what_the_server_says(shop: Shop, tmp_path: Path) -> None:
    shop.answers(
        "/feed",
        (200, BODY, {"Content-Type": "text/csv; charset=ISO-8859-1", "ETag": '"v1"', "Last-Modified": "x"}),
    )
    target = tmp_path / "feed"
    fetched = _fetch(f"{shop.url}/feed", target, headers={"X-Api-Key": SecretStr("s3cret")})
    assert target.read_bytes() == BODY
    assert fetched == Fetched(False, len(BODY), SHA, '"v1"', "x", "text/csv", "iso-8859-1")
    assert shop.requests[0].headers["X-Api-Key"] == "s3cret"
    assert "If-None-Match" not in shop.requests[0].headers


def test_not_modified(shop: Shop, tmp_path: Path) -> None:
    shop.answers("/feed", (304, b"", {}))
    target = tmp_path / "feed"
    fetched = _fetch(
        f"{shop.url}/feed", target, validators=Validators('"v1"', "Mon, 02 Nov 2026 06:00:00 GMT")
    )
    assert fetched.not_modified
    assert fetched.validators == Validators('"v1"', "Mon, 02 Nov 2026 06:00:00 GMT")
    assert not target.exists()
    headers = shop.requests[0].headers
    assert headers["If-None-Match"] == '"v1"'
    assert headers["If-Modified-Since"] == "Mon, 02 Nov 2026 06:00:00 GMT"


def test_not_modified_without_asking(shop: Shop, tmp_path: Path) -> None:
    shop.answers("/feed", (304, b"", {}))
    with pytest.raises(PermanentError, match="304"):
        _fetch(f"{shop.url}/feed", tmp_path / "feed")


@pytest.mark.parametrize("status", [500, 503, 429, 430, 408])
def test_a_failure_that_passes(shop: Shop, tmp_path: Path, status: int) -> None:
    shop.answers("/feed", (status, b"", {}), (status, b"", {"Retry-After": "0"}), (200, BODY, {}))
    assert _fetch(f"{shop.url}/feed", tmp_path / "feed").sha256 == SHA
    assert len(shop.requests) == 3


def test_a_failure_that_does_not_pass(shop: Shop, tmp_path: Path) -> None:
    shop.answers("/feed", (503, b"", {}))
    with pytest.raises(
        TransientError, match=r"/feed\?token=\*\*\* answers 503 Service Unavailable, 3 times: try again later"
    ):
        _fetch(f"{shop.url}/feed?token=s3cret", tmp_path / "feed", attempts=3)
    assert len(shop.requests) == 3


@pytest.mark.parametrize(
    ("status", "words"), [(404, "no feed"), (410, "no feed"), (401, "credentials"), (418, "418")]
)
def test_a_permanent_failure_is_tried_once(shop: Shop, tmp_path: Path, status: int, words: str) -> None:
    shop.answers("/feed", (status, b"", {}))
    with pytest.raises(PermanentError, match=words):
        _fetch(f"{shop.url}/feed", tmp_path / "feed")
    assert len(shop.requests) == 1


def test_retry_after_is_honoured(shop: Shop, tmp_path: Path) -> None:
    times: list[float] = []

    @shop("/feed")
    async def feed(_: web.Request) -> web.Response:
        times.append(asyncio.get_running_loop().time())
        return (
            web.Response(status=429, headers={"Retry-After": "1"})
            if len(times) == 1
            else web.Response(body=BODY)
        )

    _fetch(f"{shop.url}/feed", tmp_path / "feed")
    assert times[1] - times[0] >= 0.95


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_wait_that_is_too_long_is_left_to_a_later_run(shop: Shop, tmp_path: Path, form: str) -> None:
    later = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    shop.answers("/feed", (429, b"", {"Retry-After": "3600" if form == "seconds" else later}))
    with pytest.raises(TransientError, match=r"asks to wait 3[56]"):
        _fetch(f"{shop.url}/feed", tmp_path / "feed")
    assert len(shop.requests) == 1


def _cut(announced: int, sent: bytes, headers: dict[str, str]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(announced), **headers})
        await response.prepare(request)
        await response.write(sent)
        assert request.transport is not None
        request.transport.close()
        return response

    return handler


def test_fewer_bytes_than_announced_is_a_failure_that_passes(shop: Shop, tmp_path: Path) -> None:
    shop.handlers["/feed"] = _cut(len(BODY) + 500, BODY, {})
    with pytest.raises(TransientError, match="the transfer was cut before its end, 2 times"):
        _fetch(f"{shop.url}/feed", tmp_path / "feed", attempts=2)


def test_a_chunked_body_that_is_cut(shop: Shop, tmp_path: Path) -> None:
    @shop("/feed")
    async def feed(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(BODY)
        assert request.transport is not None
        request.transport.close()
        return response

    with pytest.raises(TransientError, match="cut"):
        _fetch(f"{shop.url}/feed", tmp_path / "feed", attempts=2)


def test_silence_is_a_failure_that_passes(shop: Shop, tmp_path: Path) -> None:
    @shop("/feed")
    async def feed(_: web.Request) -> web.Response:
        await asyncio.sleep(1)
        return web.Response(body=BODY)

    with pytest.raises(TransientError, match="no answer in time"):
        _fetch(f"{shop.url}/feed", tmp_path / "feed", attempts=1, timeout=0.2)


def test_nobody_listens(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="the connection failed"):
        _fetch("http://127.0.0.1:1/feed", tmp_path / "feed", attempts=2)


@pytest.mark.parametrize(
    "data",
    [gzip.compress(BODY), gzip.compress(BODY[:99]) + gzip.compress(BODY[99:]), BODY],
    ids=["one member", "two members", "plain"],
)
def test_content_encoding_gzip_is_stored_expanded(shop: Shop, tmp_path: Path, data: bytes) -> None:
    shop.answers("/feed", (200, data, {"Content-Encoding": "gzip"}))
    target = tmp_path / "feed"
    assert _fetch(f"{shop.url}/feed", target).sha256 == SHA
    assert target.read_bytes() == BODY


def test_a_gz_file_is_stored_as_it_is(shop: Shop, tmp_path: Path) -> None:
    data = gzip.compress(BODY)
    shop.answers("/feed.gz", (200, data, {"Content-Type": "application/gzip"}))
    target = tmp_path / "feed"
    assert _fetch(f"{shop.url}/feed.gz", target).size == len(data)
    assert target.read_bytes() == data


def test_broken_transfer_compression(shop: Shop, tmp_path: Path) -> None:
    packed = gzip.compress(BODY)
    shop.answers("/cut", (200, packed[:-12], {"Content-Encoding": "gzip"}))
    with pytest.raises(TransientError, match="gzip ends early"):
        _fetch(f"{shop.url}/cut", tmp_path / "feed", attempts=1)
    shop.answers("/bad", (200, packed[:12] + b"\xff" * 40, {"Content-Encoding": "gzip"}))
    with pytest.raises(TransientError, match="gzip"):
        _fetch(f"{shop.url}/bad", tmp_path / "feed", attempts=1)
    shop.answers("/br", (200, b"xx", {"Content-Encoding": "br"}))
    with pytest.raises(PermanentError, match="'br'"):
        _fetch(f"{shop.url}/br", tmp_path / "feed")


def test_too_large_also_when_it_expands(shop: Shop, tmp_path: Path) -> None:
    shop.answers("/feed", (200, BODY, {}))
    with pytest.raises(FeedError, match="larger than 1,000 bytes"):
        _fetch(f"{shop.url}/feed", tmp_path / "feed", max_bytes=1000)
    shop.answers("/bomb", (200, gzip.compress(bytes(50 << 20)), {"Content-Encoding": "gzip"}))
    with pytest.raises(FeedError, match="larger than"):
        _fetch(f"{shop.url}/bomb", tmp_path / "feed", max_bytes=1 << 20)
    assert (tmp_path / "feed").stat().st_size <= 1 << 20


def test_redirects_are_followed_within_the_policy(shop: Shop, tmp_path: Path) -> None:
    shop.answers("/a", (302, b"", {"Location": "/b"}))
    shop.answers("/b", (301, b"", {"Location": "/feed"}))
    shop.answers("/feed", (200, BODY, {}))
    assert _fetch(f"{shop.url}/a", tmp_path / "feed").sha256 == SHA
    shop.answers("/round", (302, b"", {"Location": "/round"}))
    with pytest.raises(RedirectError, match="more than 3"):
        _fetch(f"{shop.url}/round", tmp_path / "feed")


@pytest.mark.parametrize(
    "place", ["http://127.0.0.2/x", "http://localhost/x", "http://[::1]/x", "http://169.254.169.254/"]
)
def test_redirects_into_private_networks_are_refused(shop: Shop, tmp_path: Path, place: str) -> None:
    shop.answers("/feed", (302, b"", {"Location": place}))
    with pytest.raises(ForbiddenAddressError):
        _fetch(f"{shop.url}/feed", tmp_path / "feed")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/feed", "http://localhost/feed", "https://10.0.0.1/", "http://[::ffff:127.0.0.1]/"],
)
def test_loopback_is_refused_unless_allowed(tmp_path: Path, url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        _fetch(url, tmp_path / "feed", policy=AddressPolicy())


def test_shopify_pages(shop: Shop, tmp_path: Path) -> None:
    def page(*ids: int) -> bytes:
        return json.dumps(
            {"products": [{"id": n, "title": f"P{n}", "variants": [{"id": n, "price": "1"}]} for n in ids]}
        ).encode()

    pages = {"1": page(1, 2), "2": page(2, 3), "3": page()}
    failed: list[str] = []

    @shop("/products.json")
    async def products(request: web.Request) -> web.Response:
        number = request.query["page"]
        if number == "2" and not failed:
            failed.append(number)
            return web.Response(status=430, headers={"Retry-After": "0"})
        return web.Response(body=pages[number], content_type="application/json")

    digests = set()
    for name in ("one", "two"):
        target = tmp_path / name
        fetched = _fetch(f"{shop.url}/products.json", target, pages="shopify", requests_per_second=50)
        assert (fetched.pages, fetched.content_type, fetched.size) == (
            2,
            "application/zip",
            target.stat().st_size,
        )
        digests.add(fetched.sha256)
    assert len(digests) == 1
    with zipfile.ZipFile(tmp_path / "one") as archive:
        assert archive.namelist() == ["page-00001.json", "page-00002.json"]
        assert archive.read("page-00002.json") == pages["2"]
    assert [request.query_string for request in shop.requests][:4] == [
        "limit=250&page=1", "limit=250&page=2", "limit=250&page=2", "limit=250&page=3",
    ]  # fmt: skip
    result = read(tmp_path / "one", store("shopify_json", location=f"{shop.url}/products.json"))
    assert result.column("external_id") == ["1", "2", "3"]
    assert result.report.context == {"repeated on a later page": 1}


def test_shopify_crawls_at_the_shops_pace(shop: Shop, tmp_path: Path) -> None:
    times: list[float] = []

    @shop("/products.json")
    async def products(request: web.Request) -> web.Response:
        times.append(asyncio.get_running_loop().time())
        ids = [int(request.query["page"])] if len(times) < 4 else []
        return web.json_response({"products": [{"id": n} for n in ids]})

    _fetch(f"{shop.url}/products.json", tmp_path / "feed", pages="shopify", requests_per_second=10)
    assert len(times) == 4
    assert all(later - earlier >= 0.09 for earlier, later in pairwise(times))


def test_shopify_servers_without_pages(shop: Shop, tmp_path: Path) -> None:
    small = json.dumps({"products": [{"id": 1}]}).encode()
    shop.answers("/products.json", (200, small, {}))
    assert (
        _fetch(f"{shop.url}/products.json", tmp_path / "a", pages="shopify", requests_per_second=50).pages
        == 1
    )
    full = json.dumps({"products": [{"id": n} for n in range(250)]}).encode()
    shop.answers("/products.json", (200, full, {}))
    with pytest.raises(PermanentError, match="page 2 equals page 1"):
        _fetch(f"{shop.url}/products.json", tmp_path / "a", pages="shopify", requests_per_second=50)


@pytest.mark.parametrize(
    "body", [b"<html>Password</html>", b"[]", b'{"products": 1}', b'{"errors": "x"}', b""]
)
def test_shopify_pages_that_are_none(shop: Shop, tmp_path: Path, body: bytes) -> None:
    shop.answers("/products.json", (200, body, {}))
    with pytest.raises(FeedError, match="page 1 is no JSON with `products`"):
        _fetch(f"{shop.url}/products.json", tmp_path / "a", pages="shopify")


def test_an_empty_shop_is_refused_in_reading(shop: Shop, tmp_path: Path) -> None:
    shop.answers("/products.json", (200, b'{"products": []}', {}))
    _fetch(f"{shop.url}/products.json", tmp_path / "a", pages="shopify")
    with pytest.raises(FeedError, match="0 products"):
        read(tmp_path / "a", store("shopify_json"))


def test_page_url_keeps_the_rest_of_the_query() -> None:
    assert page_url("https://x.example/products.json?page=9&q=a%20b#f", 2) == (
        "https://x.example/products.json?q=a+b&limit=250&page=2"
    )


def test_files(tmp_path: Path) -> None:
    roots = AddressPolicy(file_roots=(tmp_path,))
    source, target = tmp_path / "source.csv", tmp_path / "target"
    source.write_bytes(BODY)
    fetched = _fetch(str(source), target, policy=roots)
    assert (fetched.size, fetched.sha256) == (len(BODY), SHA)
    assert target.read_bytes() == BODY
    again = _fetch(source.as_uri(), target, policy=roots, validators=fetched.validators)
    assert again.not_modified
    source.write_bytes(BODY + b"x")
    assert not _fetch(str(source), target, policy=roots, validators=fetched.validators).not_modified
    for place, words in ((tmp_path / "none.csv", "no file"), (tmp_path, "folder")):
        with pytest.raises(PermanentError, match=words):
            _fetch(str(place), target, policy=roots)
    with pytest.raises(FeedError, match="larger"):
        _fetch(str(source), target, policy=roots, max_bytes=10)


def test_files_outside_of_the_roots(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "outside.csv").write_bytes(BODY)
    (inside / "link.csv").symlink_to(tmp_path / "outside.csv")
    roots = AddressPolicy(file_roots=(inside,))
    for location in (tmp_path / "outside.csv", inside / "link.csv", inside / ".." / "outside.csv"):
        with pytest.raises(ForbiddenAddressError):
            _fetch(str(location), tmp_path / "target", policy=roots)


def test_object_stores(s3_bucket: S3Bucket, tmp_path: Path) -> None:
    s3_bucket.put("feed.csv", BODY)
    fetched = _fetch(s3_bucket.url("feed.csv"), tmp_path / "feed")
    assert fetched.sha256 == SHA
    assert fetched.etag
    again = _fetch(s3_bucket.url("feed.csv"), tmp_path / "feed", validators=fetched.validators)
    assert again.not_modified
    with pytest.raises(PermanentError, match="no object"):
        _fetch(s3_bucket.url("none.csv"), tmp_path / "feed")


def test_fetch_feed_follows_the_configuration_and_hides_secrets(shop: Shop, tmp_path: Path) -> None:
    shop.answers("/keys/s3cret-key/2026-11-02.csv", (200, BODY, {}))
    path = tmp_path / "feeds.yaml"
    path.write_text(
        "first_day: 2026-11-02\nstores:\n  - id: nord\n    format: google_csv\n"
        f'    location: "{shop.url}/keys/${{KEY}}/{{date}}.csv"\n    headers: {{X-Token: "${{TOKEN}}"}}\n'
    )
    [nord] = load_feeds(path, environ={"KEY": "s3cret-key", "TOKEN": "s3cret-token"}).stores
    options: dict[str, Any] = {
        "policy": LOOPBACK,
        "target": tmp_path / "feed",
        "backoff": 0.01,
        "attempts": 2,
    }
    assert fetch_feed(nord, dt.date(2026, 11, 2), **options).sha256 == SHA
    assert shop.requests[0].headers["X-Token"] == "s3cret-token"
    with pytest.raises(
        PermanentError, match=r"store 'nord': .*keys/\$\{KEY\}/2026-11-03.csv answers 404"
    ) as caught:
        fetch_feed(nord, dt.date(2026, 11, 3), **options)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__
