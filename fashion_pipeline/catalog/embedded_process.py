"""The embedded PostgreSQL's processes: asking whether they serve or live, and running its programs.

What is trusted: a connection that answers with the identity of our cluster, and a file lock that the server's
processes inherit. What is not: `postmaster.pid`. In a container that reaps no zombies, or after a reboot, the
number in that file is that of a dead or of an unrelated process.
"""

import fcntl
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import psycopg

from fashion_pipeline.catalog import embedded_install as install
from fashion_pipeline.catalog.embedded_place import Place
from fashion_pipeline.errors import PermanentError

SUPERUSER = "postgres"
# Seen as application_name in pg_stat_activity. A probe is nobody's use of the server.
PROBE = "fashion_pipeline probe"

INITDB_SECONDS = 90.0
LOG_BYTES = 4 << 20
LOG_KEPT_BYTES = 256 << 10

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",  # the socket only; who may enter its folder is who may connect
    "unix_socket_permissions": "0700",
    "max_connections": "200",  # Dagster's webserver, daemon and a dozen runs, each with its pools
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",  # half the default: bounds the disk used and the length of a recovery
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # Parallel workers put their queues into /dev/shm, of which a container has 64 MB unless told otherwise.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",  # `_classify` reads some messages of the server
    "logging_collector": "off",  # the log is the file that the process inherits, wherever its user may go
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",  # a failing bulk insert would put whole feeds into the log
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a %d ",
    "cluster_name": "fashion_pipeline",
}

# ready: ours, and it answers. full: it has no connection left. busy: it does not serve yet, or not in time.
# ghost: another cluster's server on our socket. denied: another OS user's. absent: nobody listens.
Answer: TypeAlias = Literal["ready", "full", "busy", "ghost", "denied", "absent"]


@dataclass(frozen=True)
class Probe:
    """One try to connect. `clients` counts the sessions of others, probes left out."""

    answer: Answer
    version: str | None = None
    clients: int | None = None
    note: str = ""

    @property
    def serves(self) -> bool:
        """Whether our server runs and takes (or could take) connections."""
        return self.answer in {"ready", "full"}


def connect(place: Place, application: str) -> psycopg.Connection[tuple[object, ...]]:
    """Open a connection in autocommit mode to the server's `postgres` database."""
    return psycopg.connect(
        host=str(place.run),
        port=install.PORT,
        user=SUPERUSER,
        dbname="postgres",
        application_name=application,
        connect_timeout=3,
        autocommit=True,
    )


def probe(place: Place) -> Probe:
    """Connect and ask the server who it is; takes milliseconds when it serves, 3 s when it hangs."""
    question = (
        "SELECT system_identifier, split_part(current_setting('server_version'), ' ', 1), "
        "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND pid <> pg_backend_pid() AND application_name <> %s) FROM pg_control_system()"
    )
    try:
        if not install.exists(place.socket):
            return Probe("absent")
        with connect(place, PROBE) as connection:
            connection.execute("SET statement_timeout = '5s'")
            row = connection.execute(question, (PROBE,)).fetchone()
    except PermissionError as exc:
        return Probe("denied", note=str(exc))
    except psycopg.Error as exc:
        return _classify(place, one_line(exc))
    if row is None:
        return Probe("busy", note="it gave no answer")
    if str(row[0]) != place.expected:
        return Probe("ghost", note="a server of other files answers on this socket")
    return Probe("ready", version=str(row[1]), clients=int(str(row[2])))


def _classify(place: Place, text: str) -> Probe:
    if "FATAL" in text:  # a server answered, and its reason may well be "No such file"
        holder = install.first_number(place.socket.with_name(place.socket.name + ".lock"))
        if holder != postmaster(place):
            return Probe("ghost", note=text)
        full = "too many clients" in text or "remaining connection slots" in text
        return Probe("full" if full else "busy", note=text)
    if "Permission denied" in text:
        return Probe("denied", note=text)
    if "Connection refused" in text or "No such file" in text:
        return Probe("absent", note=text)
    return Probe("busy", note=text)


def postmaster(place: Place) -> int | None:
    """The number of the server's first process, as it wrote it down; None where it did not."""
    return install.first_number(place.cluster / "postmaster.pid")


def lives(place: Place) -> bool:
    """Tell whether any process of the server that was started here still lives; a zombie does not."""
    try:
        handle = install.open_own(place.home / "alive", os.O_RDWR, None)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def lost_socket(place: Place) -> bool:
    """Tell whether a living server says that it serves, and its socket is gone: it will not come back."""
    with suppress(OSError):
        state = (place.cluster / "postmaster.pid").read_text().splitlines()[7:8]
        return [line.strip() for line in state] == ["ready"] and not install.exists(place.socket)
    return False


def pick_programs(place: Place) -> tuple[Path, str | None]:
    """Return the programs that fit the cluster and that its user can run, and why they are a private copy."""
    major = install.MAJOR
    with suppress(FileNotFoundError):
        major = (place.cluster / "PG_VERSION").read_text().strip()
    package = install.wheel_folder()
    binaries = install.programs(package, major)
    blocked = None if place.user.is_self else install.unreachable(binaries, place.user)
    if blocked:
        binaries = install.private_programs(package, place.base, major)
    return binaries, blocked


def make_cluster(place: Place, binaries: Path, lock: int) -> None:
    """Make the cluster aside and rename it, so that a killed initdb never leaves half of one.

    Args:
        place: where; its lock must be held.
        binaries: the programs' folder.
        lock: the held lock's descriptor. `initdb` inherits it: if this process is killed, nobody else begins
            before its initdb has ended too.
    """
    for leftover in place.home.glob("cluster.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if install.exists(place.cluster):
        return
    try:
        pwd.getpwuid(place.user.uid)
    except KeyError:
        raise PermanentError(
            f"PostgreSQL cannot make its files in {place.home}: uid {place.user.uid} has no entry in "
            "/etc/passwd, "
            "which initdb needs. Add one, run as another user, or set DATABASE_URL to a server of your own"
        ) from None
    aside = Path(tempfile.mkdtemp(prefix="cluster.new-", dir=place.home))
    install.server_folder(aside, place.user)
    log_start = log_size(place)
    command = [str(binaries / "initdb"), "-D", str(aside), f"--username={SUPERUSER}", "--encoding=UTF8"]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command += ["--auth=trust", "--no-instructions"]
    try:
        if _execute(place, command, INITDB_SECONDS, keep=[lock]) != 0:
            raise PermanentError(failure(place, f"could not be initialised in {place.home}", log_start))
        aside.rename(place.cluster)
        install.sync_folder(place.home)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def launch(place: Place, binaries: Path, seconds: float) -> None:
    """Start the server and wait until it is ready, has failed or time is over: the next probe tells which."""
    _clear_stale(place)
    alive = install.open_own(place.home / "alive", os.O_RDWR, place.user)
    try:
        # Inherited by all processes of the server: the kernel tells who lives, whatever the pid file says.
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        options = {**SETTINGS, "unix_socket_directories": str(place.run), "port": str(install.PORT)}
        flags = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
        _pg_ctl(place, binaries, seconds, "start", "-o", flags, keep=[alive])
    except BlockingIOError:
        return  # somebody else looked at this very moment: the next round tries again
    finally:
        os.close(alive)


def halt(place: Place, binaries: Path, mode: Literal["fast", "immediate"], seconds: float) -> None:
    """Tell the server to stop, and wait for it; the next probe tells whether it did."""
    _pg_ctl(place, binaries, seconds, "stop", "-m", mode)


def _clear_stale(place: Place) -> None:
    """Undo what a killed server left behind. Call it only when no process of that server lives.

    PostgreSQL refuses to start while the number in its pid file is that of any process of the same user, a
    zombie included. Only the number is replaced, by one that no process can have: the rest of the file names
    the shared memory by which PostgreSQL itself makes sure that nobody else has the cluster open.
    """
    pid_file = place.cluster / "postmaster.pid"
    with suppress(FileNotFoundError), os.fdopen(install.open_own(pid_file, os.O_RDWR, None), "r+b") as handle:
        rest = handle.read().split(b"\n")[1:]
        handle.seek(0)
        handle.write(b"\n".join([b"2147483646", *rest]))
        handle.truncate()
    place.socket.with_name(place.socket.name + ".lock").unlink(missing_ok=True)
    place.socket.unlink(missing_ok=True)


def _pg_ctl(
    place: Place, binaries: Path, seconds: float, action: str, *options: str, keep: Sequence[int] = ()
) -> None:
    command = [str(binaries / "pg_ctl"), action, "-s", "-w", "-t", str(max(1, int(seconds))), *options]
    _execute(place, command, seconds + 10, keep=keep)


def _execute(place: Place, command: Sequence[str], seconds: float, *, keep: Sequence[int] = ()) -> int:
    """Run a program of PostgreSQL's as the server's user, its output to the log; return its exit code."""
    # The server outlives us: it gets neither our secrets, nor our pipes, nor our terminal's Ctrl-C; and
    # PGDATA instead of -D, because pg_ctl would put a path given by option through a shell.
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "PGDATA": str(place.cluster)}
    user = None if place.user.is_self else place.user
    log = install.open_own(place.log_file, os.O_WRONLY | os.O_APPEND, place.user)
    try:
        return subprocess.run(  # noqa: S603 (our own programs, no shell of ours)
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=tuple(keep),
            start_new_session=True,
            timeout=seconds,
            umask=0o077,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return -1
    except OSError as exc:
        raise PermanentError(
            f"{command[0]} could not be run as {place.user}: {exc}. PostgreSQL refuses to run as root, so "
            "root needs "
            "the right to change its user id; or run as a normal user, or set DATABASE_URL to a server of "
            "your own"
        ) from exc
    finally:
        os.close(log)


def log_size(place: Place) -> int:
    """Return the log's size in bytes, 0 when there is none."""
    try:
        return place.log_file.stat().st_size
    except FileNotFoundError:
        return 0


def shorten_log(place: Place) -> None:
    """Cut a log that passed its bound, in place: the server appends, so it goes on at the new end."""
    if log_size(place) <= LOG_BYTES:
        return
    with os.fdopen(install.open_own(place.log_file, os.O_RDWR, None), "r+b") as log:
        log.seek(-LOG_KEPT_BYTES, os.SEEK_END)
        kept = log.read()
        old = place.log_file.with_name(place.log_file.name + ".1")
        with os.fdopen(install.open_own(old, os.O_WRONLY | os.O_TRUNC, place.user), "wb") as target:
            target.write(kept)
        log.truncate(0)


def failure(place: Place, what: str, log_start: int) -> str:
    """Say in one line what failed, followed by the last lines that the log got since `log_start` (bytes)."""
    tail: list[str] = []
    with suppress(OSError), place.log_file.open("rb") as log:
        log.seek(log_start)
        tail = log.read(1 << 20).decode(errors="replace").splitlines()[-12:]
    head = f"the embedded PostgreSQL of {place.root} {what}; its log is {place.log_file}, the end of it:"
    return "\n".join([head, *(f"  {line}" for line in tail or ["(nothing)"])])


def one_line(exc: Exception) -> str:
    """Return an exception's text as one line."""
    return " ".join(str(exc).split())
