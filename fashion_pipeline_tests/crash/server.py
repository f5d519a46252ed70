"""The stores' web server, a process of its own: feeds, and pictures that come late, cut, or not at all.

`python -m fashion_pipeline_tests.crash.server <folder> <port>` serves what `World.write` put into the folder.
"""

import hashlib
import json
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def serve(folder: Path, port: int) -> None:
    """Serve until the process is killed."""
    behaviours: dict[str, str] = json.loads((folder / "behaviours.json").read_text())
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].lstrip("/")
            name = path.rpartition("/")[2]
            file = folder / path
            if path not in {f"feeds/{name}", f"pictures/{name}"} or not file.is_file():
                self._answer(404)
                return
            asked[path] += 1
            behaviour = behaviours.get(name) if path.startswith("pictures/") else None
            content = file.read_bytes()
            if behaviour == "missing":
                self._answer(404)
            elif behaviour == "no_picture":
                self._answer(200, b"<html>maintenance</html>")
            elif behaviour == "busy_once" and asked[path] == 1:
                self._answer(503, retry="1")
            elif behaviour == "cut_once" and asked[path] == 1:
                self._answer(200, content[: len(content) // 2], length=len(content))
                self.close_connection = True
            else:
                if behaviour == "slow":
                    time.sleep(0.3)
                self._answer(200, content)

        def _answer(
            self, status: int, content: bytes = b"", *, retry: str = "", length: int | None = None
        ) -> None:
            etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            if status == 200 and self.headers.get("If-None-Match") == etag:
                status, content, length = 304, b"", None
            self.send_response(status)
            if status in {200, 304}:
                self.send_header("ETag", etag)
            if retry:
                self.send_header("Retry-After", retry)
            self.send_header("Content-Length", str(len(content) if length is None else length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

    with Server(("127.0.0.1", port), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
