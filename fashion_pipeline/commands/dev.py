"""`fashion-pipeline dev`: the Dagster UI on this data folder."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType

from fashion_pipeline.catalog.migrate import migrate
from fashion_pipeline.commands.pools import run_pools
from fashion_pipeline.home import prepare_home, project_root
from fashion_pipeline.parts import open_database
from fashion_pipeline.settings import PREFIX, Settings

#: `dagster dev` needs about 3 s to stop its processes; a run under way may need longer to be told.
STOP_SECONDS = 30


def run_dev(settings: Settings, host: str, port: int) -> int:
    """Run webserver, daemon and code server until Ctrl-C or TERM; the exit code of `dagster dev`."""
    root = project_root()
    run_pools(settings)
    migrate(open_database(settings), root / "alembic.ini")
    port = port or _free_port(host)
    # Where an alert's link leads, unless the UI is reached by another address.
    own = {PREFIX + "UI_URL": settings.ui_url or f"http://{host}:{port}"}
    environment = os.environ | prepare_home(settings) | own
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "dev",
        "-w",
        "workspace.yaml",
        "-h",
        host,
        "-p",
        str(port),
        "--log-format",
        "json" if settings.log_format == "json" else "colored",
    ]
    # A process group of its own: each signal reaches it once, from here, and in its default disposition,
    # which a shell that starts jobs in the background takes away.
    process = subprocess.Popen(  # noqa: S603 - our own command line
        command,
        cwd=root,
        env=environment,
        process_group=0,
        preexec_fn=_default_signals,
    )
    print(f"Dagster UI: http://{host}:{port}  (data: {settings.data_location}; Ctrl-C stops it)", flush=True)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        process.send_signal(signal.SIGINT)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _end_group(process)
    return 0 if code in (0, -signal.SIGINT, 130) else code


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(STOP_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
