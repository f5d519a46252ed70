"""A small web server of the tests' own: it serves what it is told and keeps what it is sent."""

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Web:
    """Pages by path, each with its ETag; what was asked; what was posted."""

    address: str = ""
    pages: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], int]] = field(default_factory=list)
    posted: list[dict[str, Any]] = field(default_factory=list)
    #: Answered to a POST: to all, or to one that holds such a text.
    status: int = 200
    statuses: dict[str, int] = field(default_factory=dict)
    #: How often something was posted, whatever was answered.
    posts: int = 0
    #: Seconds before each answer to a GET.
    delay: float = 0.0
    #: GETs that are answered 503 before the others.
    failures: int = 0
    honours_conditions: bool = True
    #: Paths of which a request is never answered, and of which the headers come byte by byte without an end.
    hangs: set[str] = field(default_factory=set)
    trickles: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving() -> Iterator[Web]:
    """A server on loopback for as long as the block lasts."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path in web.hangs or self.path in web.trickles:
                self.close_connection = True
                self._misbehave()
                return
            if web.delay:
                web.gate.wait(web.delay)
            body, etag = web.pages.get(self.path, (b"", ""))
            same = web.honours_conditions and etag and self.headers.get("If-None-Match") == etag
            if web.failures:
                web.failures -= 1
                web.asked.append((self.path, dict(self.headers), 503))
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            status = 404 if self.path not in web.pages else 304 if same else 200
            web.asked.append((self.path, dict(self.headers), status))
            self.send_response(status)
            if etag:
                self.send_header("ETag", etag)
            self.send_header("Content-Type", "text/csv; charset=utf-8")
            self.send_header("Content-Length", "0" if status != 200 else str(len(body)))
            self.end_headers()
            if status == 200:
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.close_connection = True
            if self.path in web.hangs:
                self._misbehave()
            else:
                self.send_error(501)

        def _misbehave(self) -> None:
            web.asked.append((self.path, dict(self.headers), 0))
            if self.path in web.hangs:
                web.gate.wait()
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            with contextlib.suppress(ConnectionError):
                while not web.gate.wait(0.02):
                    self.wfile.write(b"x")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            web.posts += 1
            if self.path in web.hangs or self.path in web.trickles:
                self.close_connection = True
                self._misbehave()
                return
            told = body.decode()
            status = next((code for text, code in web.statuses.items() if text in told), web.status)
            if status < 300:
                web.posted.append(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
