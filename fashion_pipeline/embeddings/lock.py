"""`model.lock.json`: where each file of a pulled model folder came from, and its bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from fashion_pipeline.errors import ModelError
from fashion_pipeline.ids import sha256_file

LOCK_FILE = "model.lock.json"


@dataclass(frozen=True)
class LockedFile:
    """Where a file of the folder came from, and its bytes."""

    repo: str
    commit: str
    sha256: str


#: By name of the file.
Lock: TypeAlias = Mapping[str, LockedFile]


def read_lock(path: Path) -> Lock:
    """Read a lock file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: LockedFile(**each) for name, each in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"lock file {str(path)!r} cannot be read ({error})") from error


def check_lock(folder: Path) -> int | None:
    """Hold a folder against its lock file: how many files it names, None where there is none.

    Raises:
        ModelError: a file is missing or has other bytes.
    """
    if not (folder / LOCK_FILE).is_file():
        return None
    lock = read_lock(folder / LOCK_FILE)
    wrong = differing(folder, lock)
    if wrong:
        raise ModelError(
            f"in {str(folder)!r} {', '.join(wrong)} differ from {LOCK_FILE}: pull the model again"
        )
    return len(lock)


def differing(folder: Path, lock: Lock) -> list[str]:
    """Files of a lock that are missing in `folder` or have other bytes there."""
    return [
        name
        for name, each in lock.items()
        if not (folder / name).is_file() or sha256_file(folder / name) != each.sha256
    ]
