"""Mappings: which source field becomes which item column. Data files, and a store's own lines over them.

`mappings/<format>.yaml` names a reader and, for each column, the source fields to look at. A new kind of
feed is a new file here. A store overrides single lines by `mapping:` in `feeds.yaml`.
"""

import re
from functools import cache
from importlib import resources
from typing import Annotated, Literal, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from fashion_pipeline.errors import SettingsError
from fashion_pipeline.feeds.items import ITEM_COLUMNS

ReaderName: TypeAlias = Literal[
    "xml",
    "delimited",
    "shopify",
    "shopify_csv",
    "woocommerce_csv",
    "json",
    "woocommerce_rest",
    "jsonld",
    "rakuten",
    "parquet",
]
PageStyle: TypeAlias = Literal["shopify", "woocommerce"]

#: Two prices of which the lower is asked and the higher struck through (Shopify, Awin). Where the
#: regular price is the higher one it becomes `price` and the current one `sale_price`.
PRICE_PAIR = ("current_price", "regular_price")
#: Both ends of a price range. Where they differ the item has no price of its own, and cleaning rejects it.
PRICE_RANGE = ("price_low", "price_high")
#: The price as the shop shows it, perhaps as HTML. Two amounts there are a range, whatever `price` says.
PRICE_SHOWN = "price_shown"
#: Start and end of a sale price that stand in fields of their own.
SALE_WINDOW = ("sale_starts", "sale_ends")
MAPPABLE = (*ITEM_COLUMNS, *PRICE_PAIR, *PRICE_RANGE, PRICE_SHOWN, *SALE_WINDOW)
#: A product needs these; a supplement's rows only an id.
PRODUCT_NEEDS = ("external_id", "title")
SUPPLEMENT_NEEDS = ("external_id",)
DELIMITER_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


def normal_name(name: str) -> str:
    """A source field's name as it is compared: no case, `_` for blanks and dashes, no `g:` prefix."""
    return re.sub(r"[\s_\-]+", "_", name.strip().removeprefix("\ufeff").casefold()).removeprefix("g:")


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Candidates: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class MappingLines(BaseModel):
    """Lines that a mapping file and a store's own `mapping:` have in common; None means "not said"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Item column -> source fields in order of preference; null takes a line away.
    fields: dict[str, Candidates | None] = Field(default_factory=dict)
    #: Item column -> the value that every item gets where the feed has none.
    constants: dict[str, str] = Field(default_factory=dict)
    #: Item column -> {feed's value in lower case: value}; values not named stay as they are.
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    #: One character, or auto, tab, comma, semicolon, pipe.
    delimiter: str | None = None
    #: False where `"` is an ordinary character of the file.
    quoting: bool | None = None
    #: XML: name of the record's element. JSON: key that holds the list of records, a path of keys with dots
    #: between them; `*` for the values of an object (`products.*`), `.` where the document is one record.
    records: str | None = None
    #: JSON: key of a record's list of variants. Each is an item and inherits what it lacks; `record.NAME`
    #: is the record's own field.
    variants: str | None = None
    #: Source field -> values in lower case that make a record a context record: drafts, groups.
    skip: dict[str, Candidates] = Field(default_factory=dict)
    #: minor: prices are whole cents, pence, ... of the store's currency.
    price_unit: Literal["major", "minor"] | None = None

    @field_validator("fields", "constants", "values")
    @classmethod
    def _known_columns(cls, value: dict[str, object]) -> dict[str, object]:
        unknown = sorted(set(value) - set(MAPPABLE))
        if unknown:
            raise ValueError(f"no item column {', '.join(unknown)}; there are: {', '.join(MAPPABLE)}")
        return value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is None or value == "auto":
            return value
        value = DELIMITER_NAMES.get(value, value)
        if len(value) != 1 or value in '"\r\n':
            raise ValueError("use one character, or auto, tab, comma, semicolon, pipe")
        return value


class _MappingFile(MappingLines):
    reader: ReaderName
    #: How the location is crawled over http, where it is more than one file.
    pages: PageStyle | None = None


class Mapping(BaseModel):
    """A mapping ready for use: the format's file with the store's own lines over it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str
    reader: ReaderName
    pages: PageStyle | None
    fields: dict[str, tuple[str, ...]]
    constants: dict[str, str]
    values: dict[str, dict[str, str]]
    delimiter: str
    quoting: bool
    records: str | None
    variants: str | None
    skip: dict[str, tuple[str, ...]]
    price_unit: Literal["major", "minor"]
    #: Columns without which nothing can be made of a record.
    needs: tuple[str, ...] = PRODUCT_NEEDS

    def candidates(self, column: str) -> tuple[str, ...]:
        """Normalized source field names for an item column; empty where there is no line."""
        return tuple(normal_name(name) for name in self.fields.get(column, ()))


@cache
def known_formats() -> tuple[str, ...]:
    """Names of the mapping files: what `format:` may be."""
    folder = resources.files("fashion_pipeline.feeds") / "mappings"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


@cache
def _mapping_file(format_name: str) -> _MappingFile:
    if format_name not in known_formats():
        raise SettingsError(f"no format {format_name!r}; there are: {', '.join(known_formats())}")
    source = resources.files("fashion_pipeline.feeds") / "mappings" / f"{format_name}.yaml"
    return _MappingFile.model_validate(yaml.safe_load(source.read_text(encoding="utf-8")))


def load_mapping(
    format_name: str, own: MappingLines | None = None, needs: tuple[str, ...] = PRODUCT_NEEDS
) -> Mapping:
    """The mapping of a format with a store's own lines over it; `needs` are the columns it must have.

    Raises:
        SettingsError: the format is unknown, or nothing says where a needed column comes from.
    """
    base, own = _mapping_file(format_name), own or MappingLines()
    fields = {name: names for name, names in {**base.fields, **own.fields}.items() if names}
    for column in needs:
        if column not in fields:
            advice = f"write `mapping: {{fields: {{{column}: <name of the feed's field>}}}}`"
            raise SettingsError(f"format {format_name!r} needs to know where {column} comes from: {advice}")
    return Mapping(
        format=format_name,
        reader=base.reader,
        pages=base.pages,
        fields=fields,
        constants={**base.constants, **own.constants},
        values={**base.values, **own.values},
        delimiter=own.delimiter or base.delimiter or "auto",
        quoting=own.quoting if own.quoting is not None else base.quoting is not False,
        records=own.records or base.records,
        variants=own.variants or base.variants,
        skip={**base.skip, **own.skip},
        price_unit=own.price_unit or base.price_unit or "major",
        needs=needs,
    )
