"""Where worlds stand: one folder, one web server, one process that starts runs, and a data folder to be copied."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fashion_pipeline_tests.crash.side import Runners, Side, copy_side
from fashion_pipeline_tests.crash.web import WebServer, free_port
from fashion_pipeline_tests.crash.world import World, make_world

#: Of a side's own file system: PostgreSQL's log of writes takes most of it.
FILE_SYSTEM = "size=600m,mode=755"


class Ground:
    """A context: what it made is gone when it is left."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="crash-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            # PostgreSQL of root runs as nobody, who has to get in.
            self.folder.chmod(0o755)
            self.web = WebServer(free_port())
            stack.callback(self.web.kill)
            self.runners = Runners()
            stack.callback(self.runners.close)
            self._base = self._make_base()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def world(self, name: str, **sizes: Any) -> tuple[World, Path]:
        """A world, written into a folder that the web server serves from now on."""
        shared = self.folder / f"world-{name}"
        world = make_world(name, self.web.address, **sizes)
        world.write(shared)
        self.web.serve(shared)
        return world, shared

    @contextmanager
    def side(self, name: str, world: World, shared: Path) -> Iterator[Side]:
        """A copy of the data folder, on a file system of its own where one can be mounted."""
        root = shared / name
        root.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", FILE_SYSTEM, "tmpfs", str(root)]
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        try:
            copy_side(self._base, root)
            side = Side(world, shared, root, self.runners, own_file_system=mounted)
            try:
                yield side
            finally:
                side.close()
        finally:
            if mounted:
                subprocess.run(["umount", "-l", str(root)], check=True)

    def _make_base(self) -> Path:
        """A data folder with tables, Dagster's own ones, and an empty collection."""
        shared = self.folder / "base"
        world = make_world("base", self.web.address, stores=1, days=1)
        world.write(shared)
        side = Side(world, shared, shared / "side", self.runners, own_file_system=False)
        outcome = side.start(task="prepare", job="collection").end(180)
        side.close()
        assert outcome.success, f"{outcome.failures}\n{side.log()}"
        return side.root
