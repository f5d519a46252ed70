"""ISO 4217 as data, and what signs and names of currencies stand for.

The table (`values/currencies.csv`) has the codes in use with their minor digits (ISO 4217, list one),
whether a dot groups thousands where the currency is at home (CLDR number symbols), and the order of
magnitude of a unit against a US dollar, by which the upper bound of prices scales.
"""

import csv
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

import yaml

_DATA = "values"


@dataclass(frozen=True)
class Currency:
    """One ISO 4217 currency: digits after the decimal mark, habit of grouping, units per dollar (10^n)."""

    code: str
    minor_digits: int
    dot_groups: bool
    magnitude: int


@dataclass(frozen=True)
class Signs:
    """What a sign or name may mean: candidates by sign, and the meaning where nothing else decides."""

    candidates: dict[str, frozenset[str]]
    default: dict[str, str]


def read_data(name: str) -> str:
    """The text of a data file of this package below `values/`."""
    return resources.files("fashion_pipeline.cleaning").joinpath(_DATA, name).read_text(encoding="utf-8")


def read_yaml(name: str) -> Any:
    """The content of a YAML data file; by libyaml where PyYAML has it, which takes a tenth of the time."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(read_data(name), Loader=loader)  # noqa: S506 - both are safe loaders


def format_price(price: Decimal | float, currency: str) -> str:
    """A price for people: as many decimals as the currency has, then its code."""
    known = currencies().get(currency)
    return f"{price:,.{known.minor_digits if known else 2}f} {currency}"


@cache
def currencies() -> dict[str, Currency]:
    """The ISO 4217 table by code."""
    rows = csv.DictReader(read_data("currencies.csv").splitlines())
    return {
        row["code"]: Currency(
            row["code"], int(row["minor_digits"]), row["dot_groups"] == "yes", int(row["magnitude"])
        )
        for row in rows
    }


@cache
def signs() -> Signs:
    """Signs and names of currencies, by `sign_key`."""
    data = read_yaml("currency_symbols.yaml")
    return Signs(
        {sign_key(str(sign)): frozenset(codes) for sign, codes in data["symbols"].items()},
        {sign_key(str(sign)): code for sign, code in data["default"].items()},
    )


def sign_key(text: str) -> str:
    """The form in which signs and words beside a price are compared."""
    return unicodedata.normalize("NFKC", text).casefold().strip(" .:;*()[]")


def candidates(token: str) -> frozenset[str] | None:
    """The currencies that `token` (a code, sign or name) may mean; None where it means none."""
    code = token.strip(" .:;*()[]").upper()
    if code in currencies():
        return frozenset((code,))
    return signs().candidates.get(sign_key(token))
