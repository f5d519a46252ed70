"""Snapshots over days against a plain model of the rules: full, delta, late, refused, accepted, held, returned."""

import csv
import io
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.errors import FeedError, PermanentError, VerdictError
from fashion_pipeline.feeds.config import Thresholds
from fashion_pipeline.line.clean import Acceptance
from fashion_pipeline.storage import DataLocation
from fashion_pipeline_tests.line import snapshot_model as rules
from fashion_pipeline_tests.line.conftest import DAY, FIELDS, World, item
from fashion_pipeline_tests.line.snapshot_model import Content, Model, Refused, Row

IDS = tuple("abcdefghij")
# No two pairs of these have nearly the same quotient: the model compares factors exactly.
PRICES = ("10 EUR", "13 EUR", "20 EUR", "100 EUR", "10 USD")
STATES = (*PRICES, rules.UNPRICED, rules.CONFLICT, rules.DOUBLED, rules.DELETED, rules.ABSENT)
HEADER = [*FIELDS.values(), "action"]
THRESHOLDS = Thresholds(
    shrink=rules.SHRINK,
    rejected=rules.REJECTED,
    same_factor=rules.SAME_FACTOR,
    median_factor=rules.MEDIAN_FACTOR,
    currency=rules.CURRENCY,
    hold_days=rules.HOLD_DAYS,
)
#: Small changes, so that most feeds pass the guards and what they lead to is seen.
EDITS = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(STATES)), max_size=3)
#: Whole catalogues at once: guards fire.
UPHEAVAL = st.one_of(
    st.sampled_from([*PRICES, rules.UNPRICED, rules.ABSENT, rules.DELETED]).map(
        lambda state: [(key, state) for key in IDS[2:]]
    ),
    st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(STATES)), min_size=6, max_size=10),
)
#: What a supplement says; "stray" is an id that no feed has.
EXTRA = st.dictionaries(st.sampled_from((*IDS[:4], "stray")), st.sampled_from(("wool", "silk")), max_size=3)
FEW = st.sampled_from([0, 0, 0, 0, 1, 2, 3])
_numbers = itertools.count()


def as_csv(content: Content) -> bytes:
    if not content.readable:
        return b"<!doctype html><title>503</title><p>Sorry"
    rows: list[dict[str, str]] = []
    for key, state in content.items:
        if state == rules.ABSENT:
            continue
        row = item(key, id=key, price="10 EUR", action="")
        if " " in state:
            row["price"] = state
        elif state == rules.UNPRICED:
            row["price"] = ""
        elif state == rules.DELETED:
            row["action"] = "delete"
        rows.append(row)
        if state == rules.DOUBLED:
            rows.append(row)
        elif state == rules.CONFLICT:
            rows.append(row | {"title": "Another"})
    rows.extend(item(f"nameless {n}", id="", action="") for n in range(content.nameless))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, HEADER)
    writer.writeheader()
    writer.writerows(rows)
    buffer.writelines(f"too,many,cells,in,this,row,{n},!\n" for n in range(content.broken))
    return buffer.getvalue().encode()


def extra_csv(content: Content) -> bytes:
    if content.extra is None:
        return b"<!doctype html><title>503</title><p>Sorry"
    return "".join(f"{key},{material}\n" for key, material in (("id", "fabric"), *content.extra)).encode()


class Snapshots(RuleBasedStateMachine):
    """The line's first three stages, and the model beside them."""

    database: Database
    data: DataLocation
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        number = next(_numbers)
        self.world = World(
            self.database,
            self.data,
            self.folder / str(number),
            id=f"shop-{number}",
            mapping={"fields": FIELDS | {"action": "action"}, "delimiter": ","},
            thresholds=THRESHOLDS.model_dump(),
            supplements=[
                {
                    "location": str(self.folder / str(number) / "more-{date}.csv"),
                    "format": "delimited",
                    "mapping": {"fields": {"external_id": "id", "material": "fabric"}, "delimiter": ","},
                }
            ],
        )
        self.model = Model()
        self.today = DAY
        self.published: dict[date, Content] = {}
        self.last = Content(tuple((key, "10 EUR") for key in IDS[:8]))

    @property
    def mode(self) -> str:
        return self.world.store.mode

    @initialize()
    def first_day(self) -> None:
        self._publish(self.today, self.last)
        self._through(self.today)

    @rule(days=st.integers(0, 3), edits=EDITS, nameless=FEW, broken=FEW)
    def a_feed_like_the_last_one(
        self, days: int, edits: list[tuple[str, str]], nameless: int, broken: int
    ) -> None:
        """A later day, or today again, with a few items changed."""
        self.today += timedelta(days=days)
        self._publish(self.today, self._edited(edits, nameless, broken))
        self._through(self.today, refetch=days == 0)

    @rule(edits=UPHEAVAL)
    def a_feed_unlike_the_last_one(self, edits: list[tuple[str, str]]) -> None:
        self.today += timedelta(days=1)
        self._publish(self.today, self._edited(edits, 0, 0))
        self._through(self.today)

    @rule(edits=EDITS)
    def a_delta(self, edits: list[tuple[str, str]]) -> None:
        """One day on which the store sends only what changed."""
        self.today += timedelta(days=1)
        self._publish(self.today, Content(tuple(dict(edits).items())))
        self._set_mode("delta")
        self._through(self.today)

    @rule(days=st.integers(0, 2), extra=EXTRA)
    def another_supplement(self, days: int, extra: dict[str, str]) -> None:
        """The feed stays as it is, its supplement changes."""
        self.today += timedelta(days=days)
        self.last = replace(self.last, extra=tuple(extra.items()))
        self._publish(self.today, self.last)
        self._through(self.today, refetch=days == 0)

    @rule(gone=st.booleans())
    def a_bad_supplement(self, gone: bool) -> None:
        """A file that is missing fails the capture, one that cannot be read the cleaning."""
        self.today += timedelta(days=1)
        if not gone:
            self._publish(self.today, replace(self.last, extra=None))
            self._through(self.today)
            return
        self._publish(self.today, self.last)
        self._more(self.today).unlink()
        with pytest.raises(PermanentError, match="a supplement of the feed"):
            self.world.capture(self.today)
        self._publish(self.today, self.last)
        self._through(self.today)

    @rule(mode=st.sampled_from(["full", "delta"]))
    def another_mode(self, mode: str) -> None:
        self._set_mode(mode)

    @rule(days=st.integers(1, 6), edits=EDITS)
    def a_late_day(self, days: int, edits: list[tuple[str, str]]) -> None:
        """A day before the last one is brought up only now."""
        day = self.today - timedelta(days=days)
        if day not in self.published:
            self._publish(day, self._edited(edits, 0, 0))
        self._through(day)

    @rule(edits=EDITS)
    def captured_but_left_lying(self, edits: list[tuple[str, str]]) -> None:
        self.today += timedelta(days=1)
        self._publish(self.today, self._edited(edits, 0, 0))
        self._capture(self.today, refetch=False)

    @rule(refetch=st.booleans())
    def an_error_page(self, refetch: bool) -> None:
        if not refetch:
            self.today += timedelta(days=1)
        before = self.published.get(self.today)
        self._publish(self.today, Content(readable=False))
        self._through(self.today, refetch=refetch)
        if before is not None:
            self._publish(self.today, before)
            # The good snapshot of the day stands, whatever came after it.
            self._through(self.today)

    @rule(days=st.integers(0, 8))
    def the_same_bytes_again(self, days: int) -> None:
        self.today += timedelta(days=days)
        self._publish(self.today, self.last)
        self._through(self.today, refetch=True)

    @rule(back=st.integers(0, 3))
    def a_day_again(self, back: int) -> None:
        day = self.today - timedelta(days=back)
        if day in self.published:
            self._through(day)

    @rule()
    def a_person_accepts(self) -> None:
        snap = self.model.last(self.today)
        if snap is None or snap.verdict != "refused" or not snap.cleaned or snap.rules != self.mode:
            return
        fired = self.model.fired(snap, self.mode)
        stored = self.world.clean(self.today).snapshot
        self.model.clean(self.today, self.mode)
        if not fired:
            return
        acceptance = Acceptance(stored.sha256[:12], tuple(sorted(fired)), "looked at")
        for guard in fired:
            with pytest.raises(VerdictError, match=guard):
                self.world.clean(self.today, replace(acceptance, guards=tuple(fired - {guard})))
        assert self.world.clean(self.today, acceptance).verdict == "accepted"
        self.model.accept(self.today)
        self._apply(self.today)

    @invariant()
    def the_products_are_as_the_rules_say(self) -> None:
        with self.database.connection() as connection:
            found = connection.execute(
                text(
                    "SELECT external_id, price, currency, material, snapshot_date, first_seen_on, held_since, "
                    "delisted_on FROM products WHERE store_id = :store"
                ),
                {"store": self.world.store.id},
            ).all()
        rows = {
            key: Row((int(price), currency), material, changed, first, held, delisted)
            for key, price, currency, material, changed, first, held, delisted in found
        }
        assert rows == self.model.rows

    @invariant()
    def the_ledger_is_as_the_rules_say(self) -> None:
        store = {"store": self.world.store.id}
        with self.database.connection() as connection:
            found = connection.execute(
                text("SELECT day, verdict, outcome FROM feed_snapshots WHERE store_id = :store"), store
            ).all()
            through = connection.scalar(
                text("SELECT applied_through FROM stores WHERE store_id = :store"), store
            )
        told = sorted((snap.day, str(snap.verdict), str(snap.outcome)) for snap in self.model.snaps)
        assert sorted((day, str(verdict), str(outcome)) for day, verdict, outcome in found) == told
        assert through == self.model.applied_through

    def _edited(self, edits: list[tuple[str, str]], nameless: int, broken: int) -> Content:
        told = dict(self.last.items) | dict(edits)
        # What is absent leaves no trace in the file: equal bytes are one content.
        items = {key: state for key, state in told.items() if state != rules.ABSENT}
        self.last = Content(tuple(items.items()), nameless, broken, extra=self.last.extra)
        return self.last

    def _set_mode(self, mode: str) -> None:
        self.world.store = self.world.store.model_copy(update={"mode": mode})

    def _publish(self, day: date, content: Content) -> None:
        self.published[day] = content
        for path, data in ((self.world.path(day), as_csv(content)), (self._more(day), extra_csv(content))):
            path.write_bytes(data)
            # Two writes within a tick of the file system's clock are two states of the file.
            os.utime(path, (next(_numbers), next(_numbers)))

    def _more(self, day: date) -> Path:
        return self.world.folder / f"more-{day}.csv"

    def _through(self, day: date, *, refetch: bool = False) -> None:
        self._capture(day, refetch=refetch)
        if self._same(
            lambda: self.world.clean(day).verdict, lambda: self.model.clean(day, self.mode).verdict
        ):
            self._apply(day)

    def _capture(self, day: date, *, refetch: bool) -> None:
        asked = self.model.capture(day, self.published[day], refetch=refetch)
        report = self.world.capture(day, refetch=refetch)
        assert (report.action != "reused") == asked

    def _apply(self, day: date) -> None:
        def applied() -> str:
            report = self.world.apply(day)
            assert report.active == sum(row.active for row in self.model.rows.values())
            assert report.held == sum(row.held_since is not None for row in self.model.rows.values())
            return report.outcome

        expected: list[str | Refused] = []
        try:
            expected.append(self.model.apply(day, self.mode))
        except Refused as refused:
            expected.append(refused)

        def foretold() -> str:
            if isinstance(expected[0], Refused):
                raise expected[0]
            return expected[0]

        if self._same(applied, foretold):
            # Materializing again changes nothing.
            assert self.world.apply(day).outcome in ("unchanged", "superseded")

    @staticmethod
    def _same(work: Callable[[], str | None], foretold: Callable[[], str | None]) -> bool:
        """Whether both came through; one that fails while the other does not is a defect."""
        error: PermanentError | None = None
        found = None
        try:
            found = work()
        except PermanentError as raised:
            error = raised
        if error is None:
            assert found == foretold()
            event(f"{found}")
            return True
        with pytest.raises(Refused) as refused:
            foretold()
        event(refused.value.why)
        kinds = {"unreadable": FeedError, "nothing captured": PermanentError}
        assert isinstance(error, kinds.get(refused.value.why, VerdictError)), error
        return False


def run_machine(database: Database, data: DataLocation, folder: Path, examples: int, steps: int) -> None:
    folder.mkdir()
    places = {"database": database, "data": data, "folder": folder}
    machine = type("SnapshotsHere", (Snapshots,), places)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_snapshots_over_days_follow_the_rules(database: Database, data: DataLocation, tmp_path: Path) -> None:
    run_machine(database, data, tmp_path / "feeds", examples=15, steps=20)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_snapshots_over_many_days_follow_the_rules(
    database: Database, data: DataLocation, tmp_path: Path
) -> None:
    run_machine(database, data, tmp_path / "feeds", examples=60, steps=40)
