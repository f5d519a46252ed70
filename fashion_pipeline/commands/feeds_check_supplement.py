"""`fashion-pipeline feeds check` of a supplement: ids and a few columns, which no product comes from."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from fashion_pipeline.errors import FeedError
from fashion_pipeline.feeds.config import StoreConfig, Supplement
from fashion_pipeline.feeds.detect import Detection, detect, propose
from fashion_pipeline.feeds.items import ReadReport, Recovery, Value
from fashion_pipeline.feeds.mapping import SUPPLEMENT_NEEDS, MappingLines, load_mapping, normal_name
from fashion_pipeline.feeds.reading import FeedReader
from fashion_pipeline.feeds.records import Tally
from fashion_pipeline.feeds.supplements import SupplementRows
from fashion_pipeline.feeds.transport import Fetched
from fashion_pipeline.netguard import redact

SAMPLES = 10
NO_TITLE = "it has ids but no title, so it was taken for a supplement; a feed says its title by `mapping:`"


@dataclass(frozen=True)
class SupplementProfile:
    """What a supplement is and what it says; `counts` are the rows as the guard counts them."""

    part: Supplement
    read: ReadReport
    mended: tuple[Recovery, ...]
    counts: dict[str, int]
    refused: bool
    used: dict[str, tuple[str, ...]]
    unused: tuple[str, ...]
    rows: dict[str, dict[str, Value]]
    notes: tuple[str, ...]


class Sayer:
    """Prints lines as they are: a feed's text may look like markup."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, line: str) -> None:
        """Print one line."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def looks_like_supplement(path: Path, format_name: str | None) -> bool:
    """Whether a file of no named format has ids and columns but no title."""
    if format_name is not None:
        return False
    try:
        detect(path)
    except FeedError:
        return _is_supplement(path)
    return False


def _is_supplement(path: Path) -> bool:
    try:
        detect(path, SUPPLEMENT_NEEDS)
    except FeedError:
        return False
    return True


def profile_supplement(
    path: Path,
    source: str,
    format_name: str | None = None,
    encoding: str | None = None,
    fetched: Fetched | None = None,
    *,
    asked: bool = True,
) -> SupplementProfile:
    """Detect and read a supplement; `asked` says that a person called it one.

    Raises:
        FeedError: it is none, or cannot be read; with the reason.
    """
    found = _detected(path, format_name)
    part = Supplement(location=source, format=found.format, mapping=found.mapping)
    # Supplements are read for their store; of it only the encoding matters here.
    store = StoreConfig(id="new-store", format="google_csv", location=source, encoding_fallback=encoding)
    reader = FeedReader(
        path,
        store,
        part.resolved_mapping(),
        content_type=fetched.content_type if fetched else None,
        charset=fetched.charset if fetched else None,
    )
    account = ReadReport()
    tally = Tally(account)
    joined = SupplementRows(tally, store.supplements_mib << 20)
    joined.add(path.name, reader)
    tally.close()
    joined.close()
    counts = account.supplements[path.name]
    refused = counts["unusable"] / max(1, counts["rows"]) > store.thresholds.rejected
    used = {name for names in reader.fields_used.values() for name in names}
    return SupplementProfile(
        part=part,
        read=reader.report,
        mended=(*reader.report.recoveries, *account.recoveries),
        counts=counts,
        refused=refused,
        used=reader.fields_used,
        unused=tuple(name for name in found.fields if name.strip() and normal_name(name) not in used),
        rows=joined.by_id,
        notes=(*found.notes, *(() if asked else (NO_TITLE,))),
    )


def _detected(path: Path, format_name: str | None) -> Detection:
    if format_name is None:
        return detect(path, SUPPLEMENT_NEEDS)
    try:
        found = detect(path, SUPPLEMENT_NEEDS)
    except FeedError:
        found = Detection(format_name)
    if found.format == format_name:
        return found
    if "external_id" in load_mapping(format_name, needs=()).fields:
        return Detection(format_name, MappingLines(), found.fields)
    return propose(format_name, found.fields, SUPPLEMENT_NEEDS)


def supplement_entry(profile: SupplementProfile) -> str:
    """The lines for `feeds.yaml`, in a store's entry."""
    part = profile.part
    url = "://" in part.location
    told: dict[str, Any] = {
        "location": redact(part.location) if url else part.location,
        "format": part.format,
    }
    lines = part.mapping.model_dump(exclude_defaults=True)
    if lines:
        fields = lines.get("fields", {})
        told["mapping"] = lines | {"fields": {name: list(names) for name, names in fields.items()}}
    return yaml.safe_dump(
        {"supplements": [told]}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )


def print_supplement(profile: SupplementProfile, console: Console) -> None:
    """Print what was found."""
    say, counts = Sayer(console), profile.counts
    usable = counts["rows"] - counts["unusable"] - counts["repeated"]
    packed = f", packed as {profile.read.compression}" if profile.read.compression else ""
    say(f"format    {profile.part.format}, a supplement")
    say(f"encoding  {profile.read.encoding or 'binary'}{packed}")
    say(
        f"rows      {counts['rows']:,}: {usable:,} usable, {counts['repeated']:,} repeated, "
        f"{counts['unusable']:,} unusable"
    )
    for recovery in profile.mended:
        say(f"mended    {recovery.what}: {recovery.count:,}, first: {', '.join(recovery.places) or '-'}")
    table = Table(title="columns that it would replace", title_justify="left")
    table.add_column("column")
    table.add_column("the supplement's fields", overflow="fold")
    table.add_column("filled", justify="right")
    filled = Counter(column for row in profile.rows.values() for column in row)
    for column, names in profile.used.items():
        if column != "external_id":
            table.add_row(column, ", ".join(names), f"{filled[column] / max(1, len(profile.rows)):.0%}")
    console.print(table, markup=False)
    if profile.unused:
        say(f"fields that no column takes: {', '.join(profile.unused)}")
    for key, row in list(profile.rows.items())[:SAMPLES]:
        say(f"{key[:40]}: " + ", ".join(f"{column} {str(value)[:60]!r}" for column, value in row.items()))
    for note in profile.notes:
        say(f"note: {note}")
    if profile.refused:
        say("the line would refuse this supplement: too many of its rows cannot be used")
    say("\nfor feeds.yaml, in the entry of the store whose products these ids are:\n")
    say(supplement_entry(profile))
