"""A day that stays unreadable is given up by a person, and no longer holds up the deltas after it."""

from datetime import date, timedelta

import pytest
from sqlalchemy import text

from fashion_pipeline.errors import FeedError, VerdictError
from fashion_pipeline.line.apply import skip_day
from fashion_pipeline_tests.line.conftest import DAY, World, item, items

BAD, AFTER = DAY + timedelta(days=1), DAY + timedelta(days=2)


@pytest.fixture
def waiting(world: World) -> World:
    """A delta that waits for an unreadable day."""
    world.run(DAY, items(5))
    world.store = world.store.model_copy(update={"mode": "delta"})
    world.path(BAD).write_text("<html><title>503</title></html>")
    world.capture(BAD)
    with pytest.raises(FeedError):
        world.clean(BAD)
    world.feed(AFTER, [item(0, price="12 EUR")])
    world.capture(AFTER)
    world.clean(AFTER)
    return world


def outcomes(world: World) -> dict[date, tuple[str | None, str | None]]:
    with world.database.connection() as connection:
        found = connection.execute(text("SELECT day, outcome, skipped_reason FROM feed_snapshots"))
        return {row[0]: (row[1], row[2]) for row in found}


def test_a_skipped_day_lets_later_deltas_through_and_is_recorded(waiting: World) -> None:
    with pytest.raises(VerdictError, match=rf"not applied: {BAD}.*feeds skip --store shop"):
        waiting.apply(AFTER)
    assert skip_day(waiting.database, waiting.store.id, BAD, "the store lost the file") == 1
    assert waiting.apply(AFTER).price_changed == 1
    assert outcomes(waiting)[BAD] == ("skipped", "the store lost the file")
    assert outcomes(waiting)[AFTER] == ("applied", None)
    assert len(waiting.products()) == 5


def test_a_skipped_day_that_becomes_readable_can_still_be_applied_before_a_later_one(waiting: World) -> None:
    skip_day(waiting.database, waiting.store.id, BAD, "lost")
    waiting.feed(BAD, [item(1, price="11 EUR")])
    assert waiting.run(BAD).price_changed == 1
    assert waiting.apply(AFTER).price_changed == 1
    assert "applied" in {outcome for outcome, _ in outcomes(waiting).values()}


@pytest.mark.parametrize(
    ("day", "reason", "said"),
    [
        (BAD, " ", "say why"),
        (DAY, "wrong day", "is applied already"),
        (AFTER + timedelta(days=1), "no such day", "no feed was captured"),
    ],
)
def test_only_a_captured_day_that_was_never_applied_is_skipped_with_a_reason(
    waiting: World, day: date, reason: str, said: str
) -> None:
    before = outcomes(waiting)
    with pytest.raises(VerdictError, match=said):
        skip_day(waiting.database, waiting.store.id, day, reason)
    assert outcomes(waiting) == before
