"""Which stores changed their feed since it was captured today: what the sensor asks."""

from dataclasses import dataclass
from datetime import date

from fashion_pipeline.catalog import snapshots
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.feeds.config import FeedsConfig, StoreConfig
from fashion_pipeline.feeds.probe import Answer, Probe, probe_feeds
from fashion_pipeline.feeds.transfer import Validators
from fashion_pipeline.netguard import AddressPolicy

#: A tick of a sensor is stopped after 60 s; the rest is for the database and for starting runs.
SECONDS = 40.0


@dataclass(frozen=True)
class ChangedFeeds:
    """The answers, in the order in which the stores were asked, and where the next tick begins."""

    day: date
    probes: tuple[Probe, ...]
    next_store: str | None

    @property
    def changed(self) -> tuple[Probe, ...]:
        """The stores whose feed is another one now."""
        return tuple(probe for probe in self.probes if probe.answer is Answer.CHANGED)

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
) -> ChangedFeeds:
    """Ask every active store whose feed of `day` was captured, beginning with `first`.

    Who was not asked because the time was over comes first at the next tick.
    """
    active = [store for store in feeds.stores if store.status == "active"]
    ids = [store.id for store in active]
    start = ids.index(first) if first in ids else 0
    with database.connection() as connection:
        captured = snapshots.captured_validators(connection, day)
    asked: list[tuple[StoreConfig, Validators]] = [
        (store, Validators(*captured[store.id]))
        for store in [*active[start:], *active[:start]]
        if store.id in captured
    ]
    probes = probe_feeds(asked, day, policy=policy, seconds=seconds, user_agent=user_agent)
    unasked = next((probe.store_id for probe in probes if probe.answer is Answer.UNASKED), None)
    return ChangedFeeds(day, tuple(probes), unasked)
