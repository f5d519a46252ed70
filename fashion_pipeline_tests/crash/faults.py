"""The faults: what is done to a run at a moment, and undone before the next."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fashion_pipeline_tests.crash.proxy import Proxy
from fashion_pipeline_tests.crash.side import PATIENCE, RUN_SECONDS, Outcome, Run, Runners, Side
from fashion_pipeline_tests.crash.watch import START, Moment
from fashion_pipeline_tests.crash.web import WebServer
from fashion_pipeline_tests.crash.world import Step

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
#: What the clock jumps by.
JUMPS = ("-3d", "-2h", "+30m", "+1d", "+400d")
EMBED, POINTS, PICTURES = "image_embeddings", "product_points", "product_images"


@dataclass(frozen=True)
class Place:
    """Where the faults of one world work: the side, its server, and what they need."""

    side: Side
    web: WebServer
    #: A process that starts runs under a clock that `clock_file` sets.
    clocked: Runners | None
    clock_file: Path


@dataclass(frozen=True)
class Fault:
    """A kind of fault. `strike` runs a partition with it; `stages` are those that it can hit, any where empty."""

    name: str
    words: str
    strike: Callable[[Place, Step, Moment, random.Random], Outcome]
    stages: tuple[str, ...] = ()
    weight: int = 1
    needs: Callable[[Place], str | None] = lambda _: None


def _start(place: Place, step: Step, moment: Moment) -> Run:
    place.side.keep_postgres()
    return place.side.start(step, moment=moment)


def _at_moment(strike: Callable[[Place, Run, random.Random], None]) -> Callable[..., Outcome]:
    """Let a run stand still at the moment, strike, and let it go on; or strike while it goes on."""

    def whole(place: Place, step: Step, moment: Moment, dice: random.Random) -> Outcome:
        delay = dice.uniform(0, 0.03)
        run = _start(place, step, moment)
        if run.wait_for_moment():
            if not moment.hold:
                time.sleep(delay)
            strike(place, run, dice)
            run.go_on()
        return run.end(PATIENCE)

    return whole


def _kill_run(place: Place, run: Run, dice: random.Random) -> None:
    run.kill_alone()


def _kill_postgres(place: Place, run: Run, dice: random.Random) -> None:
    """Its first process alone, which the others notice, or all of them."""
    pid = place.side.postgres
    assert pid is not None
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    _kill(pid)
    if dice.random() < 0.5:
        for child in children:
            _kill(child)


def _kill_server(place: Place, run: Run, dice: random.Random) -> None:
    """The web server goes, and is back after a while or after the run."""
    place.web.kill()
    if dice.random() < 0.5:
        time.sleep(dice.uniform(0, 0.5))
        place.web.start()


def _kill_everything(place: Place, run: Run, dice: random.Random) -> None:
    place.web.kill()
    run.kill()
    _kill_postgres(place, run, dice)


def _kill_decode_worker(place: Place, step: Step, moment: Moment, dice: random.Random) -> Outcome:
    """A decode worker, which lives for a part of its stage only: while it starts, decodes or waits."""
    delay = dice.uniform(0, 0.6)
    run = _start(place, step, Moment(EMBED, 1, hold=False))
    struck = None
    if run.wait_for_moment():
        give_up = time.monotonic() + 10
        while struck is None and run.lives() and time.monotonic() < give_up:
            for worker in run.decode_workers():
                time.sleep(delay)
                struck = _kill(worker) or struck
    outcome = run.end(RUN_SECONDS)
    return outcome if struck else Outcome(outcome.told, None)


def _fill_disk(place: Place, run: Run, dice: random.Random) -> None:
    left = dice.choice([0, 0, 1, 8, 64]) * 4096
    with _ballast(place).open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(1 << 20)):
            pass
    os.truncate(_ballast(place), max(0, _ballast(place).stat().st_size - left))


def _ballast(place: Place) -> Path:
    return place.side.root / "ballast"


def _full_disk(place: Place, step: Step, moment: Moment, dice: random.Random) -> Outcome:
    try:
        return _at_moment(_fill_disk)(place, step, moment, dice)
    finally:
        _ballast(place).unlink(missing_ok=True)


def _read_only(place: Place, step: Step, moment: Moment, dice: random.Random) -> Outcome:
    """A read-only view over the data folder, so that whoever opens a file anew cannot write; PostgreSQL's own stay."""
    data = str(place.side.data)
    mounted = False

    def strike(_place: Place, _run: Run, _dice: random.Random) -> None:
        nonlocal mounted
        subprocess.run(["mount", "--bind", data, data], check=True)
        mounted = True
        subprocess.run(["mount", "-o", "remount,bind,ro", data], check=True)

    try:
        return _at_moment(strike)(place, step, moment, dice)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", data], check=True)


def _clock_jumps(place: Place, step: Step, moment: Moment, dice: random.Random) -> Outcome:
    assert place.clocked is not None
    jump = dice.choice(JUMPS)
    place.side.keep_postgres()
    run = place.side.start(
        step,
        moment=Moment(moment.stage, moment.number, hold=True),
        runners=place.clocked,
        FAKETIME_TIMESTAMP_FILE=str(place.clock_file),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    try:
        if run.wait_for_moment():
            place.clock_file.write_text(f"{jump}\n")
            run.go_on()
        return run.end(RUN_SECONDS)
    finally:
        place.clock_file.write_text("+0\n")


def _cut_connections(place: Place, step: Step, moment: Moment, dice: random.Random) -> Outcome:
    """All connections of the run to our database, when the server next says that it is in a transaction."""
    place.side.keep_postgres()
    proxy = Proxy(place.side.postgres_socket)
    after = dice.randint(1, 4)
    run = place.side.start(
        step,
        moment=Moment(moment.stage, moment.number, hold=True),
        DATABASE_URL=f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/fashion?sslmode=disable&gssencmode=disable",
    )
    if run.wait_for_moment():
        proxy.arm(after)
        run.go_on()
    outcome = run.end(PATIENCE)
    struck = proxy.cuts > 0
    proxy.close()
    return outcome if struck else Outcome(outcome.told, None)


def _late_store(place: Place, step: Step, moment: Moment, dice: random.Random) -> Outcome:
    """A write is applied, and the caller is told that it timed out."""
    place.side.keep_postgres()
    return place.side.start(step, late_write=dice.randint(1, 2)).end(PATIENCE)


def _kill(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def _own_file_system(place: Place) -> str | None:
    return None if place.side.own_file_system else "no file system may be mounted here"


def _clock(place: Place) -> str | None:
    return None if place.clocked is not None else "libfaketime is not installed"


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("run", "SIGKILL of the run", _at_moment(_kill_run), weight=5),
        Fault("decode", "SIGKILL of a decode worker", _kill_decode_worker, stages=(EMBED,), weight=2),
        Fault("postgres", "SIGKILL of the embedded PostgreSQL", _at_moment(_kill_postgres), weight=3),
        Fault("server", "SIGKILL of the stores' web server", _at_moment(_kill_server), stages=("raw_feeds", PICTURES)),
        Fault("everything", "SIGKILL of run, decode workers, PostgreSQL and web server at once",
              _at_moment(_kill_everything), weight=3),
        Fault("full_disk", "the disk is full from then on", _full_disk, weight=2, needs=_own_file_system),
        Fault("read_only", "the data folder is read-only from then on", _read_only, weight=2, needs=_own_file_system),
        Fault("clock", "the clock jumps (3 days back to 400 days ahead)", _clock_jumps, needs=_clock),
        Fault("connections", "every connection to PostgreSQL cut in a transaction", _cut_connections, weight=2),
        Fault("late_store", "the vector store times out after it applied a write", _late_store, stages=(POINTS,)),
    )
}  # fmt: skip

#: Stages in the order in which a run goes through them.
STAGES = (START, "raw_feeds", "clean_products", "products", PICTURES, EMBED, POINTS)
