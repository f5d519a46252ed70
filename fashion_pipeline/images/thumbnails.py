"""Small pictures of pictures, decoded in a process of their own."""

import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from fashion_pipeline.images.inspect import InspectLimits

WORKER = Path(__file__).with_name("thumbnail_worker.py")


def thumbnails(
    pictures: Iterable[bytes | None], edge: int, *, max_pixels: int | None = None, timeout: float = 10.0
) -> Iterator[Image.Image | None]:
    """One RGB image within `edge` x `edge` pixels for each picture; None where it does not decode.

    A picture that crashes the decoder, or takes it longer than `timeout` seconds, is a None as well.
    """
    limit = InspectLimits().max_pixels if max_pixels is None else max_pixels
    with _Decoder(edge, limit, timeout) as decoder:
        for data in pictures:
            yield decoder.thumbnail(data) if data else None


class _Decoder:
    """The worker process: started when first needed, and again after a crash."""

    def __init__(self, edge: int, max_pixels: int, timeout: float) -> None:
        # -P: the script's folder has modules named like the standard library's.
        self._command = [sys.executable, "-P", str(WORKER), str(edge), str(max_pixels)]
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def thumbnail(self, data: bytes) -> Image.Image | None:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and script
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        timer = threading.Timer(self._timeout, self._process.kill)
        timer.start()
        try:
            return self._exchange(self._process, data)
        except (OSError, struct.error, ValueError):
            self._stop()
            return None
        finally:
            timer.cancel()

    @staticmethod
    def _exchange(process: subprocess.Popen[bytes], data: bytes) -> Image.Image | None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(struct.pack(">I", len(data)))
        process.stdin.write(data)
        process.stdin.flush()
        width, height = struct.unpack(">HH", process.stdout.read(4))
        if not width:
            return None
        return Image.frombytes("RGB", (width, height), process.stdout.read(width * height * 3))

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        try:
            self._process.communicate()
        except (BrokenPipeError, ValueError):
            self._process.wait()
        self._process = None
