"""Names of the columns of WooCommerce's export: translated shops translate them; the values stay English."""

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

import yaml

from fashion_pipeline.feeds.mapping import normal_name

_NUMBER = re.compile(r"\d+")


@cache
def _translations() -> tuple[dict[str, str], dict[str, list[str]]]:
    source = resources.files("fashion_pipeline.feeds") / "woocommerce_headers.yaml"
    data: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    columns = {
        normal_name(name): normal_name(english)
        for english, names in data["columns"].items()
        for name in (english, *names)
    }
    return columns, data["attribute"]


@cache
def english_name(name: str) -> str:
    """The English name of a normalized column name, or the name itself where it is no translation of one."""
    columns, attribute = _translations()
    if (english := columns.get(name)) is not None:
        return english
    numbers = _NUMBER.findall(name)
    if len(numbers) != 1 or name.startswith("meta:") or not _has(name, attribute["word"]):
        return name
    kind = next((kind for kind in ("value(s)", "name") if _has(name, attribute[kind])), None)
    return f"attribute_{numbers[0]}_{kind}" if kind else name


def english_names(names: Iterable[str]) -> set[str]:
    """The English names of a header."""
    return {english_name(name) for name in names}


def _has(name: str, words: Iterable[str]) -> bool:
    return any(word in name for word in words)
