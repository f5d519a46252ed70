"""A picture server in a process of its own: 20 ms to every answer, pictures of 50 KB, no two alike.

`python -m fashion_pipeline_tests.benchmarks.picture_server` prints its port and serves every loopback
address (127.0.0.1 to 127.0.0.10 are ten hosts) until its standard input ends. `/N.jpg` is picture N.
"""

import asyncio
import sys

from PIL import Image

from fashion_pipeline_tests.images.samples import encoded

LATENCY = 0.02
SIZE = 50_000


def body() -> bytes:
    """A JPEG of noise, filled up to `SIZE` less the eight bytes that tell one picture from another."""
    picture = encoded(Image.effect_noise((240, 240), 60).convert("RGB"), "JPEG", quality=80)
    assert len(picture) < SIZE - 8
    return picture + bytes(SIZE - 8 - len(picture))


class Pictures(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as little of it as a GET needs."""

    picture = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(LATENCY, self.answer, head.split(b" ", 2)[1])

    def answer(self, path: bytes) -> None:
        if self.transport.is_closing():
            return
        if not path.endswith(b".jpg"):
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        number = int(path[1:-4])
        head = f'HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {SIZE}\r\nETag: "{number}"\r\n\r\n'
        self.transport.write(head.encode() + self.picture + number.to_bytes(8, "big"))


async def main() -> None:
    Pictures.picture = body()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Pictures, "0.0.0.0", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
