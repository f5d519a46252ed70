"""The rules of snapshots (design, guarantees 4 to 7) in plain Python: what a store's rows have to be.

Nothing here knows SQL, Parquet or files. A feed is a `Content`; the model keeps what the ledger and the
products table have to hold after each stage, or the reason why the stage has to refuse.
"""

import math
import statistics
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta

HOLD_DAYS = 2
SHRINK, REJECTED, SAME_FACTOR, MEDIAN_FACTOR, CURRENCY = 0.35, 0.40, 0.50, 3.0, 0.50
LEAST_COMPARED = 5

#: What an item of a feed may be, beside a price such as "10 EUR".
UNPRICED, CONFLICT, DOUBLED, DELETED, ABSENT = "unpriced", "conflict", "doubled", "deleted", "absent"


class Refused(Exception):
    """The stage has to fail; `why` is the kind of failure."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Content:
    """What one feed says: items by id, rows without an id, rows that cannot be read; or no feed at all.

    `extra` is its supplement, materials by id: a part of the content, or an unreadable file (None).
    """

    items: tuple[tuple[str, str], ...] = ()
    nameless: int = 0
    broken: int = 0
    readable: bool = True
    extra: tuple[tuple[str, str], ...] | None = (("a", "wool"),)

    def of(self, *states: str) -> set[str]:
        return {key for key, state in self.items if state in states}

    @property
    def prices(self) -> dict[str, tuple[int, str]]:
        """Amount and currency of the clean rows."""
        found = {}
        for key, state in self.items:
            if state == DOUBLED or " " in state:
                amount, currency = ("10 EUR" if state == DOUBLED else state).split()
                found[key] = int(amount), currency
        return found

    @property
    def joined(self) -> dict[str, str]:
        """What the supplement says of ids that the feed has."""
        ids = {key for key, state in self.items if state != ABSENT}
        return {key: material for key, material in self.extra or () if key in ids}

    @property
    def unclean(self) -> set[str]:
        return self.of(UNPRICED, CONFLICT)

    @property
    def seen(self) -> set[str]:
        return set(self.prices) | self.unclean

    @property
    def deleted(self) -> set[str]:
        return self.of(DELETED)

    @property
    def rejected(self) -> int:
        return len(self.of(UNPRICED)) + 2 * len(self.of(CONFLICT)) + self.nameless

    @property
    def item_count(self) -> int:
        doubled = len(self.of(CONFLICT, DOUBLED))
        return sum(state != ABSENT for _, state in self.items) + doubled + self.nameless


@dataclass
class Row:
    """A product as the table has to hold it."""

    price: tuple[int, str]
    material: str | None
    snapshot_date: date
    first_seen_on: date
    held_since: date | None = None
    delisted_on: date | None = None

    @property
    def active(self) -> bool:
        return self.delisted_on is None


@dataclass
class Snap:
    """A snapshot as the ledger has to hold it."""

    day: date
    content: Content
    captured: int
    rules: str | None = None
    cleaned: bool = False
    verdict: str | None = None
    outcome: str | None = None


@dataclass
class Model:
    """One store."""

    rows: dict[str, Row] = field(default_factory=dict)
    snaps: list[Snap] = field(default_factory=list)
    applied_through: date | None = None
    applied: tuple[Content, str | None] | None = None
    captures: int = 0

    def of_day(self, day: date) -> list[Snap]:
        """A day's snapshots, the last captured first."""
        return sorted((snap for snap in self.snaps if snap.day == day), key=lambda snap: -snap.captured)

    def last(self, day: date) -> Snap | None:
        """The last captured snapshot of a day: what is cleaned and judged."""
        return next(iter(self.of_day(day)), None)

    def current(self, day: date) -> Snap | None:
        """The last captured snapshot of a day that is not refused, else the last captured one: what is applied."""
        of_day = self.of_day(day)
        good = [snap for snap in of_day if snap.verdict != "refused"]
        return (good or of_day or [None])[0]

    def capture(self, day: date, published: Content, *, refetch: bool) -> bool:
        """Whether the store was asked."""
        last = self.last(day)
        if last is not None and last.verdict != "refused" and not refetch:
            return False
        self.captures += 1
        for snap in self.snaps:
            if (snap.day, snap.content) == (day, published):
                snap.captured = self.captures
                return True
        self.snaps.append(Snap(day, published, self.captures))
        return True

    def clean(self, day: date, mode: str) -> Snap:
        snap = self.last(day)
        if snap is None:
            raise Refused("nothing captured")
        if not (snap.cleaned and snap.rules == mode):
            snap.rules = mode
            empty = not snap.content.item_count
            no_extra = snap.content.extra is None or (not snap.content.extra and mode == "full")
            if not snap.content.readable or no_extra or (empty and (mode == "full" or snap.content.broken)):
                snap.verdict, snap.cleaned = "refused", False
                raise Refused("unreadable")
            snap.cleaned, snap.verdict = True, None
        if snap.verdict != "accepted":
            snap.verdict = "refused" if self.fired(snap, mode) else "ok"
        return snap

    def fired(self, snap: Snap, mode: str) -> set[str]:
        """The guards that refuse a snapshot, against the catalogue as it stands."""
        if self.applied == (snap.content, snap.rules):
            return set()
        if self.applied_through is not None and snap.day < self.applied_through:
            return set()
        content, full, found = snap.content, mode == "full", set()
        refused, items = content.rejected + content.broken, content.item_count
        if not content.prices and (full or (refused and not content.deleted)):
            found.add("empty")
        if items + content.broken and refused / (items + content.broken) > REJECTED:
            found.add("rejected")
        if full and content.extra and not content.joined:
            found.add("supplement")
        active = {key: row for key, row in self.rows.items() if row.active}
        if active and full and len(active.keys() - content.seen) / len(active) > SHRINK:
            found.add("shrink")
        both = [(active[key].price, price) for key, price in content.prices.items() if key in active]
        changed = [old for old, new in both if old[1] != new[1]]
        if both and len(changed) / len(both) > CURRENCY:
            found.add("currency")
        moves = [new[0] / old[0] for old, new in both if old[1] == new[1]]
        if len(moves) >= LEAST_COMPARED:
            same = Counter(round(move, 6) for move in moves if move != 1)
            median = math.exp(statistics.median(map(math.log, moves)))
            jumped = bool(same) and max(same.values()) / len(active) > SAME_FACTOR
            if jumped or max(median, 1 / median) > MEDIAN_FACTOR + 1e-9:
                found.add("price_jump")
        return found

    def accept(self, day: date) -> None:
        snap = self.last(day)
        assert snap is not None
        snap.verdict = "accepted"

    def apply(self, day: date, mode: str) -> str:
        """The outcome: applied, unchanged or superseded."""
        snap = self.current(day)
        if snap is None:
            raise Refused("nothing captured")
        if self.applied_through is not None and day < self.applied_through:
            return self._supersede(snap, mode)
        if snap.verdict not in ("ok", "accepted"):
            raise Refused("verdict")
        if mode == "delta" and self._waiting(day):
            raise Refused("earlier days")
        if self.applied == (snap.content, snap.rules):
            outcome = "applied" if day != self.applied_through and self._expire(day) else "unchanged"
        else:
            outcome = "applied"
            self._merge(snap.content, day, full=mode == "full")
        snap.outcome = "applied"
        self.applied_through, self.applied = day, (snap.content, snap.rules)
        return outcome

    def _supersede(self, snap: Snap, mode: str) -> str:
        """Time runs one way: an older full snapshot tells only how early an item was seen."""
        if mode == "delta":
            raise Refused("behind")
        if snap.cleaned and snap.outcome is None:
            snap.outcome = "superseded"
            for key in snap.content.prices:
                if key in self.rows:
                    self.rows[key].first_seen_on = min(self.rows[key].first_seen_on, snap.day)
        return "superseded"

    def _waiting(self, day: date) -> bool:
        earlier = {snap.day for snap in self.snaps if snap.day < day}
        return bool(earlier - {snap.day for snap in self.snaps if snap.outcome is not None})

    def _expire(self, day: date) -> bool:
        over = [
            row
            for row in self.rows.values()
            if row.active and row.held_since and row.held_since + timedelta(days=HOLD_DAYS) <= day
        ]
        for row in over:
            self._delist(row, day)
        return bool(over)

    @staticmethod
    def _delist(row: Row, day: date) -> None:
        row.delisted_on, row.held_since, row.snapshot_date = day, None, day

    def _merge(self, content: Content, day: date, *, full: bool) -> None:
        for key, price in content.prices.items():
            row, material = self.rows.get(key), content.joined.get(key)
            if row is None:
                self.rows[key] = Row(price, material, day, day)
            else:
                if not row.active or (row.price, row.material) != (price, material):
                    row.price, row.material, row.snapshot_date = price, material, day
                row.held_since = row.delisted_on = None
        for key in content.unclean & self.rows.keys():
            if self.rows[key].active:
                self.rows[key].held_since = self.rows[key].held_since or day
        self._expire(day)
        for key in content.deleted & self.rows.keys():
            if self.rows[key].active:
                self._delist(self.rows[key], day)
        missing = [row for key, row in self.rows.items() if row.active and key not in content.seen]
        if full and content.nameless + content.broken <= len(missing):
            for row in missing:
                self._delist(row, day)
