import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fashion_pipeline.ids import sha256_bytes
from fashion_pipeline.images.fetcher import ImageFetcher
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.images.types import ERRORS, FetchReport, ImageRequest, ImageResult, ImageStatus
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline.storage import DataLocation
from fashion_pipeline_tests.images.misbehaving import (
    GOOD,
    MAX_BYTES,
    OUTCOMES,
    Behaviour,
    Everywhere,
    Request,
    Server,
    expected,
    in_turn,
    leads,
    says,
    serving,
)
from fashion_pipeline_tests.images.samples import REAL, jpeg

LIMITS = FetchLimits(
    per_host_rate=None,
    obey_robots=False,
    connect_timeout=1.0,
    read_timeout=0.6,
    timeout=1.2,
    max_bytes=MAX_BYTES,
    tries=2,
    retry_delay=0.05,
)


class World:
    """A server, a store and a fetcher that may ask that server under every `.test` name it needs."""

    def __init__(self, server: Server, folder: Path, hosts: Iterable[str]) -> None:
        self.server = server
        self.data = DataLocation(str(folder))
        self.store = ImageStore(self.data)
        self.policy = AddressPolicy(frozenset(hosts), (folder / "pictures",))
        self.results: dict[str, ImageResult] = {}

    async def fetch(self, requests: Iterable[ImageRequest], limits: FetchLimits = LIMITS) -> FetchReport:
        self.results = {}

        def on_result(result: ImageResult) -> None:
            assert result.key not in self.results
            self.results[result.key] = result

        fetcher = ImageFetcher(self.policy, self.store, limits, lookup=Everywhere())
        report = await fetcher.fetch(requests, on_result)
        assert report.requested == report.fetched + report.not_modified + sum(report.failed.values())
        assert report.requested == len(self.results)
        return report

    def outcomes(self) -> dict[str, str]:
        return {key: result.error or str(result.status) for key, result in self.results.items()}


@asynccontextmanager
async def world(folder: Path, behaviours: dict[str, Behaviour], *hosts: str) -> AsyncIterator[World]:
    async with serving(behaviours) as server:
        names = [f"{name.replace('_', '-')}.test" for name in behaviours]
        yield World(server, folder, [*names, *hosts])


def ask(server: Server, path: str, host: str | None = None, **known: str | int) -> ImageRequest:
    return ImageRequest(path, server.url(path, host), "store", **known)  # type: ignore[arg-type]


async def test_every_misbehaviour_has_its_outcome(tmp_path: Path) -> None:
    """The whole table in one run: no failure harms another request."""
    behaviours = {name: behaviour for name, behaviour, _, _ in OUTCOMES}
    hosts = ("nobody.test", "unknown.test", "no-tls.test")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with world(tmp_path, behaviours, *hosts) as it:
            requests = [ask(it.server, name) for name in behaviours]
            requests += [
                ImageRequest("nobody_listens", f"http://nobody.test:{closed.getsockname()[1]}/a.jpg", "s"),
                ImageRequest("unknown_name", "http://unknown.test/a.jpg", "s"),
                ImageRequest("no_tls", f"https://no-tls.test:{it.server.port}/good", "s"),
                ImageRequest("private_name", "http://private.test/a.jpg", "s"),
                ImageRequest("no_url", "about:error", "s"),
                ImageRequest("glued", "http://[http://a.com/a.jpg", "s"),
            ]
            report = await it.fetch(requests, replace(LIMITS, read_timeout=0.8, timeout=1.5))
    outcomes = expected()
    assert {key: (str(result.status), result.error) for key, result in it.results.items()} == outcomes
    assert report.failed == {
        error: sum(error == known for _, known in outcomes.values()) for error in report.failed
    }
    assert report.reused == report.fetched - sum(result.stored for result in it.results.values())
    kept = {result.sha256 for result in it.results.values() if result.sha256}
    assert {Path(entry.key).name for entry in it.data.list("images")} == kept
    assert it.results["limited_for_an_hour"].retry_after == 3600
    assert it.results["cmyk_jpeg"].format == "jpeg"
    for result in it.results.values():
        assert (result.error is None) == (result.sha256 is not None)
        assert result.error is None or result.error in ERRORS or result.error.startswith("http_")
        assert "a:b@" not in f"{result.detail}"
        assert str(result).encode()
    assert (it.results["odd_headers"].etag, it.results["odd_headers"].last_modified) == (None, None)


async def test_known_bytes_cost_a_conditional_request(tmp_path: Path) -> None:
    async def conditional(request: Request) -> None:
        known = request.headers.get("if-none-match") == '"one"' or "if-modified-since" in request.headers
        if known:
            await request.answer(304, content_length="", etag='"one"')
        else:
            await request.answer(200, jpeg(), etag='"one"', last_modified="Mon, 02 Nov 2026 00:00:00 GMT")

    async with world(tmp_path, {"picture": conditional, "moved": leads("/picture")}) as it:
        await it.fetch([ask(it.server, "picture")])
        first = it.results["picture"]
        assert (first.etag, first.last_modified) == ('"one"', "Mon, 02 Nov 2026 00:00:00 GMT")
        assert (first.stored, first.size, first.http_status) == (True, len(jpeg()), 200)
        sha256 = str(first.sha256)
        for path in ("picture", "moved"):
            for known in ({"etag": '"one"'}, {"last_modified": str(first.last_modified)}):
                report = await it.fetch([ask(it.server, path, sha256=sha256, **known)])
                assert report.not_modified == 1
                assert it.results[path].sha256 == sha256
                assert it.results[path].http_status == 304
        report = await it.fetch([ask(it.server, "picture", sha256=sha256, etag='"old"')])
        assert (report.fetched, report.reused, it.results["picture"].stored) == (1, 1, False)
        it.data.delete(it.store.key(sha256))
        report = await it.fetch([ask(it.server, "picture", sha256=sha256, etag='"one"')])
        assert (report.fetched, report.reused) == (1, 0)
        assert "if-none-match" not in it.server.seen[-1].headers


async def test_what_is_sent(tmp_path: Path) -> None:
    async with world(tmp_path, {"good": GOOD}) as it:
        await it.fetch([ask(it.server, "good")], replace(LIMITS, user_agent="shop-bot/2 (+mailto:x@y.z)"))
        headers = it.server.seen[0].headers
    assert headers["user-agent"] == "shop-bot/2 (+mailto:x@y.z)"
    assert headers["accept-encoding"] == "identity"
    assert "cookie" not in headers


async def test_a_url_that_failed_before_is_asked_once(tmp_path: Path) -> None:
    async with world(tmp_path, {"broken": says(500), "other": says(500)}) as it:
        report = await it.fetch([ask(it.server, "broken", attempts=3), ask(it.server, "other")])
        assert len(it.server.times("broken.test")) == 1
        assert len(it.server.times("other.test")) == 2
        assert report.retries == 1


async def test_file_urls(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture = folder / "a b.jpg"
    picture.write_bytes(jpeg())
    (folder / "huge.jpg").write_bytes(jpeg() + b"\0" * MAX_BYTES)
    (folder / "page.jpg").write_bytes(b"<html>")
    (folder / "link.jpg").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.jpg")
    os.utime(picture, ns=(10**18, 10**18))
    url = picture.as_uri()
    async with world(tmp_path, {}) as it:
        names = ("missing.jpg", "huge.jpg", "page.jpg", "link.jpg", "pipe.jpg", "")
        requests = [ImageRequest(name, (folder / name).as_uri(), "s") for name in names]
        await it.fetch(
            [ImageRequest("query", url + "?v=2", "s"), ImageRequest("path", str(picture), "s"), *requests]
        )
        assert it.outcomes() == {
            "query": "fetched",
            "path": "fetched",
            "missing.jpg": "file_not_found",
            "huge.jpg": "too_large",
            "page.jpg": "not_an_image",
            "link.jpg": "forbidden_address",
            "pipe.jpg": "file_not_found",
            "": "file_not_found",
        }
        first = it.results["query"]
        known = ImageRequest("known", url + "?v=3", "s", etag=first.etag, sha256=first.sha256)
        report = await it.fetch([known])
        assert (report.not_modified, it.results["known"].etag) == (1, first.etag)
        assert (it.results["known"].http_status, it.results["known"].sha256) == (None, first.sha256)
        # Another picture behind the same URL: of the same size, then with the same time.
        other = bytearray(jpeg())
        other[-10] ^= 1
        for content, changed in ((bytes(other), 10**18 + 1), (jpeg(seed=9000) + b"\0", 10**18)):
            picture.write_bytes(content)
            os.utime(picture, ns=(changed, changed))
            report = await it.fetch([known])
            assert (report.fetched, it.results["known"].sha256) == (1, sha256_bytes(content))
            assert it.results["known"].etag != first.etag


async def test_a_host_is_asked_at_its_pace(tmp_path: Path) -> None:
    async def slow(request: Request) -> None:
        await asyncio.sleep(0.05)
        await request.answer(200, jpeg())

    async with world(tmp_path, {"slow": slow}, "a.test", "b.test") as it:
        urls = [it.server.url(f"slow/{index}", host) for index in range(8) for host in ("a.test", "b.test")]
        requests = [ImageRequest(url, url, "s") for url in urls]
        report = await it.fetch(requests, replace(LIMITS, per_host_rate=20.0))
        for host in ("a.test", "b.test"):
            times = it.server.times(host)
            assert times[-1] - times[0] >= 7 / 20 * 0.9
        assert report.seconds < 3
        it.server.most_open.clear()
        await it.fetch(requests, replace(LIMITS, per_host_concurrency=2))
        assert it.server.most_open == {"a.test": 2, "b.test": 2}
        it.server.most_open.clear()
        await it.fetch(requests, replace(LIMITS, concurrency=1))
        assert it.server.most_open == {"a.test": 1, "b.test": 1}
        assert {timing.host for timing in report.slowest} == {"a.test", "b.test"}
        assert all(timing.requests == 8 and timing.mean_seconds > 0.04 for timing in report.slowest)


async def test_retry_after_pauses_the_host_and_nobody_else(tmp_path: Path) -> None:
    asked = 0

    async def limited_once(request: Request) -> None:
        nonlocal asked
        asked += 1
        await (says(429, retry_after="1") if asked == 1 else GOOD)(request)

    async with world(tmp_path, {"limited": limited_once, "good": GOOD}) as it:
        limited = [
            ImageRequest(f"l{n}", it.server.url(f"limited?{n}", "limited.test"), "s") for n in range(6)
        ]
        good = [ImageRequest(f"g{n}", it.server.url(f"good?{n}", "good.test"), "s") for n in range(20)]
        limits = replace(LIMITS, per_host_concurrency=1, concurrency=4, tries=3)
        await it.fetch([*limited, *good], limits)
        assert set(it.outcomes().values()) == {"fetched"}
        times = it.server.times("limited.test")
        assert times[1] - times[0] >= 0.9
        assert max(it.server.times("good.test")) < times[1]


async def test_the_breaker_gives_a_host_back(tmp_path: Path) -> None:
    failures = 0

    async def flapping(request: Request) -> None:
        nonlocal failures
        failures += 1
        if failures <= 3:
            await request.answer(502)
        else:
            await request.answer(200, jpeg())

    async with world(tmp_path, {"flapping": flapping}) as it:
        requests = [
            ImageRequest(f"{n}", it.server.url(f"flapping?{n}", "flapping.test"), "s") for n in range(10)
        ]
        limits = replace(
            LIMITS, tries=4, breaker_failures=2, breaker_pause=0.3, breaker_trips=2, per_host_concurrency=1
        )
        report = await it.fetch(requests, limits)
        assert (report.fetched, report.retries) == (10, 3)
        times = it.server.times("flapping.test")
        assert times[2] - times[1] >= 0.27
        assert times[3] - times[2] >= 0.54
        assert times[-1] - times[3] < 0.5


async def test_a_dead_host_is_left_alone(tmp_path: Path) -> None:
    async with world(tmp_path, {"dead": says(500), "good": GOOD}) as it:
        dead = [ImageRequest(f"d{n}", it.server.url(f"dead?{n}", "dead.test"), "s") for n in range(200)]
        good = [ImageRequest(f"g{n}", it.server.url(f"good?{n}", "good.test"), "s") for n in range(20)]
        limits = replace(
            LIMITS, breaker_failures=3, breaker_pause=0.1, breaker_trips=1, per_host_concurrency=2
        )
        report = await it.fetch([*dead, *good], limits)
        assert report.fetched == 20
        assert set(report.failed) == {"http_500", "host_unavailable"}
        assert report.failed["host_unavailable"] >= 180
        assert len(it.server.times("dead.test")) <= 8
        assert {result.status for result in it.results.values()} == {
            ImageStatus.FETCHED,
            ImageStatus.FAILED_TRANSIENT,
        }


async def test_robots_txt_is_obeyed(tmp_path: Path) -> None:
    rules = (
        b"User-agent: *\nDisallow: /private\nCrawl-delay: 0.3\n\n"
        b"User-agent: fashion-pipeline\nDisallow: /ours\nAllow: /\n"
    )

    async def robots(request: Request) -> None:
        status = {"norules.test": 404, "broken.test": 503}.get(request.host, 200)
        await request.answer(status, rules if status == 200 else b"")

    behaviours = {
        "robots.txt": robots,
        "private": GOOD,
        "public": GOOD,
        "ours": GOOD,
        "away": leads("/private"),
    }
    hosts = ("shop.test", "norules.test", "broken.test", "cdn.test")
    async with world(tmp_path, behaviours, *hosts) as it:
        requests = [
            ImageRequest(f"{host} {path}", it.server.url(path, host), "s")
            for host in hosts
            for path in ("public", "private", "ours", "away")
        ]
        limits = replace(
            LIMITS,
            obey_robots=True,
            user_agent="somebody/1",
            robots_exempt_hosts=frozenset({"cdn.test"}),
            breaker_pause=0.1,
        )
        await it.fetch(requests, limits)
        outcomes = it.outcomes()
        assert outcomes == {
            "shop.test public": "fetched",
            "shop.test private": "robots_disallowed",
            "shop.test ours": "fetched",
            "shop.test away": "robots_disallowed",
            **{f"norules.test {path}": "fetched" for path in ("public", "private", "ours", "away")},
            **{f"broken.test {path}": "robots_unreachable" for path in ("public", "private", "ours", "away")},
            **{f"cdn.test {path}": "fetched" for path in ("public", "private", "ours", "away")},
        }
        asked = [(request.host, request.path) for request in it.server.seen]
        assert asked.count(("shop.test", "/robots.txt")) == 1
        assert ("cdn.test", "/robots.txt") not in asked
        assert not {path for host, path in asked if host == "broken.test"} - {"/robots.txt"}
        it.server.seen.clear()
        more = [ImageRequest(f"{n}", it.server.url(f"public?{n}", "shop.test"), "s") for n in range(4)]
        await it.fetch(more, replace(limits, per_host_concurrency=1))
        times = it.server.times("shop.test")
        assert times[-1] - times[1] >= 3 * 0.3 * 0.9
        await it.fetch([requests[2]], replace(limits, user_agent="fashion-pipeline/0.1 (x)"))
        assert it.outcomes() == {"shop.test ours": "robots_disallowed"}


async def test_requests_are_pulled_as_there_is_room(tmp_path: Path) -> None:
    pulled = 0
    most = 0
    overlapping = 0
    progress: list[tuple[int, int | None]] = []

    async with world(tmp_path, {"good": GOOD}) as it:

        def source() -> Iterable[ImageRequest]:
            nonlocal pulled
            for number in range(300):
                pulled += 1
                yield ImageRequest(f"{number}", it.server.url(f"good?{number}", f"h{number % 3}.test"), "s")

        async def on_result(result: ImageResult) -> None:
            nonlocal most, overlapping
            overlapping += 1
            assert overlapping == 1
            assert result.status is ImageStatus.FETCHED
            it.results[result.key] = result
            most = max(most, pulled - len(it.results))
            await asyncio.sleep(0.001)
            overlapping -= 1

        policy = AddressPolicy(frozenset({"h0.test", "h1.test", "h2.test"}))
        limits = replace(LIMITS, concurrency=4, timeout=30.0)
        fetcher = ImageFetcher(policy, it.store, limits, lookup=Everywhere())
        report = await fetcher.fetch(
            source(), on_result, total=300, progress=lambda done, total: progress.append((done, total))
        )
    assert (report.fetched, report.reused, len(it.results)) == (300, 299, 300)
    assert most <= 8
    assert it.server.connections <= 3 * 4, "connections are kept open for the next request"
    assert progress == [(number + 1, 300) for number in range(300)]


async def test_the_look_ahead_is_bounded_while_a_host_pauses(tmp_path: Path) -> None:
    pulled = 0
    async with world(tmp_path, {"limited": in_turn(says(429, retry_after="1"), GOOD)}) as it:

        def source() -> Iterable[ImageRequest]:
            nonlocal pulled
            for number in range(400):
                pulled += 1
                yield ImageRequest(f"{number}", it.server.url("limited", "limited.test"), "s")

        run = asyncio.create_task(it.fetch(source(), replace(LIMITS, look_ahead=50)))
        await asyncio.sleep(0.6)
        assert 50 <= pulled <= len(it.results) + 51
        assert (await run).fetched == 400


class SlowDisk(ImageStore):
    """A store on a disk that takes so many seconds for a picture; tells how many were written at once."""

    def __init__(self, data: DataLocation, seconds: float) -> None:
        super().__init__(data)
        self.seconds, self.writing, self.most = seconds, 0, 0
        self.guard = threading.Lock()

    def put(self, data: bytes) -> tuple[str, bool]:
        with self.guard:
            self.writing += 1
            self.most = max(self.most, self.writing)
        time.sleep(self.seconds)
        with self.guard:
            self.writing -= 1
        return super().put(data)


@pytest.mark.parametrize(("seconds", "threads", "most"), [(0.0, 8, 1), (0.02, 8, 8), (0.02, 3, 3)])
async def test_threads_are_added_only_where_the_store_is_slow(
    tmp_path: Path, seconds: float, threads: int, most: int
) -> None:
    async def each_its_own(request: Request) -> None:
        await request.answer(200, jpeg() + request.path.encode())

    async with world(tmp_path, {"good": GOOD}) as it:
        it.server.behaviours |= {f"good{number}": each_its_own for number in range(100)}
        it.store = SlowDisk(it.data, seconds)
        requests = [ask(it.server, f"good{number}", "good.test") for number in range(100)]
        limits = replace(LIMITS, threads=threads, per_host_concurrency=32, timeout=30.0)
        report = await it.fetch(requests, limits)
    assert (report.fetched, report.reused) == (100, 0)
    assert it.store.most == most


class Boom(Exception):
    pass


async def test_what_the_caller_raises_ends_the_run(tmp_path: Path) -> None:
    async with world(tmp_path, {"good": GOOD}) as it:
        requests = [ImageRequest(f"{n}", it.server.url(f"good?{n}", "good.test"), "s") for n in range(50)]
        fetcher = ImageFetcher(it.policy, it.store, LIMITS, lookup=Everywhere())

        def on_result(result: ImageResult) -> None:
            raise Boom(result.key)

        with pytest.raises(Boom):
            await fetcher.fetch(requests, on_result)

        def source() -> Iterable[ImageRequest]:
            yield requests[0]
            raise Boom

        with pytest.raises(Boom):
            await fetcher.fetch(source(), lambda result: None)


async def test_a_store_that_cannot_write_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    async with world(tmp_path, {"good": GOOD}) as it:
        monkeypatch.setattr(DataLocation, "write", full)
        with pytest.raises(OSError, match="No space"):
            await it.fetch([ask(it.server, "good")])


async def test_cancelling_ends_the_run_at_once(tmp_path: Path) -> None:
    async def never(request: Request) -> None:
        await asyncio.sleep(60)

    async with world(tmp_path, {"never": never}) as it:
        run = asyncio.create_task(
            it.fetch(
                [ask(it.server, "never")], replace(LIMITS, read_timeout=60, timeout=60, obey_robots=False)
            )
        )
        await asyncio.sleep(0.2)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(run, 2)
        assert it.results == {}


@pytest.mark.skipif(not REAL.is_dir(), reason="the real photos are not beside this checkout")
async def test_a_thousand_real_photos_from_files(tmp_path: Path) -> None:
    paths = sorted((REAL / "photos").glob("*/*.jpg"))
    store = ImageStore(DataLocation(str(tmp_path)))
    fetcher = ImageFetcher(AddressPolicy(file_roots=(REAL,)), store)
    results: list[ImageResult] = []
    report = await fetcher.fetch(
        (ImageRequest(path.name, path.as_uri(), "s") for path in paths), results.append
    )
    assert (report.fetched, report.reused, report.bytes) == (
        1000,
        0,
        sum(path.stat().st_size for path in paths),
    )
    known = [ImageRequest(r.key, r.url, "s", etag=r.etag, sha256=r.sha256) for r in results]
    assert (await fetcher.fetch(known, results.append)).not_modified == 1000
    assert (
        store.read(str(results[0].sha256))
        == Path(paths[[p.name for p in paths].index(results[0].key)]).read_bytes()
    )
