"""One decode worker as its parent sees it: started when needed, replaced when it dies."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from fashion_pipeline.embeddings.arena import Arena
from fashion_pipeline.embeddings.worker import ITEM, LENGTH, WorkerSettings
from fashion_pipeline.errors import PermanentError

logger = logging.getLogger(__name__)

_START_SECONDS = 60.0  # Python and Pillow start in 0.1 s; a loaded machine and cold files take far longer
_KILLS = 2  # an image that ends two workers, each time alone in it, is given up

_KEPT_VARIABLES = frozenset({"PATH", "HOME", "LANG", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "VIRTUAL_ENV"})
_KEPT_PREFIXES = ("PYTHON", "LC_", "LD_", "DYLD_")


@dataclass(frozen=True)
class Payload:
    """An image's encoded bytes."""

    sha256: str
    data: bytes


@dataclass(frozen=True)
class Decoded:
    """An image's pixels in a slot of the arena and its own (width, height), or why there are none."""

    sha256: str
    slot: int | None
    size: tuple[int, int] | None = None
    error: str | None = None
    detail: str = ""


class WorkerStartError(PermanentError):
    """Decode workers do not start on this machine."""


class _KilledAtStartError(WorkerStartError):
    pass


class _WorkerDied(Exception):  # noqa: N818 - handled here, by trying again
    pass


@dataclass
class DecodeWorker:
    """A worker process; used from one thread. `seconds` is what it decoded, `peak` its memory in bytes."""

    settings: WorkerSettings
    arena: Arena
    timeout: float
    seconds: float = 0.0
    peak: int = 0
    deaths: int = 0
    _process: "subprocess.Popen[bytes] | None" = None
    _log: IO[bytes] | None = None
    _closed: threading.Event = field(default_factory=threading.Event)

    def decode(self, payloads: Sequence[Payload]) -> list[Decoded]:
        """Decode a chunk. When the worker dies on it, its images are tried again one by one.

        Raises:
            WorkerStartError: no worker comes up.
        """
        try:
            return self._exchange(payloads)
        except _WorkerDied:
            results: list[Decoded] = []
            for payload in payloads:
                results.extend(self._alone(payload))
            return results

    def close(self) -> None:
        """End the worker; a thread that waits for its answer gets none. May be called from any thread."""
        self._closed.set()
        process = self._process
        if process is not None:
            process.kill()

    def release(self) -> None:
        """Wait for the process and free its pipes; called by the thread that used it."""
        self.close()
        self._discard()

    def _alone(self, payload: Payload) -> list[Decoded]:
        reason = ""
        for _ in range(_KILLS):
            try:
                return self._exchange([payload])
            except _WorkerDied as death:
                reason = str(death)
        detail = f"the decode worker ended {_KILLS} times on this image alone ({reason})"
        return [Decoded(payload.sha256, None, None, "decode_crashed", detail)]

    def _exchange(self, payloads: Sequence[Payload]) -> list[Decoded]:
        process = self._process or self._start()
        slots = self.arena.take(len(payloads))
        try:
            with self._deadline(process, self.timeout * len(payloads)):
                self._write(process, payloads, slots)
                answer = _read_message(process)
        except (OSError, EOFError, ValueError) as error:
            process.kill()
            code = process.wait()
            self._discard()
            self.deaths += 1
            # Nobody writes into them any more.
            self.arena.give(slots)
            raise _WorkerDied(f"exit status {code}") from error
        self.seconds += float(answer["seconds"])
        self.peak = max(self.peak, int(answer["peak"]))
        decoded = []
        for payload, slot, (first, second) in zip(payloads, slots, answer["results"], strict=True):
            if isinstance(first, str):
                self.arena.give([slot])
                decoded.append(Decoded(payload.sha256, None, None, first, second))
            else:
                decoded.append(Decoded(payload.sha256, slot, (first, second)))
        return decoded

    def _write(
        self, process: "subprocess.Popen[bytes]", payloads: Sequence[Payload], slots: Sequence[int]
    ) -> None:
        assert process.stdin is not None
        process.stdin.write(LENGTH.pack(len(payloads)))
        for payload, slot in zip(payloads, slots, strict=True):
            process.stdin.write(ITEM.pack(slot, len(payload.data)))
            process.stdin.write(payload.data)
        process.stdin.flush()

    def _start(self) -> "subprocess.Popen[bytes]":
        try:
            return self._launch()
        except _KilledAtStartError as error:
            # By a person, or for want of memory: nothing that the next has to meet.
            logger.warning("%s; another is started", error)
            self.deaths += 1
            return self._launch()

    def _launch(self) -> "subprocess.Popen[bytes]":
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        if self._closed.is_set():
            raise WorkerStartError("the decode workers were stopped")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the worker
        # -P keeps the working directory off the path, where any file may bear a library's name.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", "fashion_pipeline.embeddings.worker", self.settings.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment() | {"PYTHONPATH": path},
            pass_fds=(self.arena.fd,),
        )
        self._process = process
        if self._closed.is_set():  # closed between the two lines above
            process.kill()
        began = time.monotonic()
        try:
            with self._deadline(process, _START_SECONDS):
                _read_message(process)
        except (OSError, EOFError) as error:
            killed = process.wait() == -signal.SIGKILL and time.monotonic() < began + _START_SECONDS
            self._log.seek(0)
            said = self._log.read()[-2000:].decode(errors="replace").strip()
            self._discard()
            reason = _KilledAtStartError if killed else WorkerStartError
            raise reason(
                f"a decode worker did not start ({sys.executable}, exit status {process.returncode}): "
                f"{said or 'it said nothing'}"
            ) from error
        return process

    @contextlib.contextmanager
    def _deadline(self, process: "subprocess.Popen[bytes]", seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _discard(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):  # what was not flushed has no reader
                        stream.close()
        if self._log is not None:
            self._log.close()
            self._log = None


def _environment() -> dict[str, str]:
    """What Python needs to start, and no password: a worker opens files that strangers made."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }


def _read(process: "subprocess.Popen[bytes]", size: int) -> bytes:
    assert process.stdout is not None
    data = process.stdout.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _read_message(process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    (length,) = LENGTH.unpack(_read(process, LENGTH.size))
    message: dict[str, Any] = json.loads(_read(process, length))
    return message
