"""A decode worker: `python -m fashion_pipeline.embeddings.worker <settings as JSON>`.

It is started as a plain process and not through `multiprocessing`, whose spawn imports the parent's main
module again: a second of `dagster` in every worker. It reads requests from stdin, answers on stdout, and
ends when stdin does, so that no worker outlives its parent.

A request is the number of images (uint32), then for each its slot (uint32), its length (uint32) and its
bytes. The pixels go into the slots of shared memory (`arena.py`). The answer is a JSON frame (uint32
length): per image its width and height or its class of failure and detail, the seconds used and the
worker's peak memory.
"""

import importlib
import json
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import IO

from fashion_pipeline.embeddings.decode import DecodeOptions, ImageDecodeError, Picture
from fashion_pipeline.embeddings.spec import Preprocessing

Decode = Callable[[bytes, Preprocessing, DecodeOptions], Picture]
LENGTH = struct.Struct("<I")
ITEM = struct.Struct("<II")


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker is told at its start.

    `decode` is `module:function`; `memory_limit` is in bytes, besides the `arena_bytes` of shared memory
    behind the inherited descriptor `arena_fd`.
    """

    preprocessing: Preprocessing
    options: DecodeOptions
    decode: str
    memory_limit: int | None
    arena_fd: int
    arena_bytes: int

    def to_json(self) -> str:
        """The settings as one command line argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "WorkerSettings":
        """Read what `to_json` wrote."""
        values = json.loads(text)
        shape = values["preprocessing"]
        for key in ("size", "mean", "std"):
            shape[key] = tuple(shape[key])
        return cls(
            Preprocessing(**shape),
            DecodeOptions(**values["options"]),
            values["decode"],
            values["memory_limit"],
            values["arena_fd"],
            values["arena_bytes"],
        )

    @property
    def image_bytes(self) -> int:
        """Bytes of one decoded image."""
        height, width = self.preprocessing.size
        return height * width * 3


def peak_memory() -> int:
    """Largest resident set of this program so far, in bytes; 0 where the platform does not tell."""
    try:
        # Not getrusage: on Linux its figure starts with what the parent had when it started us.
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def serve(settings: WorkerSettings, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    module, _, name = settings.decode.partition(":")
    decode: Decode = getattr(importlib.import_module(module), name)
    arena = mmap.mmap(settings.arena_fd, settings.arena_bytes)
    _send(answers, {"ready": True})
    while header := requests.read(LENGTH.size):
        (count,) = LENGTH.unpack(header)
        items = []
        for _ in range(count):
            slot, length = ITEM.unpack(requests.read(ITEM.size))
            items.append((slot * settings.image_bytes, requests.read(length)))
        started = time.perf_counter()
        results: list[tuple[object, object]] = []
        for start, payload in items:
            try:
                picture = decode(payload, settings.preprocessing, settings.options)
                if len(picture.pixels) != settings.image_bytes:
                    raise ImageDecodeError("decode_failed", f"decoded to {len(picture.pixels)} bytes")
                arena[start : start + settings.image_bytes] = picture.pixels
                results.append((picture.width, picture.height))
            except ImageDecodeError as error:
                results.append((error.slug, error.detail[:300]))
            except MemoryError:
                results.append(("decode_memory", "decoding needs more memory than a worker may use"))
            except Exception as error:  # noqa: BLE001 - one bad image costs one image, whatever Pillow raised
                results.append(("decode_failed", f"{type(error).__name__}: {error}"[:300]))
        seconds = time.perf_counter() - started
        _send(answers, {"results": results, "seconds": seconds, "peak": peak_memory()})


def _send(stream: IO[bytes], message: dict[str, object]) -> None:
    content = json.dumps(message).encode()
    stream.write(LENGTH.pack(len(content)) + content)
    stream.flush()


def _limit_memory(limit: int) -> None:
    try:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, ValueError, OSError):
        return  # not on this platform; the pixel limit still holds


def _lower_priority() -> None:
    # The encoder is the dearer stage: where both want the processor, it goes first.
    if hasattr(os, "nice"):
        os.nice(5)


def main() -> None:
    """Take stdout for answers and let whatever a library prints there go to stderr."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    settings = WorkerSettings.from_json(sys.argv[1])
    if settings.memory_limit is not None:
        _limit_memory(settings.memory_limit + settings.arena_bytes)
    _lower_priority()
    try:
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the processes are the parallelism
    except ImportError:
        pass
    try:
        serve(settings, sys.stdin.buffer, answers)
    except BrokenPipeError:
        os._exit(0)  # the parent is gone


if __name__ == "__main__":
    main()
