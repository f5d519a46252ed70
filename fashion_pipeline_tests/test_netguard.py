import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from fashion_pipeline.errors import ForbiddenAddressError, SettingsError
from fashion_pipeline.netguard import (
    AddressPolicy,
    RedirectError,
    check_address,
    check_url,
    forbidden_reason,
    guarded_connector,
    guarded_get,
    redact,
    resolve_file_url,
)

CLOSED = AddressPolicy()

# Each is refused before a connection: by its text, or by what its name resolves to.
HOSTILE_URLS = (
    "ftp://example.com/a.jpg",
    "file:///etc/passwd",
    "gopher://127.0.0.1:80/",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "//127.0.0.1/a.jpg",
    "http:127.0.0.1/a.jpg",
    "http:///127.0.0.1",
    "http://",
    "",
    "http://user@127.0.0.1/",
    "http://user:secret@example.com/",
    "http://example.com@127.0.0.1/",
    "http://@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http://127.0.0.1\\.example.com/",
    "http://127.0.0.1#@example.com/",
    "http://127.0.0.1?@example.com/",
    "http://exa\tmple.com/",
    "http://127.0.0.1\n.example.com/",
    " http://127.0.0.1/",
    "http://exa mple.com/",
    "http://a%2ecom/",
    "http://%31%32%37.0.0.1/",
    "http://example..com/",
    f"http://{'a' * 64}.example.com/",
    "http://example.com:22/",
    "http://example.com:6379/",
    "http://example.com:99999/",
    "http://example.com:0/",
    "http://127.0.0.1/",
    "http://127.0.0.1:80/",
    "http://127.0.0.1./",
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://127.0.0.0x1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/",
    "http://100.64.0.1/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://203.0.113.9/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b:1::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://[fec0::1]/",
    "http://[::1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://ℓocalhost/",
    "http://rebind.test/",
    "http://mixed.test/",
    "http://mapped.test/",
    "http://metadata.test/",
    "http://nat64.test/",
)


class Names(AbstractResolver):
    """A resolver that gives each name its answers in turn, the last one for ever."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        known = self.answers.get(host.rstrip(".").lower(), [["127.0.0.1"]])
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in (known.pop(0) if len(known) > 1 else known[0])
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def serving(handler: object) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/{tail:.*}", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "url", [url for url in HOSTILE_URLS if ".test" not in url and "ocalhost" not in url.lower()]
)
def test_hostile_urls_are_refused_by_their_text(url: str) -> None:
    with pytest.raises(ForbiddenAddressError):
        check_url(url, CLOSED)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a b.jpg?v=1",
        "HTTPS://Example.COM:443/a.jpg",
        "http://münchen.example/a.jpg",
        "http://8.8.8.8/",
        "http://[2606:4700:0:0::1]/",
        "http://[::ffff:8.8.8.8]/",
        "http://[64:ff9b::8.8.8.8]/",
        "http://cdn_1.example.com./a.jpg",
    ],
)
def test_public_urls_pass(url: str) -> None:
    assert check_url(url, CLOSED).path


def test_an_allowed_host_matches_by_name_only() -> None:
    policy = AddressPolicy(frozenset({"Shop.Internal", "127.0.0.1", "[::1]", "10.9.0.0/16"}))
    for url in (
        "http://shop.internal:8080/",
        "http://SHOP.internal./",
        "http://127.0.0.1:99/",
        "http://[0::1]:90/",
        "http://10.9.3.4:90/",
    ):
        check_url(url, policy)
    check_address("10.0.0.1", "shop.internal", policy)
    check_address("10.9.0.1", "other.example", policy)
    for address, host in (("127.0.0.1", "evil.example"), ("10.0.0.1", "x.shop.internal")):
        with pytest.raises(ForbiddenAddressError):
            check_address(address, host, policy)
    for url in (
        "http://127.0.0.2:80/",
        "http://10.10.0.1/",
        "http://evil.example:8080/",
        "http://2130706433/",
    ):
        with pytest.raises(ForbiddenAddressError):
            check_url(url, policy)


def test_an_allowed_network_that_is_none_is_named() -> None:
    with pytest.raises(SettingsError, match=r"10\.0\.0\.0/99"):
        AddressPolicy(frozenset({"10.0.0.0/99"}))


async def test_a_name_is_resolved_once_and_every_answer_is_checked() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="ours")

    async with serving(handler) as port:
        names = Names(
            {"ours.test": [["127.0.0.1"], ["10.255.255.1"]], "mixed.test": [["8.8.8.8", "10.0.0.1"]]}
        )
        policy = AddressPolicy(frozenset({"ours.test"}))
        async with aiohttp.ClientSession(connector=guarded_connector(policy, lookup=names)) as session:
            async with await guarded_get(session, f"http://ours.test:{port}/", policy) as response:
                assert await response.text() == "ours"
            assert names.asked == ["ours.test"]
            with pytest.raises(ForbiddenAddressError, match=r"10\.0\.0\.1"):
                await guarded_get(session, "http://mixed.test/", policy)


async def test_the_socket_is_the_last_guard() -> None:
    """A caller that forgets `check_url` still connects to nothing forbidden."""
    async with aiohttp.ClientSession(connector=guarded_connector(CLOSED)) as session:
        for url in ("http://127.0.0.1/", "http://[::1]/", "http://8.8.8.8:22/"):
            with pytest.raises(ForbiddenAddressError):
                await session.get(url)


async def test_redirects_are_checked_hop_by_hop() -> None:
    seen: list[tuple[str, str | None, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        headers = request.headers
        seen.append((request.path, headers.get("X-Api-Key"), headers.get("If-None-Match")))
        here = f"http://{request.host}"
        places = {
            "/relative": "/ok",
            "/one": f"{here}/two",
            "/two": f"{here}/three",
            "/three": f"{here}/ok",
            "/four": f"{here}/one",
            "/loop": f"{here}/loop",
            "/metadata": "http://169.254.169.254/latest",
            "/file": "file:///etc/passwd",
            "/port": "http://127.0.0.2:22/",
            "/elsewhere": f"http://other.test:{request.host.rpartition(':')[2]}/ok",
            "/nowhere": "",
        }
        if request.path in places:
            return web.Response(status=302, headers={"Location": places[request.path]})
        return web.Response(text="ok")

    async with serving(handler) as port:
        policy = AddressPolicy(frozenset({"ours.test", "other.test"}))
        names = Names({})
        async with aiohttp.ClientSession(connector=guarded_connector(policy, lookup=names)) as session:

            async def get(path: str) -> str:
                async with await guarded_get(
                    session,
                    f"http://ours.test:{port}{path}",
                    policy,
                    headers={"X-Api-Key": "k", "If-None-Match": '"e"'},
                ) as response:
                    return await response.text()

            assert await get("/relative") == "ok"
            assert seen[-1] == ("/ok", "k", '"e"')
            assert await get("/one") == "ok"
            assert await get("/elsewhere") == "ok"
            assert seen[-1] == ("/ok", None, '"e"')
            for path in ("/four", "/loop", "/nowhere"):
                with pytest.raises(RedirectError):
                    await get(path)
            for path in ("/metadata", "/file", "/port"):
                with pytest.raises(ForbiddenAddressError):
                    await get(path)


def test_https_never_leads_to_http(monkeypatch: pytest.MonkeyPatch) -> None:
    from fashion_pipeline.netguard import redirect_target

    class Response:
        status = 301
        headers = {"Location": "http://example.com/b.jpg"}  # noqa: RUF012

    with pytest.raises(RedirectError, match="https to http"):
        redirect_target(Response(), "https://example.com/a.jpg", CLOSED)  # type: ignore[arg-type]
    assert redirect_target(Response(), "http://example.com/a.jpg", CLOSED) == "http://example.com/b.jpg"  # type: ignore[arg-type]


PROBE = r"""
import asyncio, json, sys
connected = []
sys.addaudithook(lambda event, args: connected.append(args[1]) if event == "socket.connect" else None)

import aiohttp
from fashion_pipeline.errors import FashionPipelineError
from fashion_pipeline.images.fetcher import ImageFetcher
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.images.types import ImageRequest
from fashion_pipeline.storage import DataLocation
from fashion_pipeline.netguard import AddressPolicy, guarded_connector, guarded_get
from fashion_pipeline_tests.test_netguard import HOSTILE_URLS, Names, serving

NAMES = {
    "rebind.test": [["127.0.0.1"], ["10.0.0.1"]],
    "mixed.test": [["8.8.8.8", "127.0.0.1"]],
    "mapped.test": [["::ffff:127.0.0.1"]],
    "metadata.test": [["169.254.169.254"]],
    "nat64.test": [["64:ff9b::a9fe:a9fe"]],
    "ours.test": [["127.0.0.1"]],
}

async def main():
    from aiohttp import web
    outcomes = {}
    async def handler(request):
        place = HOSTILE_URLS[int(request.path[1:])].replace("\n", "%0A")
        return web.Response(status=302, headers={"Location": place})
    policy = AddressPolicy(frozenset({"ours.test"}))
    timeout = aiohttp.ClientTimeout(total=3)
    async with serving(handler) as port:
        async with aiohttp.ClientSession(connector=guarded_connector(policy, lookup=Names(NAMES))) as session:
            for index, url in enumerate(HOSTILE_URLS):
                for kind, start in (("direct", url), ("redirect", f"http://ours.test:{port}/{index}")):
                    try:
                        await guarded_get(session, start, policy, timeout=timeout)
                        outcomes[f"{kind} {url}"] = "answered"
                    except FashionPipelineError as error:
                        outcomes[f"{kind} {url}"] = type(error).__name__
                    except (aiohttp.ClientError, TimeoutError, OSError) as error:
                        outcomes[f"{kind} {url}"] = type(error).__name__
        asked = [
            ImageRequest(f"{kind} {url}", start, "s")
            for index, url in enumerate(HOSTILE_URLS)
            for kind, start in (("picture", url), ("moved picture", f"http://ours.test:{port}/{index}"))
        ]
        def on_result(result):
            outcomes[result.key] = result.error
        limits = FetchLimits(per_host_rate=None, tries=1, breaker_failures=1000, obey_robots=False)
        fetcher = ImageFetcher(policy, ImageStore(DataLocation(sys.argv[1])), limits, lookup=Names(NAMES))
        await fetcher.fetch(asked, on_result)
    print(json.dumps({"port": port, "connected": connected, "outcomes": outcomes}))

asyncio.run(main())
"""


def test_audit_hook_sees_no_forbidden_connection(tmp_path: Path) -> None:
    """60 and more hostile URLs, asked for and redirected to, as feeds and as pictures: connections are what counts."""
    assert len(HOSTILE_URLS) >= 60
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    result = json.loads(run.stdout)
    own = ["127.0.0.1", result["port"]]
    strangers = [
        address
        for address in result["connected"]
        if address != own
        and (isinstance(address, str) or forbidden_reason(ip_address(address[0])) is not None)
    ]
    assert own in result["connected"]
    assert strangers == []
    direct = {name: outcome for name, outcome in result["outcomes"].items() if name.startswith("direct ")}
    assert set(direct.values()) == {"ForbiddenAddressError"}, direct
    # `http:x` and `http:///x` are relative references (RFC 3986, section 5.2): they lead back to us.
    redirected = {name for name, outcome in result["outcomes"].items() if outcome == "answered"}
    assert redirected <= {"redirect http:127.0.0.1/a.jpg", "redirect http:///127.0.0.1"}
    pictures = {name: outcome for name, outcome in result["outcomes"].items() if name.startswith("picture ")}
    assert len(pictures) == len(HOSTILE_URLS)
    # What has no scheme may be a path; there is none below a folder that may be read.
    assert set(pictures.values()) == {"forbidden_address"}, pictures
    moved = {name: outcome for name, outcome in result["outcomes"].items() if name.startswith("moved ")}
    back = {name for name, outcome in moved.items() if outcome == "http_500"}
    assert back <= {f"moved picture {name.removeprefix('redirect ')}" for name in redirected}
    assert set(moved.values()) <= {"forbidden_address", "bad_redirect", "http_500"}, moved
    assert list(tmp_path.iterdir()) == []


def test_file_urls_stay_below_their_roots(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a b").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("x")
    picture = root / "a b" / "ü?.jpg"
    picture.write_bytes(b"x")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "inside").symlink_to(root / "a b")
    policy = AddressPolicy(file_roots=(root,))
    assert resolve_file_url(picture.as_uri() + "?v=3#f", policy) == picture
    assert resolve_file_url(str(picture), policy) == picture
    assert resolve_file_url(f"file://localhost{root}/inside/x.jpg", policy) == root / "a b" / "x.jpg"
    for url in (
        f"file://{root}/../outside/secret.txt",
        f"file://{root}/%2e%2e/outside/secret.txt",
        f"file://{root}/link/secret.txt",
        f"{root}/link/secret.txt",
        "file:///etc/passwd",
        "/etc/passwd",
        "etc/passwd",
        "file://server/share/a.jpg",
        f"file://{root}/a%00b",
        "",
    ):
        with pytest.raises(ForbiddenAddressError):
            resolve_file_url(url, policy)
    with pytest.raises(ForbiddenAddressError):
        resolve_file_url(str(picture), CLOSED)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "https://u:p@a.com/datafeed/download/apikey/abc/x?token=1&b=2&X-Amz-Signature=q&sig=2#f",
            "https://a.com/datafeed/download/apikey/***/x?token=***&b=2&X-Amz-Signature=***&sig=***",
        ),
        ("https://a.com/jockey/a.jpg?v=1", "https://a.com/jockey/a.jpg?v=1"),
        ("https://a.com/?access_token=s&API-Key=s", "https://a.com/?access_token=***&API-Key=***"),
        ("u:p@a.com/x", "u:a.com/x"),
        ("http://[::1/?token=s", "http://[::1/..."),
        ("http://a.com/\n?q=1", "http://a.com/_?q=1"),
        ("http://a.com/\udcff?q=\udcff", "http://a.com/_?q=_"),
        ("", ""),
    ],
)
def test_redact_leaves_no_secret(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_errors_name_no_secret() -> None:
    for url in (
        "http://user:hunter2@10.0.0.1/?token=hunter2",
        "ftp://a.com/?key=hunter2",
        "http://a.com:22/apikey/hunter2",
    ):
        with pytest.raises(ForbiddenAddressError) as caught:
            check_url(url, CLOSED)
        assert "hunter2" not in str(caught.value)
