"""What the README names exists: settings, make targets, commands, pictures."""

import re

import typer

from fashion_pipeline.cli import app
from fashion_pipeline.settings import Settings
from fashion_pipeline_tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
TESTS_ONLY = {"TORCH_INDEX", "DAGSTER_HOME", "NORDLYS_TOKEN"}


def command_names(group: typer.Typer, prefix: str = "") -> set[str]:
    names = {
        prefix + (command.name or (command.callback.__name__ if command.callback else "")).replace("_", "-")
        for command in group.registered_commands
    }
    for sub in group.registered_groups:
        assert sub.typer_instance is not None
        names |= command_names(sub.typer_instance, f"{prefix}{sub.name} ")
    return names


def test_every_setting_is_in_the_table_and_no_other() -> None:
    variables = {str(field.validation_alias) for field in Settings.model_fields.values()}
    named = set(
        re.findall(r"\b(?:FASHION_PIPELINE_[A-Z_]+|DATABASE_URL|DAGSTER_PG_URL|QDRANT_[A-Z_]+)\b", README)
    )
    assert named == variables


def test_every_command_that_is_shown_exists() -> None:
    shown = set(
        re.findall(r"(?:`|\$ )fashion-pipeline ((?:index |model |embeddings |feeds |images )?[a-z]+)", README)
    )
    assert shown
    assert shown <= command_names(app)


def test_every_make_target_that_is_shown_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = set(re.findall(r"`?make (?:TORCH_INDEX=\S+(?: URL> | ))?([a-z-]+)", README))
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"demo", "test", "dev", "lint"} <= shown & targets


def test_every_picture_and_link_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []
