"""A server that misbehaves in every way that the fetcher has to survive, and what has to come of it."""

import asyncio
import gzip
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp.abc import AbstractResolver, ResolveResult

from fashion_pipeline_tests.images.samples import HEIC, HTML, SVG, drawing, encoded, jpeg, png_header

Behaviour = Callable[["Request"], Awaitable[None]]
FETCHED = "fetched"
PERMANENT = "failed_permanent"
TRANSIENT = "failed_transient"
MAX_BYTES = 100_000


@dataclass
class Request:
    """One request as the server sees it."""

    host: str
    path: str
    headers: dict[str, str]
    writer: asyncio.StreamWriter
    number: int
    at: float = field(default_factory=time.monotonic)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Some reason"]
        headers = {"content_length": str(len(body)), **headers}
        lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items() if value]
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        self.writer.transport.abort()


class Everywhere(AbstractResolver):
    """Every name is this machine, except those that do not exist."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host.startswith("unknown"):
            raise OSError(socket.EAI_NONAME, "Name or service not known")
        address = "10.1.2.3" if host.startswith("private") else "127.0.0.1"
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        pass


@dataclass
class Server:
    """A raw HTTP server; what each path does is given by `behaviours`, the path's first part."""

    behaviours: dict[str, Behaviour]
    port: int = 0
    connections: int = 0
    seen: list[Request] = field(default_factory=list)
    open_now: Counter[str] = field(default_factory=Counter)
    most_open: Counter[str] = field(default_factory=Counter)

    def url(self, path: str, host: str | None = None) -> str:
        return f"http://{host or path.replace('_', '-') + '.test'}:{self.port}/{path}"

    def times(self, host: str) -> list[float]:
        return [request.at for request in self.seen if request.host == host]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.readexactly(1)
        if first == b"\x16":  # a TLS handshake
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        path = head[0].split(" ")[1]
        host = headers["host"].partition(":")[0]
        number = sum(request.path == path and request.host == host for request in self.seen)
        request = Request(host, path, headers, writer, number)
        self.seen.append(request)
        self.open_now[host] += 1
        self.most_open[host] = max(self.most_open[host], self.open_now[host])
        try:
            await self.behaviours[path.split("/")[1].partition("?")[0]](request)
        finally:
            self.open_now[host] -= 1
        return headers.get("connection") != "close" and not writer.is_closing()


@asynccontextmanager
async def serving(behaviours: dict[str, Behaviour]) -> AsyncIterator[Server]:
    server = Server(behaviours)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(server._serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # closed transports go in the loop's next turns


def says(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    async def behave(request: Request) -> None:
        await request.answer(status, body, **headers)

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The first request gets the first behaviour, later ones the next, the last one for ever."""

    async def behave(request: Request) -> None:
        await behaviours[min(request.number, len(behaviours) - 1)](request)

    return behave


def leads(place: str) -> Behaviour:
    async def behave(request: Request) -> None:
        await request.answer(302, location=place.replace("HERE", f"http://{request.headers['host']}"))

    return behave


async def slow_drip(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    for byte in jpeg():
        await request.send(bytes([byte]))
        await asyncio.sleep(0.1)


async def stall_before(request: Request) -> None:
    await asyncio.sleep(60)


async def stall_inside(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + jpeg()[:100])
    await asyncio.sleep(60)


async def reset_inside(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + jpeg()[:100])
    await asyncio.sleep(0.05)
    request.reset()


async def reset_before(request: Request) -> None:
    request.reset()


async def close_before(request: Request) -> None:
    request.writer.close()


async def length_too_long(request: Request) -> None:
    await request.answer(200, jpeg(), content_length="5000")
    request.writer.close()


async def chunk_cut(request: Request) -> None:
    await request.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + jpeg()[:100] + b"\r\n"
    )
    request.writer.close()


async def no_length(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + jpeg())
    request.writer.close()


async def endless(request: Request) -> None:
    await request.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + jpeg())
    with suppress(ConnectionError):
        while True:
            await request.send(b"\0" * 10_000)


async def not_http(request: Request) -> None:
    await request.send(b"220 mail.example.com ESMTP\r\n")
    request.writer.close()


async def huge_header(request: Request) -> None:
    with suppress(ConnectionError):
        await request.send(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 200_000 + b"\r\n\r\n")


async def odd_headers(request: Request) -> None:
    lines = b"ETag: \xff\xfe\r\nLast-Modified: " + b"x" * 2_000 + b"\r\nRetry-After: \xb2\r\n"
    length = str(len(jpeg())).encode()
    await request.send(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n" + lines + b"\r\n" + jpeg())


async def redirect_bytes(request: Request) -> None:
    await request.send(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /\xff?token=\xff\r\n\r\n")


GZIP_BOMB = gzip.compress(b"\xff\xd8\xff" + b"\0" * 50_000_000)
GOOD = says(200, jpeg())
FRAMES = [drawing(seed=seed) for seed in (0, 70)]

# What the server does, whether and how the picture ends up, under which class of failure.
OUTCOMES: tuple[tuple[str, Behaviour, str, str | None], ...] = (
    ("good", GOOD, FETCHED, None),
    ("wrong_type", says(200, jpeg(1), content_type="text/html"), FETCHED, None),
    ("cmyk_jpeg", says(200, encoded(drawing("CMYK"), "JPEG")), FETCHED, None),
    (
        "animated_gif",
        says(200, encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:])),
        FETCHED,
        None,
    ),
    ("no_length", no_length, FETCHED, None),
    ("gzip_encoded", says(200, gzip.compress(jpeg(2)), content_encoding="gzip"), FETCHED, None),
    ("odd_headers", odd_headers, FETCHED, None),
    ("redirect", leads("/good"), FETCHED, None),
    ("redirect_2", leads("HERE/redirect"), FETCHED, None),
    ("redirect_3", leads("redirect_2"), FETCHED, None),
    ("flapping_503", in_turn(says(503), GOOD), FETCHED, None),
    ("reset_once", in_turn(reset_before, GOOD), FETCHED, None),
    ("cut_once", in_turn(length_too_long, GOOD), FETCHED, None),
    ("limited_once_for_1_s", in_turn(says(429, retry_after="1"), GOOD), FETCHED, None),
    ("limited_once", in_turn(says(429), GOOD), FETCHED, None),
    ("shopify_430_once", in_turn(says(430, retry_after="0"), GOOD), FETCHED, None),
    ("limited_always", says(429, retry_after="0"), TRANSIENT, "rate_limited"),
    ("limited_for_an_hour", says(503, retry_after="3600"), TRANSIENT, "rate_limited"),
    ("slow_drip", slow_drip, TRANSIENT, "timeout"),
    ("stall_before", stall_before, TRANSIENT, "stalled"),
    ("stall_inside", stall_inside, TRANSIENT, "stalled"),
    ("reset_before", reset_before, TRANSIENT, "connection"),
    ("close_before", close_before, TRANSIENT, "connection"),
    ("reset_inside", reset_inside, TRANSIENT, "incomplete_body"),
    ("length_too_long", length_too_long, TRANSIENT, "incomplete_body"),
    (
        "length_too_short",
        says(200, jpeg(), content_length="400", connection="close"),
        TRANSIENT,
        "bad_response",
    ),
    ("chunk_cut", chunk_cut, TRANSIENT, "incomplete_body"),
    (
        "gzip_cut",
        says(200, gzip.compress(jpeg())[:-20], content_encoding="gzip"),
        TRANSIENT,
        "incomplete_body",
    ),
    ("truncated_jpeg", says(200, jpeg()[:-60]), TRANSIENT, "truncated"),
    ("not_http", not_http, TRANSIENT, "bad_response"),
    ("huge_header", huge_header, TRANSIENT, "bad_response"),
    ("server_error", says(500, HTML), TRANSIENT, "http_500"),
    ("forbidden", says(403, HTML), TRANSIENT, "http_403"),
    ("unasked_304", says(304, content_length=""), TRANSIENT, "http_304"),
    ("not_found", says(404, HTML), PERMANENT, "http_404"),
    ("gone", says(410), PERMANENT, "http_410"),
    ("html_with_200", says(200, HTML, content_type="image/jpeg"), PERMANENT, "not_an_image"),
    ("svg", says(200, SVG, content_type="image/svg+xml"), PERMANENT, "unsupported_format"),
    ("heic", says(200, HEIC), PERMANENT, "unsupported_format"),
    ("empty", says(200), PERMANENT, "empty"),
    ("no_content", says(204, content_length=""), PERMANENT, "empty"),
    ("gzip_bomb", says(200, GZIP_BOMB, content_encoding="gzip"), PERMANENT, "too_large"),
    (
        "large_announced",
        says(200, jpeg(), content_length="200000", connection="close"),
        PERMANENT,
        "too_large",
    ),
    ("endless", endless, PERMANENT, "too_large"),
    ("brotli", says(200, jpeg(), content_encoding="br"), PERMANENT, "unsupported_encoding"),
    ("bomb_png", says(200, png_header(100_000, 100_000)), PERMANENT, "too_many_pixels"),
    ("redirect_4", leads("/redirect_3"), PERMANENT, "bad_redirect"),
    ("redirect_loop", leads("/redirect_loop"), PERMANENT, "bad_redirect"),
    ("redirect_nowhere", leads(""), PERMANENT, "bad_redirect"),
    ("redirect_metadata", leads("http://169.254.169.254/latest/meta-data/"), PERMANENT, "forbidden_address"),
    ("redirect_loopback", leads("http://127.0.0.1/"), PERMANENT, "forbidden_address"),
    ("redirect_private_name", leads("http://private.test/"), PERMANENT, "forbidden_address"),
    ("redirect_file", leads("file:///etc/passwd"), PERMANENT, "forbidden_address"),
    ("redirect_bytes", redirect_bytes, PERMANENT, "forbidden_address"),
    ("redirect_port", leads("http://8.8.8.8:22/"), PERMANENT, "forbidden_address"),
    ("redirect_userinfo", leads("http://a:b@8.8.8.8/"), PERMANENT, "forbidden_address"),
)


#: What each of `OUTCOMES` does, in the words of the documentation.
MEANINGS = {
    "good": "answers with a JPEG",
    "wrong_type": "calls a JPEG `text/html`",
    "cmyk_jpeg": "sends a CMYK JPEG",
    "animated_gif": "sends an animated GIF",
    "no_length": "names no length and closes at the end",
    "gzip_encoded": "compresses unasked",
    "odd_headers": "sends headers with bytes that are no text, or far too long",
    "redirect": "redirects once",
    "redirect_2": "redirects twice",
    "redirect_3": "redirects three times",
    "flapping_503": "answers 503, then a picture",
    "reset_once": "resets the first connection",
    "cut_once": "cuts the first answer short",
    "limited_once_for_1_s": "answers 429 with `Retry-After: 1`, then a picture",
    "limited_once": "answers 429 without `Retry-After`, then a picture",
    "shopify_430_once": "answers 430, then a picture",
    "limited_always": "answers 429 for ever",
    "limited_for_an_hour": "answers 503 with `Retry-After: 3600`",
    "slow_drip": "sends a byte at a time",
    "stall_before": "accepts and never answers",
    "stall_inside": "stops in the middle of the body",
    "reset_before": "resets before an answer",
    "close_before": "closes before an answer",
    "reset_inside": "resets in the middle of the body",
    "length_too_long": "announces more bytes than it sends",
    "length_too_short": "announces fewer bytes than it sends",
    "chunk_cut": "ends a chunked body without its last chunk",
    "gzip_cut": "sends compressed data without its end",
    "truncated_jpeg": "sends a JPEG without its end",
    "not_http": "speaks another protocol",
    "huge_header": "sends a header of 200 kB",
    "server_error": "answers 500",
    "forbidden": "answers 403",
    "unasked_304": "answers 304 to a request without a condition",
    "not_found": "answers 404",
    "gone": "answers 410",
    "html_with_200": "sends an HTML page as `image/jpeg` with status 200",
    "svg": "sends an SVG",
    "heic": "sends a HEIC",
    "empty": "sends 0 bytes with status 200",
    "no_content": "answers 204",
    "gzip_bomb": "sends 50 kB that inflate to 50 MB",
    "large_announced": "announces more bytes than allowed",
    "endless": "never stops sending",
    "brotli": "compresses as nobody asked for",
    "bomb_png": "sends a PNG of 100,000 x 100,000 pixels in 57 bytes",
    "redirect_4": "redirects four times",
    "redirect_loop": "redirects to itself",
    "redirect_nowhere": "redirects without a place",
    "redirect_metadata": "redirects to a cloud's metadata service",
    "redirect_loopback": "redirects to loopback",
    "redirect_private_name": "redirects to a name with a private address",
    "redirect_file": "redirects to `file:///etc/passwd`",
    "redirect_bytes": "redirects to bytes that are no text",
    "redirect_port": "redirects to port 22 of a public address",
    "redirect_userinfo": "redirects to a URL with a password",
    "nobody_listens": "is not there: nobody listens on the port",
    "unknown_name": "has a name without an address",
    "no_tls": "answers a TLS handshake with plain text",
    "private_name": "has a name with a private address",
    "no_url": "stands in the feed as `about:error`",
    "glued": "stands in the feed as two URLs glued together",
}

#: What goes wrong before a server is reached: status and class of failure.
UNREACHED = {
    "nobody_listens": (TRANSIENT, "connection"),
    "unknown_name": (TRANSIENT, "dns"),
    "no_tls": (TRANSIENT, "tls"),
    "private_name": (PERMANENT, "forbidden_address"),
    "no_url": (PERMANENT, "forbidden_address"),
    "glued": (PERMANENT, "forbidden_address"),
}


def expected() -> dict[str, tuple[str, str | None]]:
    """What has to come of each: status and class of failure."""
    return {name: (status, error) for name, _, status, error in OUTCOMES} | UNREACHED


def outcomes_table() -> list[str]:
    """The same as the rows of a Markdown table."""
    asked_again = {FETCHED: "", TRANSIENT: "yes", PERMANENT: "no"}
    return [
        f"| {MEANINGS[name]} | {'fetched' if error is None else f'`{error}`'} | {asked_again[status]} |"
        for name, (status, error) in expected().items()
    ]
