"""A decode worker: `python -m fashion_pipeline.embeddings.worker <settings as JSON>`.

It is started as a plain process and not through `multiprocessing`, whose spawn imports the parent's main
module again: a second of `dagster` in every worker. It reads requests from stdin, answers on stdout, and
ends when stdin does, so that no worker outlives its parent.

A request is a frame per image: its length (uint32) and its bytes, after the number of images (uint32).
An answer is a JSON frame (uint32 length): per image null or [class, detail], the seconds used and the
worker's peak memory; then the pixels of the images that decoded, in order.
"""

import importlib
import json
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import IO

from fashion_pipeline.embeddings.decode import DecodeOptions, ImageDecodeError
from fashion_pipeline.embeddings.spec import Preprocessing

Decode = Callable[[bytes, Preprocessing, DecodeOptions], bytes]
LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker is told at its start. `decode` is `module:function`; `memory_limit` is in bytes."""

    preprocessing: Preprocessing
    options: DecodeOptions
    decode: str
    memory_limit: int | None

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
    _send(answers, {"ready": True})
    while header := requests.read(LENGTH.size):
        (count,) = LENGTH.unpack(header)
        payloads = [requests.read(LENGTH.unpack(requests.read(LENGTH.size))[0]) for _ in range(count)]
        started = time.perf_counter()
        errors: list[tuple[str, str] | None] = []
        images: list[bytes] = []
        for payload in payloads:
            try:
                pixels = decode(payload, settings.preprocessing, settings.options)
                if len(pixels) != settings.image_bytes:
                    raise ImageDecodeError("decode_failed", f"decoded to {len(pixels)} bytes")
                images.append(pixels)
                errors.append(None)
            except ImageDecodeError as error:
                errors.append((error.slug, error.detail[:300]))
            except MemoryError:
                errors.append(("decode_memory", "decoding needs more memory than a worker may use"))
            except Exception as error:  # noqa: BLE001 - one bad image costs one image, whatever Pillow raised
                errors.append(("decode_failed", f"{type(error).__name__}: {error}"[:300]))
        seconds = time.perf_counter() - started
        _send(answers, {"errors": errors, "seconds": seconds, "peak": peak_memory()}, images)


def _send(stream: IO[bytes], message: dict[str, object], images: list[bytes] | None = None) -> None:
    header = json.dumps(message).encode()
    stream.write(LENGTH.pack(len(header)) + header)
    stream.writelines(images or [])
    stream.flush()


def _limit_memory(limit: int | None) -> None:
    if limit is None:
        return
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
    _limit_memory(settings.memory_limit)
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
