"""A picture server in a process of its own, no two pictures alike.

`python -m fashion_pipeline_tests.benchmarks.picture_server [KIND]` prints its port and serves every loopback
address (127.0.0.1 to 127.0.0.10 are ten hosts) until its standard input ends. `/N.jpg` is picture N. KIND `noise`
takes 20 ms to every answer of 50 KB, which differ in their last bytes; `photos` the same time to pictures of
800 x 1,000 that differ in what they show; `colors` answers at once, with such pictures of about 1 KB.
"""

import asyncio
import sys
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from fashion_pipeline_tests.images.samples import encoded

LATENCY = 0.02
SIZE = 50_000


def noise() -> Callable[[int], bytes]:
    """A JPEG of noise, filled up to `SIZE` less the eight bytes that tell one picture from another."""
    picture = encoded(Image.effect_noise((240, 240), 60).convert("RGB"), "JPEG", quality=80)
    assert len(picture) < SIZE - 8
    filled = picture + bytes(SIZE - 8 - len(picture))
    return lambda number: filled + number.to_bytes(8, "big")


def colors(number: int) -> bytes:
    """Six by six fields of colour, drawn from the number."""
    fields = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    return encoded(Image.fromarray(fields).resize((96, 96), Image.Resampling.NEAREST), "JPEG", quality=80)


class Pictures(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, as little of it as a GET needs."""

    def __init__(self, picture: Callable[[int], bytes], latency: float) -> None:
        self.picture, self.latency = picture, latency

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(self.latency, self.answer, head.split(b" ", 2)[1])

    def answer(self, path: bytes) -> None:
        if self.transport.is_closing():
            return
        if not path.endswith(b".jpg"):
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        number = int(path[1:-4])
        body = self.picture(number)
        head = f'HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\nETag: "{number}"\r\n\r\n'
        self.transport.write(head.encode() + body)


@cache
def photo(number: int) -> bytes:
    """Soft fields of colour with some noise, drawn from the number, 800 x 1,000."""
    generator = np.random.default_rng(number)
    fields = Image.fromarray(generator.integers(0, 256, (6, 5, 3), np.uint8)).resize((800, 1000))
    grain = generator.normal(0, 4, (1000, 800, 1))
    return encoded(Image.fromarray(np.clip(fields + grain, 0, 255).astype(np.uint8)), "JPEG", quality=85)


async def main(kind: str) -> None:
    picture, latency = {
        "noise": (noise(), LATENCY),
        "photos": (photo, LATENCY),
        "colors": (colors, 0.0),
    }[kind]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Pictures(picture, latency), "0.0.0.0", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["noise"]))
