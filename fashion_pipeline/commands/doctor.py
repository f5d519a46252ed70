"""`fashion-pipeline doctor`: every part, whether it answers, what to do if not."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from fashion_pipeline import parts
from fashion_pipeline.catalog.engine import ping_url, stored_pool_limits
from fashion_pipeline.catalog.migrate import migration_state
from fashion_pipeline.commands.console import wide_console
from fashion_pipeline.defs.policies import POOL_LIMITS
from fashion_pipeline.embeddings.spec import read_spec
from fashion_pipeline.errors import FashionPipelineError, PermanentError, TransientError
from fashion_pipeline.home import project_root
from fashion_pipeline.settings import PREFIX, Settings

#: Dagster's grid gets slow beyond 100,000 partition keys of an asset.
KEYS_WARNING = 80_000

#: Below this, a day of a large feed may fill the disk.
FREE_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Finding:
    """One part: what is used and whether it is right; `advice` says what to do where it is not."""

    part: str
    ok: bool
    used: str
    advice: str = ""


def run_doctor(settings: Settings) -> int:
    """Look at every part and print a table; 1 where something is wrong."""
    findings = examine(settings)
    table = Table(show_lines=True)
    for column in ("part", "", "what is used", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        mark = "[green]ok" if finding.ok else "[red]trouble"
        table.add_row(finding.part, mark, escape(finding.used), escape(finding.advice))
    wide_console().print(table)
    return 0 if all(finding.ok for finding in findings) else 1


def examine(settings: Settings) -> list[Finding]:
    """A finding for every part, in the order in which the line needs them."""
    checks: dict[str, Callable[[Settings], str]] = {
        "settings": _settings,
        "data folder": _data,
        "feeds file": _feeds,
        "addresses": _addresses,
        "PostgreSQL": _postgres,
        "migrations": _migrations,
        "Dagster's database": _dagster,
        "Qdrant": _qdrant,
        "model": _model,
    }
    return [_examined(part, check, settings) for part, check in checks.items()]


def _examined(part: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(part, True, check(settings))
    except (FashionPipelineError, OSError) as error:
        return Finding(part, False, "", str(error))


def _settings(settings: Settings) -> str:
    settings.check()
    return f"profile {settings.profile}"


def _data(settings: Settings) -> str:
    data = parts.open_data(settings)
    root = data.local_root
    if root is None:
        next(iter(data.list("raw")), None)
        return data.url
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=root):
        pass
    free = shutil.disk_usage(root).free
    if free < FREE_BYTES:
        raise PermanentError(f"only {free / 1e9:.1f} GB are free in {root}: free some, or move {PREFIX}DATA")
    return f"{root}, {free / 1e9:.0f} GB free"


def _feeds(settings: Settings) -> str:
    feeds = parts.open_feeds(settings)
    days = ((feeds.last_day or datetime.now(UTC).date()) - feeds.first_day).days + 1
    keys = days * len(feeds.stores)
    if keys > KEYS_WARNING:
        raise PermanentError(
            f"{len(feeds.stores)} stores x {days} days are {keys:,} partition keys, and Dagster slows down "
            "beyond 100,000: move first_day in feeds.yaml forward"
        )
    active = sum(store.status == "active" for store in feeds.stores)
    return f"{settings.feeds_path}: {len(feeds.stores)} stores, {active} active; {keys:,} partition keys"


def _addresses(settings: Settings) -> str:
    policy = parts.address_policy(settings)
    hosts = ", ".join(sorted(policy.allowed_hosts)) or "none"
    roots = ", ".join(map(str, policy.file_roots)) or "nowhere"
    return f"public addresses; allowed by name besides: {hosts}; files below: {roots}"


def _postgres(settings: Settings) -> str:
    database = parts.open_database(settings)
    kind = "" if settings.database_url else "embedded, "
    return f"{kind}PostgreSQL {database.ping()}, {database.url.render_as_string(hide_password=True)}"


def _migrations(settings: Settings) -> str:
    database = parts.open_database(settings)
    database.ping()
    state = migration_state(database, project_root() / "alembic.ini")
    if not state.up_to_date:
        raise PermanentError(
            f"the tables are at {state.current or 'nothing'}, the newest is {state.newest}: "
            "run `fashion-pipeline migrate`"
        )
    return f"revision {state.current}"


def _dagster(settings: Settings) -> str:
    url = parts.dagster_url(settings)
    try:
        name, limits = ping_url(url), stored_pool_limits(url)
    except TransientError as error:
        raise PermanentError(f"{error}; create the database, or mend DAGSTER_PG_URL") from error
    if limits is None:
        return f"database {name}; `fashion-pipeline dev` or `fashion-pipeline pools` makes its tables"
    missing = sorted(POOL_LIMITS.keys() - limits.keys())
    if missing:
        raise PermanentError(
            f"the instance in database {name} has no limit of its own for the pools {', '.join(missing)}: run "
            "`fashion-pipeline pools`, or each of them takes what dagster.yaml has for all"
        )
    shown = ", ".join(f"{pool} {limits[pool]}" for pool in sorted(POOL_LIMITS))
    return f"database {name}; steps at once in each pool: {shown}"


def _qdrant(settings: Settings) -> str:
    store = parts.open_vectors(settings)
    health = store.health()
    if not health.ok:
        raise PermanentError(health.detail)
    collection = store.alias(settings.alias)
    serving = f"alias {settings.alias} -> {collection}" if collection else f"no alias {settings.alias} yet"
    return f"{health.engine} {health.version}; {serving}"


def _model(settings: Settings) -> str:
    spec = read_spec(settings.model_ref)
    return f"{spec.image_model_id} in {spec.ref}"
