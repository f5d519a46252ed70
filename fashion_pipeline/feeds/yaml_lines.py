"""YAML that remembers where it stood: values with the line of every key, for errors that name it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError

from fashion_pipeline.errors import SettingsError

#: Where a value stands in the file: keys and list positions from the root.
Loc: TypeAlias = tuple[str | int, ...]

#: What pydantic says in Python's words, in those of the file.
ADVICE = {
    "tuple_type": "write a list: one `- ` for each entry",
    "dict_type": "write keys and values",
    "model_type": "write keys and values",
    "model_attributes_type": "write keys and values",
    "string_type": "write text, in quotes where YAML would read something else",
    "string_too_short": "is empty",
}


#: By libyaml where there is one: every process of Dagster reads the file, and for a thousand stores it is ten
#: times as fast.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class YamlFile:
    """The plain value of a YAML file, and the line (from 1) of every place in it."""

    path: Path
    value: Any
    lines: dict[Loc, int]

    def where(self, loc: Loc) -> str:
        """`feeds.yaml:12: stores.3.location` for the nearest place that the file has."""
        known = loc
        while known and known not in self.lines:
            known = known[:-1]
        key = ".".join(str(part) for part in loc) or "(whole file)"
        return f"{self.path}:{self.lines.get(known, 1)}: {key}"


def read_yaml(path: Path) -> YamlFile:
    """Read one YAML document.

    Raises:
        SettingsError: no such file, no YAML, or a key that stands twice; it names file, line and key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({type(error).__name__}): name a UTF-8 file") from error
    lines: dict[Loc, int] = {}
    try:
        # The safe loader as `safe_load` uses it, taken apart to keep the nodes with their marks.
        loader = LOADER(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise SettingsError(f"{path}: the file is empty: it needs `first_day` and `stores`")
            _note_lines(path, node, (), lines)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        raise SettingsError(f"{path}:{line}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: not YAML: {error}") from error
    return YamlFile(path, value, lines)


def _note_lines(path: Path, node: yaml.Node, loc: Loc, lines: dict[Loc, int]) -> None:
    lines[loc] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, child in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise SettingsError(
                    f"{path}:{line}: {'.'.join(map(str, (*loc, name)))}: stands twice, "
                    f"first in line {seen[name]}: remove one"
                )
            seen[name] = line
            _note_lines(path, child, (*loc, name), lines)
            lines[(*loc, name)] = line
    elif isinstance(node, yaml.SequenceNode):
        for position, child in enumerate(node.value):
            _note_lines(path, child, (*loc, position), lines)


def validation_lines(source: YamlFile, error: ValidationError) -> list[str]:
    """What a schema finds wrong with the file, a line for each: file, line, key, what to do."""
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    told = []
    for problem in problems:
        # Refused stores leave an empty tuple, which is not the trouble.
        if problem["type"] == "too_short" and len(problems) > 1:
            continue
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "no such key"
        elif problem["type"] == "missing":
            message = "is missing"
        message = ADVICE.get(problem["type"], message)
        told.append(f"{source.where(problem['loc'])}: {message}")
    return told
