"""Identifiers that become file names, keys or partition keys, and the checks that make that safe."""

import hashlib
import re
from pathlib import Path

STORE_ID = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
SHA256 = re.compile(r"[0-9a-f]{64}")


def check_store_id(value: str) -> str:
    """Return `value` when it can be a partition key and a folder name.

    Raises:
        ValueError: it is not 1 to 63 lower-case letters, digits, `-` or `_`.
    """
    if not STORE_ID.fullmatch(value):
        raise ValueError(
            f"store id {value!r}: use 1 to 63 lower-case letters, digits, '-' or '_', "
            "starting and ending with a letter or digit"
        )
    return value


def check_sha256(value: str) -> str:
    """Return `value` when it is a lower-case hexadecimal SHA-256 digest.

    Raises:
        ValueError: it is anything else.
    """
    if not SHA256.fullmatch(value):
        raise ValueError(f"not a SHA-256 digest in lower-case hexadecimal: {value!r}")
    return value


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of `data`, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
