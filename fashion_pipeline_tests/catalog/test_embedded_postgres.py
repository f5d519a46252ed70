"""The embedded PostgreSQL's supervisor, on real servers, as root and as a normal user, alive and killed."""

import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from fashion_pipeline.catalog import embedded_install as install
from fashion_pipeline.catalog import embedded_place as places
from fashion_pipeline.catalog import embedded_postgres as supervisor
from fashion_pipeline.catalog import embedded_process as process
from fashion_pipeline.catalog.embedded_postgres import EmbeddedPostgres
from fashion_pipeline.errors import PermanentError

Make = Callable[..., EmbeddedPostgres]

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another OS user")
linux_only = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = Path(psycopg.__file__).resolve().parents[1]
CHILD = """
import json, os, sys
from pathlib import Path
from fashion_pipeline.catalog.embedded_postgres import EmbeddedPostgres
from fashion_pipeline.errors import PermanentError
pg = EmbeddedPostgres(Path(sys.argv[1]))
pg.private_base = Path(sys.argv[2])
"""


def _new_folder() -> Path:
    """Make a short folder that every OS user may enter, which pytest's own is not for root.

    In memory where there is room: a busy disk makes thirty clusters wait minutes for their fsyncs.
    """
    parent = Path("/tmp")
    with suppress(OSError):
        memory = os.statvfs("/dev/shm")
        if memory.f_bavail * memory.f_frsize > 1 << 30 and not memory.f_flag & os.ST_NOEXEC:
            parent = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fp-pg-", dir=parent)).resolve()
    folder.chmod(0o755)
    return folder


@pytest.fixture
def workspace() -> Iterator[Path]:
    folder = _new_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A root with a fresh cluster, stopped: copying it is quicker than initdb."""
    folder = _new_folder()
    pg = EmbeddedPostgres(folder / "postgres")
    try:
        pg.start()
        pg.ensure_database("fashion")
        pg.stop()
        subprocess.run(["cp", "-a", str(pg.root / "cluster"), str(folder / "cluster")], check=True)
        yield pg.root
    finally:
        _quit(pg)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make(workspace: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes supervisors whose servers are ended with the test, however it ends."""
    made: list[EmbeddedPostgres] = []

    def factory(root: Path | None = None, *, seeded: bool = True) -> EmbeddedPostgres:
        pg = EmbeddedPostgres(workspace / "data" / "postgres" if root is None else root)
        pg.private_base = workspace / "private"
        if seeded:
            install.own_folder(pg.root)
            source = request.getfixturevalue("template").parent / "cluster"
            subprocess.run(["cp", "-a", str(source), str(pg.root / "cluster")], check=True)
        made.append(pg)
        return pg

    yield factory
    for pg in made:
        with suppress(PermanentError, OSError):
            place = places.locate(pg.root, pg.private_base)
            _quit(pg)
            if workspace not in place.run.parents:
                shutil.rmtree(place.run, ignore_errors=True)


@pytest.fixture
def server(make: Make) -> EmbeddedPostgres:
    """A running server for a test that stops or kills it."""
    pg = make()
    assert pg.start() is True
    return pg


@pytest.fixture(scope="module")
def shared(template: Path) -> EmbeddedPostgres:
    """A running server for the tests that leave it running."""
    pg = EmbeddedPostgres(template)
    assert pg.start() is True
    return pg


def _quit(pg: EmbeddedPostgres) -> None:
    """End a server by signal, so that a supervisor that cannot stop one leaves none behind a failed test."""
    place = places.locate(pg.root, pg.private_base)
    pid = install.first_number(place.cluster / "postmaster.pid") or 0
    if _is_server(pid):
        os.kill(pid, signal.SIGINT)
        _wait(lambda: not _alive(pid), 20)
    elif pg.status().running:
        pg.stop()


def _is_server(pid: int) -> bool:
    with suppress(OSError):
        return pid > 1 and "postgres" in Path(f"/proc/{pid}/comm").read_text()
    return False


def _state(pid: int) -> str:
    """Return the process's state letter, or an empty string when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def _alive(pid: int) -> bool:
    return _state(pid) not in {"", "Z", "X"}


def _wait(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.005)


def _connect(pg: EmbeddedPostgres, database: str = "fashion") -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(pg.url(database, driver="postgresql"), autocommit=True, connect_timeout=10)


def _ask(pg: EmbeddedPostgres, statement: str, database: str = "fashion") -> list[tuple[object, ...]]:
    with _connect(pg, database) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def _pid(pg: EmbeddedPostgres) -> int:
    pid = pg.status().pid
    assert pid is not None
    return pid


def _command(pg: EmbeddedPostgres, body: str, python: str = sys.executable) -> list[str]:
    return [python, "-c", CHILD + body, str(pg.root), str(pg.private_base)]


def _environment(**extra: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, PACKAGES))),
        "PYTHONDONTWRITEBYTECODE": "1",
        **extra,
    }


def _python_for(user: install.ServerUser) -> str:
    """Return a Python that another OS user may run with this environment's packages, or skip."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/python{version}"):
        if Path(candidate).exists() and install.barrier(Path(candidate).resolve().parent, user) is None:
            if install.barrier(PACKAGES, user) or install.barrier(REPOSITORY, user):
                pytest.skip(f"the packages lie where {user} may not go")
            return candidate
    pytest.skip(f"no Python {version} that {user} may run")


# The ordinary life of a server


def test_nothing_happens_before_start(workspace: Path) -> None:
    pg = EmbeddedPostgres(workspace / "data" / "postgres")
    assert pg.url("fashion").startswith("postgresql+psycopg://postgres@/fashion?host=/")
    status = pg.status()
    assert (status.running, status.pid) == (False, None)
    assert "no database yet" in status.detail
    assert pg.stop() is False
    assert list(workspace.iterdir()) == []


def test_start_is_idempotent_and_the_url_was_known_before(make: Make) -> None:
    pg = make(seeded=False)
    url, dagster_url = pg.url("fashion"), pg.url("fashion", driver="postgresql+psycopg2")
    assert pg.start() is True
    pid = _pid(pg)
    assert pg.start() is False
    assert (_pid(pg), pg.url("fashion")) == (pid, url)
    pg.ensure_database("fashion")
    for address in (url, dagster_url):
        engine = sa.create_engine(address)
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT current_database()")).scalar() == "fashion"
        engine.dispose()
    status = pg.status()
    assert status.running
    assert status.version is not None
    assert status.version.startswith("18.")
    assert str(pid) in status.detail
    assert "\n" not in status.detail
    assert pg.stop() is True
    assert pg.stop() is False
    assert not pg.status().running
    _wait(lambda: not _alive(pid))


def test_settings_of_the_server(shared: EmbeddedPostgres) -> None:
    expected = {
        "listen_addresses": "",
        "max_connections": "200",
        "fsync": "on",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "data_checksums": "on",
    }
    rows = {row[0]: row[1] for row in _ask(shared, "SELECT name, setting FROM pg_settings")}
    assert {name: rows[name] for name in expected} == expected
    assert _ask(shared, "SELECT datlocale, encoding FROM pg_database WHERE datname = 'fashion'") == [
        ("C.UTF-8", 6)
    ]
    assert _ask(shared, "SELECT upper('été')") == [("ÉTÉ",)]


def test_a_second_process_attaches(shared: EmbeddedPostgres) -> None:
    done = subprocess.run(
        _command(shared, "print(pg.start(), pg.status().pid)"),
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.split() == ["False", str(_pid(shared))], done.stderr


@linux_only
def test_a_caller_that_captures_output_is_not_held_and_passes_on_no_secret(make: Make) -> None:
    pg = make()
    done = subprocess.run(
        _command(pg, "print(pg.start())"),
        env=_environment(QDRANT_API_KEY="very-secret"),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
    pid = _pid(pg)
    assert os.getsid(pid) == pid, "Ctrl-C in the terminal would reach the server"
    assert b"very-secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert Path(f"/proc/{pid}/cwd").resolve() == pg.status().data_dir


def test_two_processes_create_one_database(shared: EmbeddedPostgres) -> None:
    name = 'odd "name"; -- é'
    errors: list[BaseException] = []

    def create() -> None:
        try:
            shared.ensure_database(name)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert _ask(shared, "SELECT current_database()", database=name) == [(name,)]
    shared.ensure_database(name)
    for bad in ("", "x" * 64, "a\0b"):
        with pytest.raises(PermanentError, match="cannot name a database"):
            shared.ensure_database(bad)


def test_ensure_database_on_a_stopped_server_says_so(make: Make) -> None:
    with pytest.raises(PermanentError, match="Is it started"):
        make().ensure_database("fashion")


# Sharing and stopping


def test_stop_if_unused_leaves_a_server_that_somebody_uses(server: EmbeddedPostgres) -> None:
    with _connect(server):
        assert server.stop(only_if_unused=True) is False
        assert server.status().clients == 1
    assert server.stop(only_if_unused=True) is True


def test_running_stops_what_it_started(make: Make) -> None:
    pg = make()
    with suppress(ZeroDivisionError), pg.running() as same:
        assert same is pg
        assert pg.status().running
        raise ZeroDivisionError
    assert not pg.status().running


def test_running_leaves_what_it_did_not_start(shared: EmbeddedPostgres) -> None:
    with shared.running():
        pass
    assert shared.status().running


def test_running_leaves_what_another_process_uses(make: Make) -> None:
    pg = make()
    body = "with pg.running():\n    print('in', flush=True)\n    sys.stdin.read()"
    with pg.running():
        other = subprocess.Popen(
            _command(pg, body), env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
    assert pg.status().running, "the other process holds no connection but its lease"
    other.communicate(timeout=30)
    assert pg.status().running, "it did not start the server, so it does not stop it"


def test_four_starts_at_once_start_one_server(make: Make) -> None:
    pg = make(seeded=False)
    body = "print(json.dumps([pg.start(), pg.status().pid]))"
    children = [
        subprocess.Popen(_command(pg, body), env=_environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = [json.loads(child.communicate(timeout=60)[0]) for child in children]
    assert sorted(started for started, _ in answers) == [False, False, False, True]
    assert {pid for _, pid in answers} == {_pid(pg)}


# Killed servers and what they leave behind


def test_kill_9_loses_no_committed_row(server: EmbeddedPostgres) -> None:
    _ask(server, "CREATE TABLE kept (n integer PRIMARY KEY)")
    acknowledged: list[int] = []

    def write() -> None:
        with suppress(psycopg.Error), _connect(server) as connection:
            for number in range(100_000):
                connection.execute("INSERT INTO kept VALUES (%s)", (number,))
                acknowledged.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    _wait(lambda: len(acknowledged) > 50)
    os.kill(_pid(server), signal.SIGKILL)
    writer.join(30)
    assert server.start() is True
    found = {row[0] for row in _ask(server, "SELECT n FROM kept")}
    assert set(acknowledged) <= found
    assert len(found) - len(acknowledged) <= 1


def test_a_server_that_was_seen_to_serve_is_known_by_its_process(server: EmbeddedPostgres) -> None:
    seen = server.process_id()
    assert seen == _pid(server)
    assert server.still_runs(seen)
    assert not server.still_runs(None)
    os.kill(_pid(server), signal.SIGKILL)
    _wait(lambda: not server.still_runs(seen))
    assert server.start() is True
    assert not server.still_runs(seen)
    assert server.still_runs(server.process_id())
    (server.status().socket_dir / ".s.PGSQL.5432").unlink()
    assert not server.still_runs(server.process_id())


@linux_only
def test_a_zombie_postmaster_does_not_pass_for_a_server(make: Make) -> None:
    """Its parent adopts orphans and never reaps them, as PID 1 of a container does."""
    pg = make()
    body = (
        "import ctypes\nctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER\n"
        "pg.start()\nprint(pg.status().pid, flush=True)\nsys.stdin.read()"
    )
    init = subprocess.Popen(
        _command(pg, body), env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert init.stdout is not None
        pid = int(init.stdout.readline())
        _ask(pg, "CREATE TABLE kept AS SELECT 1 AS n")
        os.kill(pid, signal.SIGKILL)
        _wait(lambda: _state(pid) == "Z")
        begun = time.monotonic()
        assert pg.start() is True
        assert time.monotonic() - begun < 20
        assert _state(pid) == "Z", "the test proves nothing if somebody reaped it"
        assert _pid(pg) != pid
        assert _ask(pg, "SELECT n FROM kept") == [(1,)]
    finally:
        init.communicate(timeout=30)


@linux_only
def test_a_reused_pid_does_not_pass_for_a_server(server: EmbeddedPostgres) -> None:
    pid, status = _pid(server), server.status()
    os.kill(pid, signal.SIGKILL)
    _wait(lambda: not _alive(pid))
    user = install.server_user(status.data_dir)
    credentials = {} if user.is_self else {"user": user.uid, "group": user.gid, "extra_groups": []}
    bystander = subprocess.Popen(["sleep", "60"], cwd="/", **credentials)  # type: ignore[call-overload]
    try:
        pid_file = status.data_dir / "postmaster.pid"
        rest = pid_file.read_text().split("\n", 1)[1]
        pid_file.write_text(f"{bystander.pid}\n{rest}")
        (status.socket_dir / ".s.PGSQL.5432.lock").write_text(f"{bystander.pid}\n{rest}")
        assert server.status().running is False
        assert server.stop() is False
        assert server.start() is True
        assert bystander.poll() is None
        assert server.stop() is True
        assert bystander.poll() is None, "stopping hit an unrelated process"
    finally:
        bystander.kill()
        bystander.wait()


def test_a_killed_start_leaves_no_half_cluster(make: Make) -> None:
    pg = make(seeded=False)
    child = subprocess.Popen(_command(pg, "pg.start()"), env=_environment())
    _wait(lambda: bool(list(pg.root.glob("cluster.new-*/PG_VERSION"))), 30)
    child.kill()
    child.wait()
    assert not (pg.root / "cluster").exists()
    assert pg.start() is True
    assert list(pg.root.glob("cluster.new-*")) == []
    assert _ask(pg, "SELECT 1", database="postgres") == [(1,)]


def test_a_deleted_folder_begins_anew_while_the_old_server_still_listens(make: Make, workspace: Path) -> None:
    pg = make(workspace / ("d" * 60) / ("e" * 60) / "postgres")
    assert pg.start() is True
    old = _pid(pg)
    shutil.rmtree(pg.root)
    assert pg.status().running is False
    assert not pg.still_runs(old)
    assert pg.start() is True
    assert _ask(pg, "SELECT count(*) FROM pg_database WHERE datname = 'fashion'", database="postgres") == [
        (0,)
    ]
    assert _pid(pg) != old
    _wait(lambda: not _alive(old))


def test_a_living_server_without_its_socket_is_never_started_over(server: EmbeddedPostgres) -> None:
    status = server.status()
    (status.socket_dir / ".s.PGSQL.5432").unlink()
    with pytest.raises(PermanentError, match=r"its socket .* was deleted"):
        server.start()
    assert install.first_number(status.data_dir / "postmaster.pid") == status.pid
    assert server.stop() is True
    assert server.start() is True


@pytest.mark.slow
@linux_only
def test_a_server_that_hangs_is_told_from_one_that_runs(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = _pid(server)
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        status = server.status()
        assert (status.running, time.monotonic() - begun < 15) == (False, True)
        assert "does not serve" in status.detail
        monkeypatch.setattr(supervisor, "READY_SECONDS", 1.0)
        with pytest.raises(PermanentError, match="did not serve within 1 s"):
            server.start()
        assert server.stop(only_if_unused=True) is False
    finally:
        os.kill(pid, signal.SIGCONT)
    _wait(lambda: server.status().running)


@pytest.mark.slow
def test_a_full_server_is_a_running_server(server: EmbeddedPostgres) -> None:
    connections: list[psycopg.Connection[tuple[object, ...]]] = []
    try:
        with suppress(psycopg.OperationalError):
            while len(connections) < 250:
                connections.append(_connect(server))
        assert len(connections) == 200
        assert server.start() is False
        assert "no connection left" in server.status().detail
        assert server.stop(only_if_unused=True) is False
    finally:
        for connection in connections:
            connection.close()


# Paths


@pytest.mark.parametrize("name", ["d" * 120, 'it\'s a $HOME, "é" `x`\\ folder'])
def test_any_path_may_be_the_root(make: Make, workspace: Path, name: str) -> None:
    pg = make(workspace / name / "postgres", seeded=False)
    url = pg.url("postgres")
    assert pg.start() is True
    assert pg.url("postgres") == url
    socket_dir = pg.status().socket_dir
    assert len(os.fsencode(socket_dir / ".s.PGSQL.5432")) <= 103
    owner = install.server_user(pg.status().data_dir).uid
    for folder in (socket_dir, socket_dir.parent):
        assert (folder.stat().st_uid, stat.S_IMODE(folder.stat().st_mode)) == (owner, 0o700)
    assert _ask(pg, "SELECT current_setting('data_directory')", "postgres") == [(str(pg.root / "cluster"),)]
    assert pg.start() is False
    assert pg.stop() is True


def test_the_short_socket_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    home, user = Path("/" + "d" * 120), install.ServerUser(1234, 1234)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1234")
    first = install.socket_folder(home, "key", user)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert install.socket_folder(home, "key", user) == first
    assert install.socket_folder(home, "key", install.ServerUser(1235, 1234)) != first


@root_only
def test_a_socket_folder_that_another_user_made_is_refused(workspace: Path) -> None:
    user = install.unprivileged_user()
    squatted = workspace / "squatted"
    squatted.mkdir()
    os.chown(squatted, 1, 1)
    (workspace / "link").symlink_to(squatted)
    with pytest.raises(PermanentError, match="belongs to uid 1"):
        install.server_folder(squatted, user)
    with pytest.raises(PermanentError, match="cannot be opened as one"):
        install.server_folder(workspace / "link", user)
    assert squatted.stat().st_uid == 1


# Users


@root_only
def test_another_os_user_cannot_connect(shared: EmbeddedPostgres) -> None:
    other = install.ServerUser(1, 1)
    path = shared.status().socket_dir / ".s.PGSQL.5432"
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    command = [_python_for(other), "-c", code, str(path)]
    done = subprocess.run(
        command, cwd="/", user=1, group=1, extra_groups=[], capture_output=True, text=True, timeout=30
    )
    assert "PermissionError" in done.stderr
    assert _ask(shared, "SELECT 1") == [(1,)]


@root_only
def test_a_normal_user_is_told_whose_server_it_is(shared: EmbeddedPostgres) -> None:
    other = install.ServerUser(1, 1)
    body = (
        "print(pg.status().detail)\n"
        "for act in (pg.start, pg.stop, lambda: pg.ensure_database('x')):\n"
        "    try:\n        act()\n    except PermanentError as exc:\n        print(exc)\n"
    )
    done = subprocess.run(
        _command(shared, body, _python_for(other)),
        env=_environment(),
        cwd="/",
        user=1,
        group=1,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 4
    assert "ermission denied" in lines[0]
    assert all("belongs to uid" in line for line in lines[1:3])
    assert shared.status().running


@root_only
def test_a_normal_user_runs_a_server_of_its_own(make: Make, workspace: Path) -> None:
    """The rest of this file, when it does not run as root, is the longer form of this test."""
    user = install.unprivileged_user()
    home = workspace / "home"
    home.mkdir(mode=0o700)
    os.chown(home, user.uid, user.gid)
    pg = make(home / "data" / "postgres", seeded=False)
    body = (
        "import signal, time\n"
        "out = [os.geteuid(), pg.start(), pg.start(), pg.status().running]\n"
        "pg.ensure_database('fashion')\n"
        "os.kill(pg.status().pid, signal.SIGKILL)\n"
        "out += [pg.start(), pg.stop(only_if_unused=True), pg.status().running, pg.start()]\n"
        "print(json.dumps(out))"
    )
    done = subprocess.run(
        _command(pg, body, _python_for(user)),
        env=_environment(HOME=str(home)),
        cwd="/",
        user=user.uid,
        group=user.gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [user.uid, True, False, True, True, True, False, True]
    assert {path.stat().st_uid for path in pg.root.iterdir()} == {user.uid}
    assert not pg.private_base.exists()
    assert pg.start() is False, "root shares the server of the folder's owner"
    assert pg.stop() is True


@root_only
def test_root_below_a_closed_folder_keeps_the_cluster_in_a_private_one(make: Make, workspace: Path) -> None:
    closed = workspace / "closed"
    closed.mkdir(mode=0o700)
    pg = make(closed / "data" / "postgres", seeded=False)
    url = pg.url("postgres")
    assert pg.start() is True
    assert pg.url("postgres") == url
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700, "a folder of the user's was opened"
    status, pointer = pg.status(), (pg.root / "WHERE.txt").read_text()
    assert status.data_dir.parent.parent == pg.private_base
    assert status.data_dir.stat().st_uid == install.unprivileged_user().uid
    assert f"cluster: {status.data_dir}\n" in pointer
    assert f"may not enter {closed} (mode 0700, owner uid 0)" in pointer
    assert status.log_file.parent == pg.root
    _ask(pg, "CREATE TABLE kept AS SELECT 1 AS n", "postgres")
    assert pg.start() is False

    # A copy would share the database; the moved folder takes it along; a new one at the old path begins anew.
    copy = make(closed / "copy" / "postgres", seeded=False)
    shutil.copytree(pg.root, copy.root)
    assert pg.stop() is True
    with pytest.raises(PermanentError, match="is a copy of"):
        copy.start()
    moved = make(closed / "moved" / "postgres", seeded=False)
    (closed / "data").rename(closed / "moved")
    assert moved.start() is True
    assert _ask(moved, "SELECT n FROM kept", "postgres") == [(1,)]
    fresh = make(pg.root, seeded=False)
    assert fresh.start() is True
    assert _ask(fresh, "SELECT to_regclass('kept')", "postgres") == [(None,)]
    assert _ask(moved, "SELECT n FROM kept", "postgres") == [(1,)], "the moved folder's server was touched"


@pytest.mark.parametrize("name", ["data", pytest.param("closed", marks=root_only), "d" * 120])
def test_delete_leaves_nothing_of_ours_and_all_that_is_not(make: Make, workspace: Path, name: str) -> None:
    parent = workspace / name
    parent.mkdir(mode=0o700 if name == "closed" else 0o755)
    pg = make(parent / "postgres", seeded=name != "closed")
    pg.start()
    socket_dir, pid = pg.status().socket_dir, _pid(pg)
    (pg.root / "a note of mine").touch()
    pg.delete()
    assert not _alive(pid)
    assert [path.name for path in pg.root.iterdir()] == ["a note of mine"]
    assert not socket_dir.exists()
    assert not pg.private_base.exists() or list(pg.private_base.iterdir()) == []
    (pg.root / "a note of mine").unlink()
    pg.delete()
    assert list(parent.iterdir()) == []
    pg.delete()
    assert list(parent.iterdir()) == []


@root_only
def test_a_data_folder_deleted_by_root_is_not_resurrected(make: Make, workspace: Path) -> None:
    closed = workspace / "closed"
    closed.mkdir(mode=0o700)
    pg = make(closed / "data" / "postgres", seeded=False)
    pg.start()
    _ask(pg, "CREATE TABLE kept AS SELECT 1 AS n", "postgres")
    shutil.copytree(pg.root, closed / "backup")
    private = pg.status().data_dir.parent
    shutil.rmtree(closed / "data")
    assert pg.status().running is False
    assert "no database yet" in pg.status().detail
    assert pg.start() is True, "the old server still runs, and is not ours any more"
    assert _ask(pg, "SELECT to_regclass('kept')", "postgres") == [(None,)]
    assert pg.status().data_dir == private / "cluster"
    assert (private / "cluster.old" / "PG_VERSION").exists()
    with pytest.raises(PermanentError, match=r"is kept in .*cluster\.old"):
        make(closed / "backup", seeded=False).start()
    assert pg.status().running
    assert pg.stop() is True
    shutil.rmtree(private / "cluster")
    with pytest.raises(PermanentError, match="it is not there"):
        pg.start()


@root_only
def test_root_with_a_closed_environment_runs_a_private_copy_of_the_programs(
    make: Make, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, closed = install.wheel_folder(), workspace / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(wheel / "pginstall18", closed / wheel.name / "pginstall18", symlinks=True)
    shutil.copytree(wheel.parent / f"{wheel.name}.libs", closed / f"{wheel.name}.libs", symlinks=True)
    monkeypatch.setattr(install, "wheel_folder", lambda: closed / wheel.name)
    pg = make()
    assert pg.start() is True
    program = Path(f"/proc/{_pid(pg)}/exe").resolve()
    assert pg.private_base in program.parents
    assert program.stat().st_uid == 0
    pointer = (pg.root / "WHERE.txt").read_text()
    assert "cluster: here\n" in pointer
    assert f"programs: {program.parent}\n" in pointer
    assert str(closed) in pointer
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert pg.stop() is True
    assert pg.start() is True
    assert [path.name for path in pg.private_base.iterdir()] == [program.parents[3].name]

    # A strict umask makes the files unreadable where the folders are not.
    closed.chmod(0o755)
    assert (
        install.unreachable(closed / wheel.name / "pginstall18" / "bin", install.unprivileged_user()) is None
    )
    (closed / wheel.name / "pginstall18" / "share" / "postgresql" / "postgres.bki").chmod(0o600)
    why = install.unreachable(closed / wheel.name / "pginstall18" / "bin", install.unprivileged_user())
    assert why is not None
    assert "postgres.bki" in why


@root_only
def test_a_cluster_that_root_owns_is_refused_with_the_remedy(make: Make) -> None:
    pg = make()
    os.chown(pg.root / "cluster", 0, 0)
    with pytest.raises(PermanentError, match=r"belongs to uid 0.*chown -R"):
        pg.start()


# Failures that say what to do


def test_a_start_that_fails_shows_the_end_of_the_log(make: Make) -> None:
    pg = make()
    config = pg.root / "cluster" / "postgresql.conf"
    good = config.read_text()
    config.write_text(good + "\nnonsense = on\n")
    begun = time.monotonic()
    with pytest.raises(PermanentError, match="did not start") as caught:
        pg.start()
    assert time.monotonic() - begun < 20
    assert 'unrecognized configuration parameter "nonsense"' in str(caught.value)
    assert str(pg.root / "server.log") in str(caught.value).splitlines()[0]
    config.write_text(good)
    assert pg.start() is True


def test_an_initdb_that_fails_leaves_nothing(
    make: Make, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = workspace / "bin"
    fake.mkdir()
    (fake / "initdb").write_text('#!/bin/sh\necho "No space left on device"\nexit 1\n')
    (fake / "initdb").chmod(0o755)
    pg = make(seeded=False)
    with monkeypatch.context() as patch:
        patch.setattr(install, "programs", lambda *_: fake)
        with pytest.raises(PermanentError, match=r"(?s)could not be initialised.*No space left on device"):
            pg.start()
    assert sorted(path.name for path in pg.root.iterdir()) == ["lock", "server.log"]
    assert pg.start() is True


def test_a_lock_that_is_held_for_too_long_names_its_holder(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pg = make()
    monkeypatch.setattr(supervisor, "LOCK_SECONDS", 0.3)
    with (pg.root / "lock").open("w") as handle:
        handle.write("4711\n")
        handle.flush()
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(PermanentError, match="by process 4711"):
            pg.start()
    assert pg.start() is True


def test_another_major_version_is_refused(make: Make) -> None:
    pg = make()
    (pg.root / "cluster" / "PG_VERSION").write_text("99\n")
    with pytest.raises(PermanentError, match="needs PostgreSQL 99"):
        pg.start()


def test_the_log_is_bounded_and_the_server_goes_on_writing(shared: EmbeddedPostgres) -> None:
    log = shared.status().log_file
    with log.open("ab") as handle:
        handle.write(b"old line\n" * (process.LOG_BYTES // 9 + 1))
    assert log.stat().st_size > process.LOG_BYTES
    assert shared.start() is False
    with pytest.raises(psycopg.OperationalError):
        _connect(shared, "missing")
    text = log.read_text()
    assert len(text) < 10_000
    assert 'database "missing" does not exist' in text
    assert "\0" not in text
    kept = log.with_name("server.log.1")
    assert 0 < kept.stat().st_size <= process.LOG_KEPT_BYTES
