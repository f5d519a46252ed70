"""Normalized values and placeholders, by maps that are data (`values/*.yaml`).

A value that no map knows stays as the shop wrote it: a wrong guess would filter the product out of
searches, an unknown value only leaves it unfiltered.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from fashion_pipeline.cleaning.currencies import read_yaml
from fashion_pipeline.cleaning.text import clean_text

#: Fields with a map of normalized values.
MAPPED_FIELDS = ("color", "size", "gender", "age_group", "condition", "availability")

_SCHEMA_ORG = re.compile(r"(?:https?://)?(?:www\.)?schema\.org/", re.IGNORECASE)
_LIST = re.compile(r"\s*(?:[/,;|&]|\s\+\s)\s*")
_LETTER_RANGE = re.compile(r"\A(x{0,4}[sml]|\dxl)\s*[-–]\s*(x{0,4}[sml]|\dxl)\Z", re.IGNORECASE)
_LONGEST_SIZE = 40
#: `Taille 38`, `Maat 40`, `rozmiar 38`: the word adds nothing.
_SIZE_WORD = re.compile(
    r"\A(?:taille|talla|taglia|maat|størrelse|storlek|str|rozmiar|размер|größe|size|サイズ|t|tg|gr)(?:\.\s*|\s*:\s*|\s+)",
    re.IGNORECASE,
)
#: `L (40-42)`, `8 (S)`: what stands in brackets is another scale's.
_WITH_NOTE = re.compile(r"([^()]+?)\s*\([^()]+\)")
#: No list has a longer one; spares folding prose.
_LONGEST_PLACEHOLDER = 60
_WHOLE = re.compile(r"[+-]?\d+(?:\.0+)?")
_LEVELS = re.compile(r"\s*(?:>|»|›|→|~~)\s*")
#: Numbers, ranges, measures and cup sizes: `38`, `38.5`, `36/38`, `W32 L34`, `EU 42`, `75B`, `98-104`,
#: `50" × 60"`, `6-9M`, `2T`.
_NUMERIC_SIZE = re.compile(
    r"""(?:(?:eu|uk|us|it|fr|de|jp|w|l|gr\.?|size|cm|in)\.?\s*)?\d+(?:[.,]\d+|\s?[½⅓⅔¼¾]|\s?\d/\d)?\s*"""
    r"""(?:["”″'′]|cm|mm|m|in|inch|l|ml|t|y|yrs?|years?|mo|months?|mths|[a-k]{1,3}|w|号|歳|jahre|monate|ans|mois|años|meses|anni|mesi|jaar|maanden|år|mdr|lat|lata|miesięcy|лет|года|мес)?"""
    r"""(?:\s*[-–/x×\s]\s*(?:l|w|eu|uk|us)?\s*\d+(?:[.,]\d+)?\s*(?:["”″'′]|cm|mm|m|in|y|yrs?|years?|mo|months?|t|[a-k]{1,3})?)*"""
    r"""(?:\s+(?:eu|uk|us|it|fr|de|jp))?""",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Normal:
    """A value after its map: `known` tells whether the map (or a rule) knows it."""

    value: str
    known: bool


def value_key(text: str) -> str:
    """The form in which values are looked up: NFKC, caseless, letters and digits and `+` only."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("ё", "е")
    return "".join(char for char in folded if char.isalnum() or char == "+")


@cache
def value_map(field: str) -> dict[str, str]:
    """Key to normalized value for one of `MAPPED_FIELDS`, all languages in one."""
    data = read_yaml(f"{field}.yaml")
    known = {value_key(canonical): canonical for canonical in data}
    for canonical, languages in data.items():
        for words in languages.values():
            known.update((value_key(word), canonical) for word in words)
    return known


@cache
def _placeholder_lists() -> dict[str, list[str]]:
    return dict(read_yaml("placeholders.yaml"))


@cache
def placeholders(field: str) -> frozenset[str]:
    """Values of `field` that mean "nothing", caseless."""
    data = _placeholder_lists()
    return frozenset(str(word).casefold() for word in (*data["any"], *data.get(field, ())))


def is_placeholder(field: str, text: str) -> bool:
    """Whether `text` stands in `field` for no value at all."""
    return len(text) <= _LONGEST_PLACEHOLDER and text.strip().casefold() in placeholders(field)


def clean_value(field: str, text: str) -> str | None:
    """`text` of a field without a map as plain text, or None for nothing and placeholders."""
    cleaned = clean_text(text)
    return None if cleaned is None or is_placeholder(field, cleaned) else cleaned


def category_path(text: str) -> str | None:
    """A category path with ` > ` between its levels, or None for nothing and placeholders."""
    cleaned = clean_value("product_type", text)
    if cleaned is None:
        return None
    levels = [level for level in _LEVELS.split(cleaned) if level]
    return " > ".join(levels) or None


def normalize(field: str, text: str) -> Normal | None:
    """The normalized value of one of `MAPPED_FIELDS`; unknown text comes back cleaned.

    None for nothing and placeholders. A word that means something in this field is none: "non disponible" is
    no availability that was left out.
    """
    cleaned, known = clean_text(text), value_map(field)
    if cleaned is None:
        return None
    key = value_key(cleaned)
    # `\\N` is a database's null, not the letter.
    if is_placeholder(field, cleaned) and (len(key) < 2 or key not in known):
        return None
    if _SCHEMA_ORG.match(cleaned):
        cleaned = _SCHEMA_ORG.sub("", cleaned)
    rule = _RULES.get(field)
    value = rule(cleaned, known) if rule else None
    if value is None:
        value = known.get(value_key(cleaned))
    return Normal(value, True) if value is not None else Normal(cleaned, False)


def _parts(text: str, known: dict[str, str]) -> list[str] | None:
    """The distinct normalized values of a list such as `Black/White`; None where one is unknown."""
    values = [known.get(value_key(part)) for part in _LIST.split(text) if part]
    if len(values) < 2 or None in values:
        return None
    return list(dict.fromkeys(value for value in values if value is not None))


def _color(text: str, known: dict[str, str]) -> str | None:
    parts = _parts(text, known)
    if parts:
        return "/".join(parts)
    return known.get(value_key(text)) or _around(text, known)


@cache
def _color_words() -> tuple[frozenset[str], tuple[str, ...], re.Pattern[str]]:
    data: dict[str, list[str]] = read_yaml("color_words.yaml")
    between = re.compile(rf"\s+(?:{'|'.join(data['and'])})\s+|\s*[-–_]\s*", re.IGNORECASE)
    return frozenset(map(value_key, data["words"])), tuple(map(value_key, data["prefixes"])), between


def _around(text: str, known: dict[str, str]) -> str | None:
    """The colour among words that leave it what it is (`Solid Black Blend`), or two with a word between."""
    words, prefixes, between = _color_words()
    found = []
    for part in [part for part in between.split(text) if part.strip()]:
        kept = [
            word
            for word in re.findall(r"[^\W_]+", part)
            if not any(char.isdecimal() for char in word) and value_key(word) not in words
        ]
        key = value_key("".join(kept))
        if not key:
            continue
        color = known.get(key) or next(
            (
                known[key[len(prefix) :]]
                for prefix in prefixes
                if key.startswith(prefix) and key[len(prefix) :] in known
            ),
            None,
        )
        if color is None:
            return None
        found.append(color)
    return "/".join(dict.fromkeys(found)) or None


def _gender(text: str, known: dict[str, str]) -> str | None:
    parts = _parts(text, known)
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else "unisex"


def _age_group(text: str, known: dict[str, str]) -> str | None:
    parts = _parts(text, known)
    return parts[0] if parts and len(parts) == 1 else None


def _size(text: str, known: dict[str, str]) -> str | None:
    if len(text) > _LONGEST_SIZE:
        return None
    if _NUMERIC_SIZE.fullmatch(text):
        return text
    named = _SIZE_WORD.sub("", text)
    if named != text and _NUMERIC_SIZE.fullmatch(named):
        return named
    with_note = _WITH_NOTE.fullmatch(text)
    if with_note and _NUMERIC_SIZE.fullmatch(with_note.group(1)):
        return with_note.group(1)
    if with_note and (letter := known.get(value_key(with_note.group(1)))):
        return letter
    parts = _parts(_LETTER_RANGE.sub(r"\1/\2", text), known)
    return "/".join(parts) if parts else None


def _availability(text: str, known: dict[str, str]) -> str | None:
    """A count of pieces, as exports of shop systems give it; `10+` and `>10` too."""
    text = text.strip("+>≥ ")
    if not _WHOLE.fullmatch(text) or len(text) > 12:
        return None
    return "in_stock" if float(text) > 0 else "out_of_stock"


_RULES: dict[str, Callable[[str, dict[str, str]], str | None]] = {
    "color": _color,
    "size": _size,
    "gender": _gender,
    "age_group": _age_group,
    "availability": _availability,
}
