"""The stores' web server as the crasher sees it: always at one address, killed and started again."""

import socket
import subprocess
import sys
from pathlib import Path

from fashion_pipeline_tests.conftest import ROOT


class WebServer:
    """The process of `server` over a folder."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self._folder: Path | None = None
        self._process: subprocess.Popen[str] | None = None

    def serve(self, folder: Path) -> None:
        """Serve a folder from a fresh process, which remembers nothing."""
        self.kill()
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Have it run again."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fashion_pipeline_tests.crash.server", str(self._folder), str(self.port)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        """SIGKILL; nothing where it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None


def free_port() -> int:
    """A port on loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
