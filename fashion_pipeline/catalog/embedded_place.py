"""Where the parts of one embedded PostgreSQL are, and the file that says so when they are not in its root.

Where root runs the pipeline below a folder that `nobody` cannot enter, the cluster lives in a private folder
under /var/lib, and `<root>/WHERE.txt` (the pointer) ties the two together: by the private folder's path, the
data folder's path, and the cluster's identity. So a deleted, moved or copied data folder never meets a
database not its own.
"""

import hashlib
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fashion_pipeline.catalog import embedded_install as install
from fashion_pipeline.errors import PermanentError

POINTER = "WHERE.txt"  # in the data folder: where its private folder is
OWNER = "data-folder.txt"  # in the private folder: whose it is


@dataclass(frozen=True)
class Place:
    """The places of one root, and the OS user that runs its server."""

    root: Path
    home: Path
    user: install.ServerUser
    run: Path
    base: Path
    pointer: Mapping[str, str] | None
    moved_because: str | None

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "cluster"

    @property
    def elsewhere(self) -> bool:
        """Whether the cluster lives in a private folder and not in the root."""
        return self.home != self.root

    @property
    def socket(self) -> Path:
        """The Unix socket that clients connect to."""
        return self.run / f".s.PGSQL.{install.PORT}"

    @property
    def log_file(self) -> Path:
        """The server's log, always in the root: the server inherits it open, and need not reach it."""
        return self.root / "server.log"

    @property
    def pointer_file(self) -> Path:
        """The text that says where cluster or programs live when they do not live here."""
        return self.root / POINTER

    @property
    def expected(self) -> str:
        """The identity of the server that may answer on the socket."""
        return self.pointer["identity"] if self.pointer else str(identity(self.cluster))


def locate(root: Path, base: Path) -> Place:
    """Work out the places from the root's path and from what is there; writes nothing.

    Args:
        root: the data folder's part for PostgreSQL.
        base: where private folders live.

    Raises:
        PermanentError: the pointer is damaged, or root finds no user to run the server.
    """
    root = root.resolve()
    key = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    home, because = root, None
    pointer = read_pointer(root / POINTER, base)
    if pointer is not None:
        home, because = Path(pointer["folder"]), pointer.get("why")
        key = home.name
    elif os.geteuid() == 0 and not install.exists(root / "cluster"):
        nobody = install.unprivileged_user()
        blocked = install.barrier(root, nobody)
        if blocked:
            home = _unclaimed(base / key, root, base)
            because = f"root runs PostgreSQL as {nobody}, who may not enter {blocked}"
    user = install.server_user(home / "cluster")
    run = install.socket_folder(home, key, user)
    return Place(root=root, home=home, user=user, run=run, base=base, pointer=pointer, moved_because=because)


def _unclaimed(home: Path, root: Path, base: Path) -> Path:
    """Return a private folder for `root` that no data folder uses which was moved away from there."""
    folder, number = home, 1
    while (owner := _owner(folder)) not in {None, root}:
        with suppress(PermanentError):
            theirs = read_pointer(Path(str(owner)) / POINTER, base)
            if theirs is None or theirs["folder"] != str(folder):
                break
        number += 1
        folder = home.with_name(f"{home.name}-{number}")
    return folder


def _owner(home: Path) -> Path | None:
    try:
        return Path((home / OWNER).read_text(encoding="utf-8").strip())
    except OSError:
        return None


def identity(cluster: Path) -> int | None:
    """Return a cluster's system identifier: the first 8 bytes of its control file, in the machine's order."""
    try:
        with (cluster / "global" / "pg_control").open("rb") as handle:
            return int.from_bytes(handle.read(8), sys.byteorder)
    except OSError:
        return None


def read_pointer(path: Path, base: Path) -> Mapping[str, str] | None:
    """Read the pointer's fields; None when there is none, or it only speaks of programs."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if fields.get("cluster") == "here":
        return None
    # Root follows this file, so it may name nothing but a folder of ours.
    if Path(fields.get("folder", "")).parent != base or not {"identity", "made for"} <= fields.keys():
        raise PermanentError(
            f"{path} should say where below {base} the database of its folder lives, and does not: restore "
            "it, "
            "or delete it to begin with an empty database"
        )
    return fields


def write_pointer(place: Place, binaries: Path, reasons: Sequence[str]) -> None:
    """Write down where cluster and programs are, and why; atomic, and silent when nothing changed."""
    lines = [
        "Parts of this folder's database server live elsewhere:",
        "root may not run it, and another user may not come here.",
        "",
        f"cluster: {place.cluster if place.elsewhere else 'here'}",
        f"programs: {binaries}",
        f"why: {'; '.join(reasons)}",
    ]
    if place.elsewhere:
        lines += [
            f"folder: {place.home}",
            f"made for: {place.root}",
            f"identity: {identity(place.cluster)}",
            "",
            "This file belongs to the data: move it with this folder. Without it the server begins anew",
            "with an empty database, and keeps the last one beside that as cluster.old.",
        ]
    if place.elsewhere:
        _replace(place.home / OWNER, f"{place.root}\n")
    _replace(place.pointer_file, "\n".join(lines) + "\n")


def _replace(path: Path, text: str) -> None:
    with suppress(OSError):
        if path.read_text(encoding="utf-8") == text:
            return
    aside = path.with_suffix(".tmp")
    with aside.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    aside.replace(path)
    install.sync_folder(path.parent)


def check_pointer(place: Place) -> None:
    """Refuse to begin with an empty or another folder's database where the pointer promises one.

    Raises:
        PermanentError: the cluster is gone or another one, or this folder is a copy of the one it was made
        for.
    """
    if place.pointer is None:
        return
    promised = place.pointer["identity"]
    if str(identity(place.cluster)) != promised:
        old = place.home / "cluster.old"
        kept = f": another folder took its old path, and it is kept in {old}"
        raise PermanentError(
            f"{place.pointer_file} says that the database lives in {place.cluster}, and it is not there"
            + (kept if str(identity(old)) == promised else "")
            + f". Restore it, or delete {place.pointer_file} to begin with an empty database"
        )
    origin = Path(place.pointer["made for"])
    if origin.resolve() != place.root:
        theirs = None
        with suppress(PermanentError):
            theirs = read_pointer(origin / POINTER, place.base)
        if theirs is not None and theirs["identity"] == promised:
            raise PermanentError(
                f"{place.root} is a copy of {origin}, and both would share one database: delete "
                f"{place.pointer_file} to begin with an empty one here"
            )


def refuse_foreign(place: Place) -> None:
    """Refuse a cluster that the server's user does not own or reach: PostgreSQL would, in fewer words.

    Raises:
        PermanentError: with the owner, the folder in the way, and what to do.
    """
    try:
        owner = place.cluster.stat().st_uid
    except FileNotFoundError:
        return
    except PermissionError as exc:
        raise PermanentError(
            f"the database in {place.home} is not this user's ({exc}): use the OS user who made it"
        ) from exc
    if owner != place.user.uid:
        raise PermanentError(
            f"the database in {place.cluster} belongs to uid {owner}, and its server would run as "
            f"{place.user}: "
            f"use the OS user who made it, or hand it over as root: chown -R {place.user.uid} "
            f"{shlex.quote(str(place.cluster))}"
        )
    blocked = None if place.user.is_self else install.barrier(place.home, place.user)
    if blocked:
        raise PermanentError(
            f"the database in {place.cluster} cannot be reached by {place.user}, who runs its server and may "
            "not "
            f"enter {blocked}: let others pass through that folder (chmod o+x), or move the data out of it"
        )
