"""The supervisor of the embedded PostgreSQL: start it, find it, share it, stop it.

`<root>` holds `lock` (one supervisor at a time), `alive` (locked by the server's processes), `cluster`, `run`
(the socket) and `server.log`. Where the server's user cannot reach that folder, all but the log live in a
private one, and `<root>/WHERE.txt` says where and why (`embedded_place`).
"""

import fcntl
import hashlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from fashion_pipeline.catalog import embedded_install as install
from fashion_pipeline.catalog import embedded_place as places
from fashion_pipeline.catalog import embedded_process as process
from fashion_pipeline.catalog.embedded_place import Place
from fashion_pipeline.errors import PermanentError

logger = logging.getLogger(__name__)

LEASE = "fashion_pipeline lease"  # the application_name of the connection that `running` holds

OWN_NAMES = ("cluster", "cluster.*", "run", "alive", "server.log*", "WHERE.*", places.OWNER, "lock")

LOCK_SECONDS = 240.0  # more than a holder may take: initdb, then recovery after a crash
READY_SECONDS = 120.0  # crash recovery replays up to max_wal_size, on a slow disk
STOP_SECONDS = 30.0
GRACE_SECONDS = 1.0  # the session of a client that has just left is seen for some milliseconds more
LAUNCHES = 4  # the first after a crash may fail while what is left of the old server goes away


@dataclass(frozen=True)
class ServerStatus:
    """What a look at the server found; `detail` is one line for a person, `clients` leaves out probes."""

    running: bool
    pid: int | None
    version: str | None
    clients: int | None
    socket_dir: Path
    data_dir: Path
    log_file: Path
    detail: str


class EmbeddedPostgres:
    """One PostgreSQL server for one folder, shared by every process that names the same folder.

    Args:
        root: the server's folder, for example `<data>/postgres`. Nothing is read or made before a method is
        called.
    """

    # Where root keeps what `nobody` must reach and cannot reach below a 0700 directory.
    private_base: Path = Path("/var/lib/fashion_pipeline")

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def url(self, database: str, *, driver: str = "postgresql+psycopg") -> str:
        """Return the SQLAlchemy URL of a database, over the Unix socket; the server need not run."""
        socket_dir = quote(str(self._place().run), safe="/")
        database = quote(database, safe="")
        return f"{driver}://{process.SUPERUSER}@/{database}?host={socket_dir}&port={install.PORT}"

    def start(self) -> bool:
        """Start the server unless it runs, and wait until it serves.

        Returns:
            True when this call started it, False when it was running.

        Raises:
            PermanentError: it cannot be started; the message has the reason, the remedy and the log's end.
        """
        with self._explained("could not be started"):
            place = self._place()
            # Without the lock, for the many who only attach; whatever is not plainly well is settled under
            # it.
            if (
                self._trusted(place)
                and process.log_size(place) <= process.LOG_BYTES
                and process.probe(place).serves
            ):
                return False
            places.refuse_foreign(place)
            install.own_folder(place.root)
            with self._locked() as lock:
                return self._start_locked(lock)

    def process_id(self) -> int | None:
        """The number of the server's process, as it wrote it down; None where it did not."""
        return process.postmaster(self._place())

    def still_runs(self, process_id: int | None) -> bool:
        """Whether the server that was seen to serve under this number lives; it is not asked."""
        if process_id is None:
            return False
        place = self._place()
        return (
            self._trusted(place)
            and process.postmaster(place) == process_id
            and process.lives(place)
            and install.exists(place.socket)
        )

    def stop(self, *, only_if_unused: bool = False) -> bool:
        """Stop the server; what was committed is on disk.

        Args:
            only_if_unused: leave it running while any client is connected, this process's own ones included:
                close sessions and dispose engines first. Probes do not count.

        Returns:
            True when this call stopped it, False when it was not running or is in use.

        Raises:
            PermanentError: it runs and does not stop, or belongs to another OS user.
        """
        with self._explained("could not be stopped"):
            place = self._place()
            places.refuse_foreign(place)
            if not install.exists(place.cluster):
                return False
            with self._locked():
                place = self._place()
                found = process.probe(place)
                if found.answer == "ghost":
                    self._end_ghost(place)
                    return True
                if not found.serves and found.answer != "busy" and not process.lives(place):
                    return False
                if only_if_unused and self._in_use(place):
                    return False
                self._stop_locked(place)
                return True

    def delete(self) -> None:
        """Stop the server and delete its databases and files, those in a private folder included.

        Deleting the data folder by hand is allowed too; it leaves the private folder's 40 MB behind.

        Raises:
            PermanentError: the server does not stop, or the files are another OS user's.
        """
        with self._explained("could not be deleted"):
            place = self._place()
            places.refuse_foreign(place)
            if not install.exists(place.home):
                with suppress(OSError):
                    place.root.rmdir()
                return
            with self._locked():
                place = self._place()
                if install.exists(place.cluster) and (process.probe(place).serves or process.lives(place)):
                    self._stop_locked(place)
                shutil.rmtree(place.run, ignore_errors=True)
                for folder in {place.home, place.root}:
                    for name in OWN_NAMES:
                        for path in folder.glob(name):
                            shutil.rmtree(path) if path.is_dir() else path.unlink()
                    with suppress(OSError):  # something that is not ours lies there
                        folder.rmdir()

    def status(self) -> ServerStatus:
        """Look whether the server runs; starts and changes nothing, and takes a few seconds at most."""
        place, pid = None, None
        try:
            place = self._place()
            mine = self._trusted(place)
            found = process.probe(place) if mine else process.Probe("absent")
            started = mine and install.exists(place.cluster)
        except (OSError, PermanentError) as exc:
            found, started = process.Probe("denied", note=process.one_line(exc)), False
        data_dir = place.cluster if place else self.root / "cluster"
        log_file = place.log_file if place else self.root / "server.log"
        if found.serves:
            pid = install.first_number(data_dir / "postmaster.pid")
        if found.answer == "ready":
            clients = f"{found.clients} client{'' if found.clients == 1 else 's'}"
            detail = f"PostgreSQL {found.version} runs (pid {pid}, {clients}), data in {data_dir}"
        elif found.answer == "full":
            detail = f"runs (pid {pid}) and has no connection left, data in {data_dir}"
        elif found.answer == "absent":
            detail = (
                f"not running, data in {data_dir}"
                if started
                else f"not running, no database yet in {self.root}"
            )
        else:
            detail = f"does not serve: {found.note} (data in {data_dir}, log in {log_file})"
        return ServerStatus(
            running=found.serves,
            pid=pid,
            version=found.version,
            clients=found.clients,
            socket_dir=place.run if place else self.root / "run",
            data_dir=data_dir,
            log_file=log_file,
            detail=detail,
        )

    def ensure_database(self, name: str) -> None:
        """Create a database unless it exists; two processes may do it at once.

        Raises:
            PermanentError: the name cannot be a database's, or the server does not answer or refuses.
        """
        if not name or "\0" in name or len(name.encode()) > 63:
            raise PermanentError(f"{name!r} cannot name a database: PostgreSQL takes 1 to 63 bytes")
        place = self._place()
        digest = hashlib.sha256(f"create database {name}".encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        try:
            with process.connect(place, "fashion_pipeline") as connection:
                connection.execute("SET lock_timeout = '30s'")
                connection.execute("SELECT pg_advisory_lock(%s)", (key,))
                if (
                    connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
                    is None
                ):
                    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
                    with suppress(psycopg.errors.DuplicateDatabase):  # made by somebody who asks for no lock
                        connection.execute(statement)
        except psycopg.Error as exc:
            raise PermanentError(
                f"database {name!r} could not be created on the embedded PostgreSQL of {self.root}: "
                f"{process.one_line(exc)}. Is it started? Its log is {place.log_file}"
            ) from exc

    @contextmanager
    def running(self) -> Iterator["EmbeddedPostgres"]:
        """Keep the server running for a block; stop it afterwards if this call started it and nobody uses it.

        A connection is held meanwhile, so that the end of another process's `running` leaves the server
        alone. Close sessions and dispose engines inside the block: a pooled connection of this process counts
        as a client.
        """
        started, lease = False, None
        try:
            for _ in range(3):
                started = self.start() or started
                with suppress(psycopg.OperationalError):  # stopped by another process in between: start again
                    lease = process.connect(self._place(), LEASE)
                    break
            yield self
        finally:
            if lease is not None:
                lease.close()
            if started:
                self.stop(only_if_unused=True)

    def _place(self) -> Place:
        return places.locate(self.root, self.private_base)

    @staticmethod
    def _trusted(place: Place) -> bool:
        # Without the pointer, what lives in the private folder is another, deleted folder's.
        return not place.elsewhere or place.pointer is not None

    def _start_locked(self, lock: int) -> bool:
        place, binaries = self._prepare(lock)
        launches, log_start = 0, process.log_size(place)
        give_up = time.monotonic() + READY_SECONDS
        try:
            while True:
                found = process.probe(place)
                if found.serves:
                    return launches > 0
                if found.answer == "denied":
                    raise PermanentError(f"the server of {self.root} does not let this user in: {found.note}")
                if found.answer == "ghost":
                    self._end_ghost(place)
                elif found.answer == "absent" and not process.lives(place):
                    if launches == LAUNCHES:
                        raise PermanentError(process.failure(place, "did not start", log_start))
                    time.sleep(0.3 * launches)
                    launches += 1
                    process.launch(place, binaries, give_up - time.monotonic())
                elif found.answer == "absent" and process.lost_socket(place):
                    raise PermanentError(
                        f"the server of {self.root} runs and its socket {place.socket} was deleted, as a "
                        "cleaner of temporary files may do: stop it, which still works, and start it again"
                    )
                if time.monotonic() > give_up:
                    reason = (
                        f"did not serve within {READY_SECONDS:.0f} s ({found.note or 'it does not listen'})"
                    )
                    raise PermanentError(process.failure(place, f"{reason}: try again later", log_start))
                time.sleep(0.03)
        except KeyboardInterrupt:
            if launches:
                process.halt(place, binaries, "fast", STOP_SECONDS)
            raise

    def _prepare(self, lock: int) -> tuple[Place, Path]:
        """Make what a server needs: programs its user can run, a cluster, the folder of the socket."""
        place = self._place()
        process.shorten_log(place)
        places.check_pointer(place)
        if place.elsewhere and place.pointer is None and install.exists(place.cluster):
            self._put_aside(place)
            place = self._place()
        binaries, blocked = process.pick_programs(place)
        process.make_cluster(place, binaries, lock)
        places.refuse_foreign(place)
        reasons = [reason for reason in (place.moved_because, blocked) if reason]
        if reasons:
            places.write_pointer(place, binaries, reasons)
        else:
            place.pointer_file.unlink(missing_ok=True)
        place = self._place()
        if place.run.parent != place.home:
            install.server_folder(place.run.parent, place.user)
        install.server_folder(place.run, place.user)
        return place, binaries

    def _put_aside(self, place: Place) -> None:
        """Keep, as `cluster.old`, a private cluster whose data folder was deleted or moved; one is kept."""
        if process.probe(place).serves or process.lives(place):
            self._stop_locked(place)
        old = place.home / "cluster.old"
        shutil.rmtree(old, ignore_errors=True)
        place.cluster.rename(old)
        logger.warning(
            "%s begins with an empty database; the last one of that path is kept in %s", self.root, old
        )

    def _end_ghost(self, place: Place) -> None:
        """End a server of ours whose files were deleted under it and that sits on our socket in /tmp."""
        pid = install.first_number(place.socket.with_name(place.socket.name + ".lock"))
        logger.warning("a server whose data folder was deleted still runs (pid %s): ending it", pid)
        if pid is not None and pid > 1:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)  # at once, with no checkpoint into files that are gone
        time.sleep(0.2)

    def _in_use(self, place: Place) -> bool:
        give_up = time.monotonic() + GRACE_SECONDS
        while True:
            found = process.probe(place)
            if found.answer == "ready" and found.clients == 0:
                return False
            if time.monotonic() > give_up:
                return True
            time.sleep(0.05)

    def _stop_locked(self, place: Place) -> None:
        binaries, _ = process.pick_programs(place)
        for mode in ("fast", "immediate"):
            process.halt(place, binaries, "fast" if mode == "fast" else "immediate", STOP_SECONDS)
            give_up = time.monotonic() + 5.0
            while time.monotonic() < give_up:
                if not process.lives(place) and process.probe(place).answer == "absent":
                    return
                time.sleep(0.02)
        pid = install.first_number(place.cluster / "postmaster.pid")
        raise PermanentError(
            f"the server of {self.root} (pid {pid}) does not stop: look into {place.log_file}, then kill -9 "
            f"{pid}"
        )

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold this server's one lock; yields its descriptor. The kernel frees it if this process dies."""
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            place = self._place()
            install.own_folder(place.home)
            path = place.home / "lock"
            handle = install.open_own(path, os.O_RDWR, place.user)
            held = False
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # If the folder was deleted meanwhile, this lock guards nothing.
                held = install.exists(path) and os.path.samestat(os.fstat(handle), path.stat())
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise PermanentError(
                        f"{path} has been held for {LOCK_SECONDS:.0f} s by process "
                        f"{install.first_number(path)}, "
                        "which starts or stops the server: wait for it, or end it, and try again"
                    ) from None
            finally:
                if not held:
                    os.close(handle)
            if held:
                break
            time.sleep(0.03)
        try:
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise PermanentError(
                f"the embedded PostgreSQL of {self.root} {what}: {exc}. Give this user that path, or set "
                "DATABASE_URL "
                "to a server of your own"
            ) from exc
