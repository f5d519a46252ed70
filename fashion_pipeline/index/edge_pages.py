"""Pages of an engine's files that a process has mapped, given back before they fill its memory.

The engine maps its files and leaves it to the system which pages stay. They count as the process's own until memory is
short: who wrote a million vectors would show 3 GB, and whoever watches a container's memory cannot tell them from it.
"""

import ctypes
import os
from pathlib import Path

#: By so much may what a process has mapped grow while a shard is open, in bytes.
MAY_GATHER = 128 << 20
_DONTNEED = 4
_MAPS, _STATM = Path("/proc/self/maps"), Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def mapped_bytes() -> int | None:
    """Bytes of files, libraries included, that this process has in memory; None where the system does not tell."""
    return int(_STATM.read_text().split()[2]) * _PAGE if _STATM.exists() else None


def give_back(folder: Path) -> None:
    """Take the pages of shared mappings of files below `folder` out of this process.

    The system keeps them as its cache of the files, where what was written to them stays, and maps them again on use.
    Nothing may unmap those files meanwhile: what came to lie in their place would be emptied.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    below = f"{folder.resolve()}/"
    for line in _MAPS.read_text().splitlines():
        place, permissions, _, _, _, *path = line.split(maxsplit=5)
        # A private mapping's own changes would be lost by this.
        if permissions.endswith("s") and path and path[0].startswith(below):
            start, end = (int(part, 16) for part in place.split("-"))
            # Refused where pages are locked into memory: they stay.
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)
