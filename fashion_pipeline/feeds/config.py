"""`feeds.yaml`: the stores, as one typed schema.

Secrets stand in it only as `${NAME}`, references to the environment. A location may hold `{data}` (the
data folder, replaced on loading) and `{date}` (the day, replaced on capture; `{date:%Y%m%d}` in another
form). A store is never deleted, but `paused` or `retired`: its history hangs on its id.
"""

import datetime as dt
import re
from collections.abc import Mapping as AbcMapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from fashion_pipeline.errors import PermanentError, SettingsError
from fashion_pipeline.feeds.encoding import text_codec
from fashion_pipeline.feeds.mapping import (
    SUPPLEMENT_NEEDS,
    Mapping,
    MappingLines,
    known_formats,
    load_mapping,
)
from fashion_pipeline.feeds.secrets import check_location, check_secret_header, resolve_references
from fashion_pipeline.feeds.yaml_lines import Loc, YamlFile, read_yaml, validation_lines
from fashion_pipeline.ids import check_store_id
from fashion_pipeline.netguard import HOST, redact

DATE_FIELD = re.compile(r"\{date(?::([^{}]+))?\}")
TEMPLATE_FIELD = re.compile(r"(?<!\$)\{([^{}]*)\}")
URL_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
SCHEMES = ("http", "https", "file", "s3", "gs", "gcs", "az", "abfs", "abfss")


class _Model(BaseModel):
    # A ValidationError prints the value it refuses, which may hold a resolved secret.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Thresholds(_Model):
    """When a snapshot is refused or a store counts as late. Shares are between 0 and 1."""

    #: Missing share of the active products: more is a broken feed until a person says otherwise.
    shrink: float = Field(default=0.10, ge=0, le=1)
    #: Rejected share of the items.
    rejected: float = Field(default=0.20, ge=0, le=1)
    #: Share of the active products whose prices moved by one same factor; 1 switches it off.
    same_factor: float = Field(default=0.50, ge=0, le=1)
    #: Factor, up or down, of the median price: a sale of the whole shop stays below it, wrong units do not.
    median_factor: float = Field(default=3.0, gt=1)
    #: Share of the products that changed their currency: what most have is the store's currency.
    currency: float = Field(default=0.50, ge=0, le=1)
    #: Share of the pictures that became one same address: no shop photographs half of its products as one.
    same_image: float = Field(default=0.50, gt=0, le=1)
    #: Days that a product which is seen but not clean stays listed.
    hold_days: int = Field(default=7, ge=0)
    #: Hours after `due_at` without a good snapshot.
    late_after_hours: int = Field(default=30, gt=0)


class ImagePolicy(_Model):
    """How a store's pictures are fetched."""

    #: A picture whose URL did not change is asked for again after this; 0 asks every day.
    recheck_after_days: int = Field(default=30, ge=0)
    #: Pictures per product that are fetched: the main one, then additional ones. The main one is embedded.
    per_product: int = Field(default=1, ge=1, le=50)
    #: Polite for a shop's own server; a CDN takes more.
    requests_per_second: float = Field(default=10.0, gt=0)
    concurrency: int = Field(default=8, ge=1, le=256)
    #: Whether robots.txt of hosts other than `own_hosts` is asked for and obeyed.
    obey_robots: bool = True
    #: Hosts of the store's own pictures, which are asked on the store's behalf and without robots.txt.
    own_hosts: frozenset[str] = frozenset()
    #: Pixels of the shorter side below which a picture is reported as too small; None is what Google asks for
    #: clothing, 250 and from 2027 on 500.
    smallest_side: int | None = Field(default=None, ge=1)
    #: Share of the products from which a picture that they share is reported as a placeholder.
    shared_share: float = Field(default=0.50, gt=0, le=1)

    @field_validator("own_hosts")
    @classmethod
    def _host_names(cls, value: frozenset[str]) -> frozenset[str]:
        hosts = frozenset(host.strip().lower().removesuffix(".") for host in value)
        wrong = sorted(host for host in hosts if not HOST.fullmatch(host))
        if wrong:
            raise ValueError(f"not a host name: {', '.join(wrong)}; write cdn.shop.example")
        return hosts


def _time_of_day(value: object) -> object:
    # YAML 1.1 reads an unquoted 16:30 as the sexagesimal number 990.
    if isinstance(value, int):
        if not 0 <= value < 24 * 60:
            raise ValueError('use a time of day such as "06:00"')
        return dt.time(value // 60, value % 60)
    return value


def _location(value: str) -> str:
    scheme = URL_SCHEME.match(value)
    if scheme and scheme.group()[:-1].lower() not in SCHEMES:
        raise ValueError(f"scheme {scheme.group()!r} is not one of: {', '.join(SCHEMES)}, or a path")
    for name in TEMPLATE_FIELD.findall(value):
        if name != "date" and not name.startswith("date:"):
            raise ValueError(f"unknown template {{{name}}}: there are {{data}}, {{date}} and {{date:%Y%m%d}}")
        # What strftime does not know it leaves as it is, or gives nothing.
        form = name.partition(":")[2]
        if form and ("%" in (written := dt.date(2026, 11, 2).strftime(form)) or written in ("", form)):
            raise ValueError(f"{{{name}}} names no day: use a form such as {{date:%Y%m%d}}")
    return value


@cache
def _currency_codes() -> frozenset[str]:
    table = resources.files("fashion_pipeline.cleaning").joinpath("values", "currencies.csv")
    return frozenset(line.partition(",")[0] for line in table.read_text(encoding="utf-8").splitlines()[1:])


def _currency(value: str) -> str:
    if value not in _currency_codes():
        raise ValueError(f"no currency {value!r}: use an ISO 4217 code such as EUR")
    return value


def _known_format(value: str) -> str:
    if value not in known_formats():
        raise ValueError(f"no format {value!r}; there are: {', '.join(known_formats())}")
    return value


FormatName = Annotated[str, AfterValidator(_known_format)]
Location = Annotated[str, Field(min_length=1, repr=False), AfterValidator(_location)]
Headers = dict[str, SecretStr]


def _check_mapping(part: "StoreConfig | Supplement") -> None:
    """The format and the own lines have to say where every needed column comes from."""
    try:
        part.resolved_mapping()
    except SettingsError as error:
        raise ValueError(str(error)) from error


class Supplement(_Model):
    """A further file of a store's feed, joined to it by id; it never writes on its own."""

    location: Location
    format: FormatName
    mapping: MappingLines = MappingLines()
    headers: Headers = Field(default_factory=dict)

    def resolved_mapping(self) -> Mapping:
        """The format's mapping with this supplement's lines over it."""
        return load_mapping(self.format, self.mapping, SUPPLEMENT_NEEDS)

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        _check_mapping(self)
        return self


class StoreConfig(_Model):
    """One store: where its feed lies, what it is, and how it is treated."""

    id: str
    status: Literal["active", "paused", "retired"] = "active"
    format: FormatName
    location: Location
    supplements: tuple[Supplement, ...] = ()
    #: Memory that the supplements may take together while the feed is read: a million rows of two short
    #: columns, within the GiB that reading a feed is known to stay below.
    supplements_mib: int = Field(default=512, ge=1)
    #: ISO 4217 code for prices that name none.
    currency: Annotated[str, AfterValidator(_currency)] | None = None
    #: The shop's address, for product pages where the feed has only handles.
    base_url: str | None = Field(default=None, pattern=r"^https?://[^/@\s]+(/\S*)?$")
    mode: Literal["full", "delta"] = "full"
    mapping: MappingLines = MappingLines()
    thresholds: Thresholds = Thresholds()
    images: ImagePolicy = ImagePolicy()
    headers: Headers = Field(default_factory=dict)
    #: Requests to the feed's host; shops ask for 1 to 2 (feeds.md, transport).
    requests_per_second: float = Field(default=1.0, gt=0, le=100)
    #: For bytes that are not UTF-8 and name no encoding themselves.
    encoding_fallback: str | None = None
    due_at: Annotated[dt.time, BeforeValidator(_time_of_day)] = dt.time(6, 0)
    timezone: str = "UTC"
    first_day: dt.date | None = None

    _references: tuple[tuple[str, str], ...] = ()

    @property
    def dated(self) -> bool:
        """Whether the location names a day, so that a past day can be captured."""
        return DATE_FIELD.search(self.location) is not None

    def refuse_retired(self) -> None:
        """Raise where the store is retired: what it lists again would have to be retired again.

        Raises:
            PermanentError: it is.
        """
        if self.status == "retired":
            raise PermanentError(
                f"store {self.id} is retired in feeds.yaml: nothing is fetched or applied; set `status: active` there "
                "where it came back"
            )

    def hide_secrets(self, text: str) -> str:
        """`text` without any value that this store has from the environment."""
        for name, value in self._references:
            text = text.replace(value, f"${{{name}}}")
        return text

    def resolved_mapping(self) -> Mapping:
        """The format's mapping with this store's lines over it."""
        return load_mapping(self.format, self.mapping)

    @field_validator("id")
    @classmethod
    def _check_id(cls, value: str) -> str:
        return check_store_id(value)

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"no time zone {value!r}: use an IANA name such as Europe/Berlin") from error
        return value

    @field_validator("encoding_fallback")
    @classmethod
    def _check_encoding(cls, value: str | None) -> str | None:
        if value is not None and text_codec(value) is None:
            raise ValueError(f"no encoding {value!r}: use a name such as cp1252 or shift_jis")
        return value

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        _check_mapping(self)
        return self


class FeedsConfig(_Model):
    """All of `feeds.yaml`. The days bound the partition grid; `last_day` is for finished histories."""

    first_day: dt.date
    last_day: dt.date | None = None
    stores: tuple[StoreConfig, ...] = Field(min_length=1)

    def store(self, store_id: str) -> StoreConfig:
        """The store of that id.

        Raises:
            SettingsError: there is none.
        """
        for store in self.stores:
            if store.id == store_id:
                return store
        raise SettingsError(f"no store {store_id!r} in feeds.yaml; there are: {self._ids()}")

    def _ids(self) -> str:
        return ", ".join(store.id for store in self.stores)

    @model_validator(mode="after")
    def _check_days(self) -> Self:
        if self.last_day is not None and self.last_day < self.first_day:
            raise ValueError("last_day is before first_day")
        return self


def location_for(store: StoreConfig | Supplement, day: dt.date) -> str:
    """The location with `{date}` replaced by `day` (ISO 8601, or the strftime form it gives)."""
    return DATE_FIELD.sub(lambda found: day.strftime(found.group(1) or "%Y-%m-%d"), store.location)


def load_feeds(
    path: Path, *, environ: AbcMapping[str, str], variables: AbcMapping[str, str] | None = None
) -> FeedsConfig:
    """Read and check `feeds.yaml`.

    `environ` answers `${NAME}`, `variables` answers `{data}`. Relative locations are relative to the file.

    Raises:
        SettingsError: one line for each thing that is wrong: file, line, key, what to do.
    """
    source = read_yaml(path)
    problems: list[str] = []
    if not isinstance(source.value, dict):
        raise SettingsError(f"{source.where(())}: write keys `first_day` and `stores`")
    value = dict(source.value)
    references: list[tuple[tuple[str, str], ...]] = []
    stores = value.get("stores")
    if isinstance(stores, list):
        prepared = [_prepare(source, ("stores", n), s, environ, variables or {}, problems, path.parent)
                    for n, s in enumerate(stores)]  # fmt: skip
        value["stores"] = [store for store, _ in prepared]
        references = [used for _, used in prepared]
        _check_unique(source, stores, problems)
    if problems:
        raise SettingsError("\n".join(problems))
    try:
        config = FeedsConfig.model_validate(value)
    except ValidationError as error:
        raise SettingsError("\n".join(validation_lines(source, error))) from None
    for store, used in zip(config.stores, references, strict=True):
        store._references = used
    return config


def _prepare(
    source: YamlFile,
    loc: Loc,
    entry: object,
    environ: AbcMapping[str, str],
    variables: AbcMapping[str, str],
    problems: list[str],
    folder: Path,
) -> tuple[object, tuple[tuple[str, str], ...]]:
    """Resolve references and templates of one store or supplement; notes what is wrong."""
    if not isinstance(entry, dict):
        return entry, ()
    prepared: dict[Any, Any] = dict(entry)
    used: dict[str, str] = {}

    def resolve(text: str, at: Loc) -> str:
        resolved, missing = resolve_references(text, environ, used)
        problems.extend(
            f"{source.where(at)}: the environment has no variable {name}: set it, or remove ${{{name}}}"
            for name in missing
        )
        return resolved

    location = entry.get("location")
    if isinstance(location, str):
        at = (*loc, "location")
        problems.extend(f"{source.where(at)}: {problem}" for problem in check_location(location))
        for name, replacement in variables.items():
            location = location.replace(f"{{{name}}}", replacement)
        location = resolve(location, at)
        if location and not URL_SCHEME.match(location) and not location.startswith(("/", "{")):
            location = str(folder.absolute() / location)
        prepared["location"] = location
    headers = entry.get("headers")
    if isinstance(headers, dict):
        resolved = {}
        for name, text in headers.items():
            at = (*loc, "headers", str(name))
            if not isinstance(text, str) or not isinstance(name, str):
                problems.append(f"{source.where(at)}: a header is text: put it in quotes")
                continue
            problems.extend(f"{source.where(at)}: {problem}" for problem in check_secret_header(name, text))
            resolved[name] = resolve(text, at)
        prepared["headers"] = resolved
    supplements = entry.get("supplements")
    if isinstance(supplements, list):
        parts = [_prepare(source, (*loc, "supplements", n), part, environ, variables, problems, folder)
                 for n, part in enumerate(supplements)]  # fmt: skip
        prepared["supplements"] = [part for part, _ in parts]
        used.update(pair for _, pairs in parts for pair in pairs)
    return prepared, tuple(used.items())


def _check_unique(source: YamlFile, stores: list[object], problems: list[str]) -> None:
    first: dict[object, int] = {}
    for position, entry in enumerate(stores):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
            continue
        store_id, loc = entry["id"], ("stores", position, "id")
        if store_id in first:
            line = source.lines[("stores", first[store_id], "id")]
            problems.append(f"{source.where(loc)}: store {store_id!r} stands twice, first in line {line}")
        else:
            first[store_id] = position


def public_location_for(store: StoreConfig, day: dt.date, supplement: Supplement | None = None) -> str:
    """The location of a day, of the feed or of a supplement, as it may be shown and stored: references
    instead of secrets.
    """
    return _shown(store.hide_secrets(location_for(supplement or store, day)))


def _shown(location: str) -> str:
    # A location that still holds references had its other parts checked for secrets when it was loaded.
    plain = "{" not in location and URL_SCHEME.match(location)
    return redact(location) if plain else location
