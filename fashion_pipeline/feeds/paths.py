"""Paths into nested records, as mappings write them: `priceInfo.price`, `images[1:].uri`.

A path is names with dots between them. Behind a name may stand `[0]` (that element), `[1:]` (the elements
from there), `[]` (all), `[only]` (the element of a list of one: of a list of several nobody knows which
is meant) or `[name=color|colour]` (those whose `name` is one of these). A name asks every element of a list.
Names are compared like the fields of other feeds, see `normal_name`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from fashion_pipeline.feeds.items import Value
from fashion_pipeline.feeds.mapping import normal_name

_SEGMENT = re.compile(r"([^.\[\]]+)((?:\[[^\]]*\])*)(?:\.|\Z)")
_BRACKET = re.compile(r"\[([^\]]*)\]")

Step: TypeAlias = Callable[[list[Any]], list[Any]]


class Names(dict[str, str]):
    """Normalized names by name: records repeat theirs."""

    def __missing__(self, name: str) -> str:
        normal = normal_name(name)
        if len(self) < 10_000:
            self[name] = normal
        return normal


class Paths:
    """Looks values up in records; compiled paths and normalized names are kept for one read."""

    def __init__(self) -> None:
        self.names = Names()
        self._steps: dict[str, tuple[str, tuple[Step, ...]]] = {}

    def fields(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record with normalized names, of which `get` takes its values."""
        names = self.names
        return {names[name]: value for name, value in record.items()}

    def get(self, fields: dict[str, Any], path: str) -> Value:
        """The text, or texts, at `path`; None where there is nothing, or only further structure."""
        found = fields.get(path)
        if found is None:
            compiled = self._steps.get(path)
            if compiled is None:
                compiled = self._steps[path] = self._compile(path)
            # The names of `fields` are normalized already: most paths end here, at a field that is not there.
            found = fields.get(compiled[0])
            if found is None:
                return None
            values = [found]
            for step in compiled[1]:
                values = step(values)
                if not values:
                    return None
        elif isinstance(found, str):
            return found
        else:
            values = [found]
        texts = [text for value in values for text in _texts(value)]
        return None if not texts else texts[0] if len(texts) == 1 else texts

    def _compile(self, path: str) -> tuple[str, tuple[Step, ...]]:
        """The name of the field that a path begins with, and the steps from there."""
        first, steps = "", []
        for name, brackets in _SEGMENT.findall(path):
            if first:
                steps.append(self._member(normal_name(name)))
            first = first or normal_name(name)
            steps.extend(self._choice(bracket) for bracket in _BRACKET.findall(brackets))
        return first, tuple(steps)

    def _member(self, name: str) -> Step:
        names = self.names

        def member(values: list[Any]) -> list[Any]:
            found: list[Any] = []
            for value in values:
                for part in value if isinstance(value, list) else (value,):
                    if isinstance(part, dict):
                        found.extend(inner for key, inner in part.items() if names[key] == name)
            return [value for value in found if value is not None]

        return member

    def _choice(self, bracket: str) -> Step:
        name, equals, wanted = bracket.partition("=")
        if equals:
            known = {normal_name(word) for word in wanted.split("|")}
            return lambda values: [part for part in _flat(values) if self._matches(part, name, known)]
        if bracket == "only":
            return lambda values: [part for value in values for part in _flat([value]) if _alone(value)]
        if bracket.endswith(":"):
            start = int(bracket[:-1])
            return lambda values: [part for value in values for part in _flat([value])[start:]]
        if bracket:
            at = int(bracket)
            return lambda values: [part for value in values for part in _flat([value])[at : at + 1]]
        return _flat

    def _matches(self, part: Any, name: str, known: set[str]) -> bool:
        if not isinstance(part, dict):
            return False
        said = next((value for key, value in part.items() if self.names[key] == normal_name(name)), None)
        return isinstance(said, str) and normal_name(said) in known


def _flat(values: list[Any]) -> list[Any]:
    return [part for value in values for part in (value if isinstance(value, list) else (value,))]


def _alone(value: Any) -> bool:
    return not isinstance(value, list) or len(value) == 1


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif value is not None and not isinstance(value, dict):
        yield str(value)
