"""docs/images.md says what the tests hold: the outcomes of the misbehaving server, the classes, the settings."""

import re

import pytest

from fashion_pipeline.feeds.config import ImagePolicy
from fashion_pipeline.images.types import ERRORS, TRANSIENT_STATUSES
from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.images.misbehaving import MEANINGS, OUTCOMES, UNREACHED, outcomes_table
from fashion_pipeline_tests.test_readme import app, command_names

PAGE = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[str]:
    """Rows of the table whose first column has that heading."""
    lines = PAGE.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith(f"| {heading} |")]
    end = next(number for number in range(start, len(lines)) if not lines[number].startswith("|"))
    return lines[start + 2 : end]


def classes_table() -> list[str]:
    return [
        f"| `{error}` | {'no' if known.permanent else 'yes'} | {known.meaning} |"
        for error, known in ERRORS.items()
    ]


@pytest.mark.parametrize(("heading", "table"), [("the server", outcomes_table()), ("class", classes_table())])
def test_the_page_has_the_tests_table(heading: str, table: list[str]) -> None:
    assert rows(heading) == table, "docs/images.md should have:\n" + "\n".join(table)


def test_every_misbehaviour_is_explained_once() -> None:
    names = [name for name, *_ in OUTCOMES] + list(UNREACHED)
    assert sorted(names) == sorted(MEANINGS)
    assert len(set(MEANINGS.values())) == len(MEANINGS) >= 60


def test_every_setting_of_a_store_is_in_the_table_with_its_default() -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", "\n".join(rows("key")), re.MULTILINE))
    defaults = ImagePolicy().model_dump()
    told = {name: str(value).lower().removesuffix(".0") for name, value in defaults.items()}
    told |= {"own_hosts": "none", "smallest_side": "250, from 2027 on 500"}
    assert shown == told


def test_the_passing_statuses_are_named() -> None:
    (line,) = re.findall(r"^Other answers are.*", PAGE, re.MULTILINE)
    named = {int(status) for status in re.findall(r"\b4\d\d\b", line)}
    # 304 is no failure unless unasked, 429 and 430 have a class of their own.
    assert named == TRANSIENT_STATUSES - {304, 429, 430}


def test_the_commands_exist() -> None:
    shown = set(re.findall(r"`fashion-pipeline (images [a-z]+)", PAGE))
    assert shown == {name for name in command_names(app) if name.startswith("images ")}
