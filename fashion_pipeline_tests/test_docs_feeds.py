"""docs/feeds.md says what the code has: formats, keys, thresholds, guards, reasons."""

import ast
import re

import pytest
from pydantic import BaseModel

from fashion_pipeline.cleaning.reasons import Reason, RowWarning
from fashion_pipeline.feeds import config
from fashion_pipeline.feeds.mapping import MappingLines, known_formats
from fashion_pipeline_tests.conftest import ROOT

TEXT = (ROOT / "docs" / "feeds.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """The table below a heading: the name in its first column -> the other cells."""
    section = re.split(rf"^#+ {re.escape(heading)}$", TEXT, flags=re.MULTILINE)[1]
    body = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in body.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("| `"): row[1:] for row in cells}


def test_every_format() -> None:
    assert set(rows("Formats")) == set(known_formats())


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("The file", config.FeedsConfig),
        ("A store", config.StoreConfig),
        ("A supplement", config.Supplement),
        ("mapping", MappingLines),
        ("thresholds", config.Thresholds),
        ("images", config.ImagePolicy),
    ],
)
def test_every_key_of_feeds_yaml_with_its_default(heading: str, model: type[BaseModel]) -> None:
    found = rows(heading)
    assert set(found) == set(model.model_fields)
    for name, field in model.model_fields.items():
        told = found[name][0]
        if field.is_required():
            assert told == "required"
        elif isinstance(field.default, bool):
            assert told == str(field.default).lower()
        elif isinstance(field.default, int | float):
            assert float(told) == field.default
        elif isinstance(field.default, str):
            assert told == f"`{field.default}`"


def test_every_guard() -> None:
    tree = ast.parse((ROOT / "fashion_pipeline" / "cleaning" / "guards.py").read_text(encoding="utf-8"))
    fired = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"
        if isinstance(node.args[0], ast.Constant)
    }
    assert set(rows("Guards")) == fired | {"unreadable"}


@pytest.mark.parametrize(("heading", "kind"), [("Reasons", Reason), ("Warnings", RowWarning)])
def test_every_reason_with_its_meaning(heading: str, kind: type[Reason] | type[RowWarning]) -> None:
    assert {name: cells[0] for name, cells in rows(heading).items()} == {
        member.value: member.explanation for member in kind
    }
