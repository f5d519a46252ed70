"""`fashion-pipeline feeds check`: what a feed is and what would become of it, before it is added."""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table

from fashion_pipeline import parts
from fashion_pipeline.cleaning.cleaner import Cleaner
from fashion_pipeline.cleaning.currencies import format_price
from fashion_pipeline.cleaning.guards import judge
from fashion_pipeline.cleaning.reasons import Reason, RowWarning
from fashion_pipeline.cleaning.run import CleanReport, clean_feed
from fashion_pipeline.cleaning.schema import CONTENT_FIELDS
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.commands.feeds_check_supplement import (
    Sayer,
    looks_like_supplement,
    print_supplement,
    profile_supplement,
)
from fashion_pipeline.errors import FeedError, SettingsError
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.feeds.detect import Detection, detect, propose
from fashion_pipeline.feeds.items import BrokenRecord, ItemBatch, ReadReport, Value
from fashion_pipeline.feeds.mapping import MappingLines, load_mapping, normal_name
from fashion_pipeline.feeds.readers.woocommerce_headers import english_name
from fashion_pipeline.feeds.reading import FeedReader, open_items
from fashion_pipeline.feeds.transport import Fetched, fetch
from fashion_pipeline.ids import STORE_ID
from fashion_pipeline.netguard import redact
from fashion_pipeline.settings import Settings

SAMPLES = 10
#: Places that are named for each reason.
PLACES = 3
#: Columns of an item that are no columns of a row under the same name.
MADE = {"sale_price_effective_date": "sale_starts_at", "current_price": "price", "regular_price": "price",
        "price_low": "price", "price_high": "price"}  # fmt: skip
#: Fields that a reader makes others of, by their normalized names.
MADE_OF = {
    "woocommerce_csv": r"type|published|parent|categories|date_sale_price_(starts|ends)"
    r"|attribute_\d+_(name|value\(s\))",
    "shopify_csv": r"published|status|tags|option\d_(name|value)|image_(src|position)|variant_image"
    r"|variant_inventory_(qty|policy)",
    "shopify": r"handle|tags|variants|options|images|featured_image",
    "jsonld": r".*",
    "rakuten": r".*",
}
#: Reason or warning -> what it means.
EXPLAINED = {member.value: member.explanation for kind in (Reason, RowWarning) for member in kind}


@dataclass(frozen=True)
class CheckRequest:
    """What is asked: a file or URL, and what a person knows of it already."""

    source: str
    format: str | None = None
    currency: str | None = None
    base_url: str | None = None
    encoding: str | None = None
    supplement: bool = False


class _Counted:
    """A reader, and how many of its items say something in each column."""

    def __init__(self, reader: FeedReader) -> None:
        self._reader = reader
        self.report = reader.report
        self._items = 0
        self._given: Counter[str] = Counter()

    def __iter__(self) -> Iterator[ItemBatch | BrokenRecord]:
        for part in self._reader:
            if isinstance(part, ItemBatch):
                self._items += part.size
                for name, values in part.columns.items():
                    self._given[MADE.get(name, name)] += sum(map(_says, values))
            yield part

    def shares(self) -> dict[str, float]:
        """Of all items, by column."""
        return {name: count / max(1, self._items) for name, count in self._given.items()}


def _says(value: Value) -> bool:
    return bool(value) and not (isinstance(value, str) and value.isspace())


@dataclass(frozen=True)
class Profile:
    """What a feed is and what cleaning made of it.

    `used` is column -> the feed's fields found for it; `given` is column -> share of all items that say something
    in it, also of those that were rejected; `unused` are fields that no column takes.
    `places` is reason or warning -> the first places.
    """

    store: StoreConfig
    detection: Detection
    read: ReadReport
    clean: CleanReport
    used: dict[str, tuple[str, ...]]
    given: dict[str, float]
    unused: tuple[str, ...]
    places: dict[str, list[str]]
    samples: list[dict[str, Any]]
    refused_by: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def run_feeds_check(settings: Settings, request: CheckRequest) -> int:
    """Profile a feed and print what was found; 1 where the line would refuse it."""
    with tempfile.TemporaryDirectory() as folder:
        path, fetched = _bytes_of(settings, request, Path(folder))
        if request.supplement or looks_like_supplement(path, request.format):
            found = profile_supplement(
                path, request.source, request.format, request.encoding, fetched, asked=request.supplement
            )
            print_supplement(found, wide_console())
            return 1 if found.refused else 0
        profile = profile_feed(path, request, Path(folder), fetched)
    _print(profile, wide_console())
    return 1 if profile.refused_by else 0


def _bytes_of(settings: Settings, request: CheckRequest, folder: Path) -> tuple[Path, Fetched | None]:
    """The feed as a local file; a person may name any file that they can read."""
    if not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", request.source):
        path = Path(request.source)
        if not path.is_file():
            raise FeedError(f"no file {request.source}: name a file or a URL")
        return path, None
    target = folder / (Path(request.source.partition("?")[0]).name or "feed")
    fetched = fetch(
        request.source, policy=parts.address_policy(settings), target=target, user_agent=settings.user_agent
    )
    return target, fetched


def profile_feed(path: Path, request: CheckRequest, scratch: Path, fetched: Fetched | None = None) -> Profile:
    """Detect, read and clean a feed, leaving only files in `scratch`.

    Raises:
        FeedError: it is no feed, or one that the line would refuse to read; with the reason.
    """
    found = _detected(path, request)
    notes = list(found.notes)
    location = request.source
    mapping = load_mapping(found.format, found.mapping)
    if fetched is not None and mapping.pages:
        notes.append("only this one page was looked at: the line fetches all of them")
    if "***" in redact(location):
        notes.append("in place of each *** below write ${NAME}, and set NAME in the environment")
    encoding = request.encoding
    if encoding is None and not (fetched and fetched.charset):
        encoding = found.encoding
        if encoding is not None:
            notes.append(
                f"the file is no UTF-8 and names no encoding: {encoding} is a guess; look at the sample products, "
                "and say another with --encoding where letters are wrong"
            )
    store = StoreConfig(
        id=_store_id(path),
        format=found.format,
        location=location,
        currency=request.currency,
        base_url=request.base_url,
        encoding_fallback=encoding,
        mapping=found.mapping,
    )
    reader = open_items(
        path,
        store,
        content_type=fetched.content_type if fetched else None,
        charset=fetched.charset if fetched else None,
    )
    counted = _Counted(reader)
    clean, rejected = scratch / "clean.parquet", scratch / "rejected.parquet"
    report = clean_feed(
        counted,
        Cleaner(store.id, store.currency, store.base_url),
        clean_path=clean,
        rejected_path=rejected,
        deletions_path=scratch / "deletions.parquet",
    )
    problem = report.accounting_error()
    if problem is not None:
        raise FeedError(f"the account does not add up: {problem}; report this with the feed")
    rows = pq.read_table(clean).slice(0, SAMPLES).to_pylist()
    if not request.currency and report.reasons.get(Reason.CURRENCY_MISSING):
        notes.append("the feed names no currency: say the shop's with --currency, and in feeds.yaml")
    return Profile(
        store=store,
        detection=found,
        read=reader.report,
        clean=report,
        used=reader.fields_used,
        given=counted.shares(),
        unused=_unused(found, reader, mapping.reader),
        places={**_places(rejected, "reasons"), **_places(clean, "warnings")},
        samples=rows,
        refused_by=tuple(finding.message for finding in judge(report, None, store.thresholds)),
        notes=tuple(notes),
    )


def _detected(path: Path, request: CheckRequest) -> Detection:
    if request.format is None:
        return detect(path)
    try:
        found = detect(path)
    except FeedError:
        found = Detection(request.format)
    proposed = found.mapping if found.format == request.format else MappingLines()
    if not _stands_alone(request.format) and proposed == MappingLines():
        proposed = propose(request.format, found.fields).mapping
    return replace(found, format=request.format, mapping=proposed)


def _stands_alone(format_name: str) -> bool:
    """Whether a format's own mapping says where products are."""
    try:
        load_mapping(format_name)
    except SettingsError:
        return False
    return True


def _store_id(path: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", path.name.partition(".")[0].lower()).strip("-")[:60]
    return name if STORE_ID.fullmatch(name) else "new-store"


def _unused(found: Detection, reader: FeedReader, reader_name: str) -> tuple[str, ...]:
    # Of a path such as `images[0].src` the first name is the feed's field.
    used = {
        part
        for names in reader.fields_used.values()
        for name in names
        for part in (name, re.split(r"[.\[]", name)[0])
    }
    made_of = re.compile(MADE_OF.get(reader_name, r"(?!)"))
    return tuple(
        name
        for name in found.fields
        if name.strip()
        and normal_name(name) not in used
        and not made_of.fullmatch(plain := english_name(normal_name(name)))
        and plain not in used
    )


def _places(path: Path, column: str) -> dict[str, list[str]]:
    """The first places of each value of a column of lists."""
    first: dict[str, list[str]] = {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=[column, "place"]):
            for values, place in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                for value in values or ():
                    known = first.setdefault(value, [])
                    if len(known) < PLACES:
                        known.append(place)
    return first


def entry(profile: Profile) -> str:
    """The lines for `feeds.yaml`, below `stores:`."""
    store = profile.store
    url = "://" in store.location
    told: dict[str, Any] = {"id": store.id, "format": store.format}
    told["location"] = redact(store.location) if url else store.location
    if store.currency:
        told["currency"] = store.currency
    if store.base_url:
        told["base_url"] = store.base_url
    if store.encoding_fallback:
        told["encoding_fallback"] = store.encoding_fallback
    lines = store.mapping.model_dump(exclude_defaults=True)
    if lines:
        fields = lines.get("fields", {})
        told["mapping"] = lines | {"fields": {name: list(names) for name, names in fields.items()}}
    return yaml.safe_dump([told], sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def _print(profile: Profile, console: Console) -> None:
    read, clean = profile.read, profile.clean
    say = Sayer(console)
    packed = f", packed as {read.compression}" if read.compression else ""
    say(f"format    {profile.store.format}")
    say(f"encoding  {read.encoding or 'binary'}{packed}")
    context = ", ".join(f"{count:,} {kind}" for kind, count in read.context.items())
    say(
        f"records   {clean.records:,}: {clean.yielding:,} with items, {sum(read.context.values()):,} context"
        f"{f' ({context})' if context else ''}, {clean.broken:,} broken"
    )
    say(
        f"items     {clean.items:,}: {clean.clean:,} clean, {clean.rejected:,} rejected, "
        f"{clean.duplicates:,} duplicates, {clean.deletions:,} deletions"
    )
    if clean.currencies:
        say(f"currency  {', '.join(f'{code} {count:,}' for code, count in sorted(clean.currencies.items()))}")
    for recovery in read.recoveries:
        say(f"mended    {recovery.what}: {recovery.count:,}, first: {', '.join(recovery.places) or '-'}")
    console.print(_columns(profile))
    if profile.unused:
        say(f"fields that no column takes: {', '.join(profile.unused)}")
    findings = list(_findings(profile))
    if findings:
        table = Table(title="rejected, held and warned of", title_justify="left")
        for name, right in (("what", False), ("items", True), ("why", False), ("first places", False)):
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for row in findings:
            table.add_row(*row)
        console.print(table, markup=False)
    for column, values in clean.unknown_values.items():
        say(
            f"{column}: {clean.unknown[column]:,} values that no map knows stay as they are: {', '.join(values[:8])}"
        )
    console.print(_sample_table(profile.samples), markup=False)
    for note in profile.notes:
        say(f"note: {note}")
    for message in profile.refused_by:
        say(f"the line would refuse this feed: {message}")
    say("\nfor feeds.yaml, below `stores:`\n")
    say(entry(profile))


def _columns(profile: Profile) -> Table:
    table = Table(title="columns: given by the items, kept in clean rows", title_justify="left")
    table.add_column("column")
    table.add_column("the feed's fields", overflow="fold")
    table.add_column("given", justify="right")
    table.add_column("kept", justify="right")
    sources: dict[str, list[str]] = {}
    for column, names in profile.used.items():
        sources.setdefault(MADE.get(column, column), []).extend(names)
    constants = profile.store.resolved_mapping().constants
    for content in CONTENT_FIELDS:
        given, kept = profile.given.get(content.name, 0.0), profile.clean.fill.get(content.name, 0.0)
        told = ", ".join(dict.fromkeys(sources.get(content.name, ())))
        if not told and content.name in constants:
            told = f"always {constants[content.name]!r}"
        if not told and content.name == "currency" and kept:
            told = "the price itself, or the store's configuration"
        if told or given or kept:
            shares = f"{given:.0%}" if given else "", f"{kept:.0%}" if profile.clean.clean else "no row"
            table.add_row(content.name, told, *shares)
    return table


def _findings(profile: Profile) -> Iterator[tuple[str, str, str, str]]:
    counts: Counter[str] = Counter(profile.clean.reasons)
    for reason, count in counts.most_common():
        yield (
            f"rejected: {reason}",
            f"{count:,}",
            EXPLAINED[reason],
            ", ".join(profile.places.get(reason, ())),
        )
    held = profile.clean.rejected - profile.clean.rejected_without_id
    if held > 0:
        yield (
            "held",
            f"{held:,}",
            "rejected items with an id: rows that are listed already stay, unchanged, for a while",
            "",
        )
    for warning, count in Counter(profile.clean.warnings).most_common():
        why, first = EXPLAINED[warning], ", ".join(profile.places.get(warning, ()))
        yield f"warning: {warning}", f"{count:,}", why, first


def _sample_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{len(rows)} sample products", title_justify="left")
    for name in ("id", "title", "price", "sale", "brand", "colour", "size", "availability", "picture"):
        table.add_column(name, justify="right" if name in ("price", "sale") else "left", overflow="ellipsis")
    for row in rows:
        sale = row["sale_price"]
        table.add_row(
            row["external_id"][:40],
            row["title"][:60],
            format_price(row["price"], row["currency"]),
            format_price(sale, row["currency"]) if sale else "",
            *(row[name] or "" for name in ("brand", "color", "size", "availability")),
            (row["image_url"] or "none").rpartition("/")[2][-40:],
        )
    return table
