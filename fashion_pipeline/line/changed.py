"""Which stores changed their feed since it was captured today: what the sensor asks."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from fashion_pipeline.catalog import snapshots
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.snapshots import Snapshot, StoredFile
from fashion_pipeline.feeds.config import FeedsConfig, StoreConfig, public_location_for
from fashion_pipeline.feeds.probe import PART_SECONDS, Answer, Known, Probe, probe_feeds
from fashion_pipeline.feeds.transfer import Validators
from fashion_pipeline.line.capture import supplements_of
from fashion_pipeline.netguard import AddressPolicy

#: A tick of a sensor is stopped after 60 s; the rest is for the database and for starting runs.
SECONDS = 40.0


@dataclass(frozen=True)
class Change:
    """A store whose feed is another one than was last captured.

    `key` names the change: this content after that capture. Content that comes back after another was
    captured is a change of its own.
    """

    store_id: str
    key: str


@dataclass(frozen=True)
class ChangedFeeds:
    """The answers, in the order in which the stores were asked, and where the next tick begins."""

    day: date
    probes: tuple[Probe, ...]
    changes: tuple[Change, ...]
    next_store: str | None

    def counted(self) -> str:
        """The answers as numbers, in words."""
        counts = {answer: sum(probe.answer is answer for probe in self.probes) for answer in Answer}
        return ", ".join(f"{count} {answer}" for answer, count in counts.items() if count) or "nobody to ask"


def changed_feeds(
    database: Database,
    feeds: FeedsConfig,
    day: date,
    *,
    policy: AddressPolicy,
    user_agent: str,
    first: str | None = None,
    seconds: float = SECONDS,
    part_seconds: float = PART_SECONDS,
) -> ChangedFeeds:
    """Ask every active store whose feed of `day` was captured, beginning with `first`.

    Who was not asked because the time was over comes first at the next tick.
    """
    active = [store for store in feeds.stores if store.status == "active"]
    ids = [store.id for store in active]
    start = ids.index(first) if first in ids else 0
    with database.connection() as connection:
        captured = snapshots.last_captured(connection, day)
    asked = [
        Known(store, _known(store, captured[store.id]))
        for store in [*active[start:], *active[:start]]
        if store.id in captured
    ]
    probes = probe_feeds(
        asked, day, policy=policy, seconds=seconds, user_agent=user_agent, part_seconds=part_seconds
    )
    unasked = next((probe.store_id for probe in probes if probe.answer is Answer.UNASKED), None)
    return ChangedFeeds(day, tuple(probes), tuple(_changes(probes, captured)), unasked)


def _known(store: StoreConfig, snapshot: Snapshot) -> tuple[Validators | None, ...]:
    """What the capture kept of each file; None where feeds.yaml names another place since."""
    supplements = supplements_of(store, snapshot)
    same_place = snapshot.source == public_location_for(store, snapshot.day)
    files: list[StoredFile | None] = [snapshot.feed_file if same_place else None]
    files += [supplements.get(number) for number in range(len(store.supplements))]
    return tuple(Validators(file.etag, file.last_modified) if file else None for file in files)


def _changes(probes: list[Probe], captured: Mapping[str, Snapshot]) -> list[Change]:
    changed = [probe for probe in probes if probe.answer is Answer.CHANGED]
    return [
        Change(
            probe.store_id,
            hashlib.sha256(
                f"{captured[probe.store_id].captured_at.timestamp()}\n{probe.version}".encode()
            ).hexdigest()[:16],
        )
        for probe in changed
    ]
