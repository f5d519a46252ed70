"""Sets up a virtual environment for `make`: runs on the system's Python, with nothing installed.

It is written so that a Python that is too old still reads it and says so.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from typing import List, NoReturn, Tuple

OLDEST, NEWEST = (3, 11), (3, 13)
STAMP = "fashion-pipeline.stamp"
# Measured on Linux x86_64: torch with CUDA is most of it.
DISK_BYTES = {"cuda": 9_000_000_000, "cpu": 3_500_000_000}
DOWNLOAD = {"cuda": "about 3.5 GB (torch with CUDA is most of it)", "cpu": "about 0.7 GB"}


def fail(message: str) -> NoReturn:
    """Print what is wrong and what to do, and end."""
    sys.exit("setup: " + message)


def check_python() -> None:
    """Refuse a Python that the lock file is not for, or that cannot make virtual environments."""
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        fail(
            "Python %d.%d at %s, but 3.11, 3.12 or 3.13 is needed: install one and run "
            "`make PYTHON=python3.12 ...`" % (version[0], version[1], sys.executable)
        )
    try:
        import ensurepip
        import venv  # noqa: F401
    except ImportError as error:
        fail(
            "this Python has no %s: on Debian or Ubuntu run `apt install python%d.%d-venv`, elsewhere install "
            "a Python that has it" % (error.name, version[0], version[1])
        )
    else:
        del ensurepip


def check_disk(folder: str, kind: str) -> None:
    """Refuse to start what would fill the disk."""
    free = shutil.disk_usage(folder).free
    needed = DISK_BYTES[kind]
    if free < needed:
        fail(
            "%.1f GB are free in %s, and %.1f GB are needed%s"
            % (
                free / 1e9,
                folder,
                needed / 1e9,
                ": free some, or name an index of CPU-only builds: `make TORCH_INDEX=URL ...`"
                if kind == "cuda"
                else ": free some",
            )
        )


def is_torch_line(name: str) -> bool:
    """Whether a requirement comes with torch: torch itself, or the CUDA parts of it."""
    return name.split("==")[0] in ("torch", "torchvision", "triton") or name.startswith(("nvidia-", "cuda-"))


def split_lock(text: str) -> Tuple[str, str]:
    """Cut a lock file into (torch and its CUDA parts, everything else)."""
    entries: List[List[str]] = []
    for line in text.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            entries.append([line])
        elif entries and not line.startswith("#"):
            entries[-1].append(line)
    torch = [entry for entry in entries if is_torch_line(entry[0])]
    rest = [entry for entry in entries if not is_torch_line(entry[0])]
    return _joined(torch), _joined(rest)


def _joined(entries: List[List[str]]) -> str:
    return "\n".join("\n".join(entry) for entry in entries) + "\n"


def run(command: List[str]) -> None:
    """Run a command; end with its words where it fails."""
    result = subprocess.run(command, check=False)
    if result.returncode:
        fail("`%s` failed with exit code %d: see above" % (" ".join(command), result.returncode))


def install(root: str, python: str, lock: str, torch_index: str) -> None:
    """Install the lock file, then the project itself."""
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
    if torch_index:
        torch, rest = split_lock(lock)
        wanted = [
            entry.split(" ")[0].rstrip("\\") for entry in torch.splitlines() if entry.startswith("torch")
        ]
        # Builds of another index have other hashes: these are pinned by version only.
        run([*pip[:-1], "--index-url", torch_index, *wanted])
        path = os.path.join(root, ".venv", "requirements-rest.lock")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(rest)
        run([*pip, "-r", path])
    else:
        run([*pip, "-r", os.path.join(root, "requirements.lock")])
    run([python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "-e", root])


def main() -> None:
    """Make `.venv` below the project's root hold what the lock file says; nothing happens where it does."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--torch-index", default="", help="an index of CPU-only builds of torch")
    arguments = parser.parse_args()
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    environment = os.path.join(root, ".venv")
    with open(os.path.join(root, "requirements.lock"), encoding="utf-8") as stream:
        lock = stream.read()
    with open(os.path.join(root, "pyproject.toml"), encoding="utf-8") as stream:
        wanted = hashlib.sha256((lock + stream.read() + arguments.torch_index).encode()).hexdigest()
    stamp = os.path.join(environment, STAMP)
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as stream:
            if stream.read() == wanted:
                return
    check_python()
    kind = "cpu" if arguments.torch_index or sys.platform == "darwin" else "cuda"
    fresh = not os.path.isdir(environment)
    if fresh:
        check_disk(root, kind)
    # Markers hold "==" as well; each entry begins a line.
    packages = sum("==" in line for line in lock.splitlines() if line[:1].isalnum())
    print("setup: installing %d packages into %s" % (packages, environment))
    print(
        "setup: download %s, disk about %.0f GB; only the package index is asked"
        % (DOWNLOAD[kind], DISK_BYTES[kind] / 1e9)
    )
    sys.stdout.flush()
    if fresh:
        run([sys.executable, "-m", "venv", environment])
    install(root, os.path.join(environment, "bin", "python"), lock, arguments.torch_index)
    with open(stamp, "w", encoding="utf-8") as stream:
        stream.write(wanted)


if __name__ == "__main__":
    main()
