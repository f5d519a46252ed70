"""Failures are one line, only what passes is tried again, and progress is told now and then."""

import logging

import dagster as dg
import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from fashion_pipeline.defs import policies
from fashion_pipeline.defs.policies import one_line_failures, progress_to
from fashion_pipeline.errors import (
    CollectionError,
    FeedError,
    ModelError,
    PermanentError,
    SettingsError,
    TransientError,
    VerdictError,
)

PERMANENT = [PermanentError, SettingsError, FeedError, VerdictError, ModelError, CollectionError]
LOST = OperationalError("SELECT 1", {}, Exception("server closed the connection unexpectedly\nmore"))


def failed(error: Exception) -> dg.Failure:
    with pytest.raises(dg.Failure) as caught, one_line_failures():
        raise error
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize("kind", PERMANENT)
def test_what_needs_a_person_is_said_in_its_own_words_and_not_tried_again(kind: type[Exception]) -> None:
    failure = failed(kind("store shop: the feed is empty; ask the store"))
    assert failure.description == "store shop: the feed is empty; ask the store"
    assert not failure.allow_retries


def test_what_passes_is_tried_again() -> None:
    failure = failed(TransientError("the store does not answer"))
    assert (failure.description, failure.allow_retries) == ("the store does not answer", True)


def test_a_lost_connection_is_tried_again_and_a_defect_is_not() -> None:
    assert failed(LOST).allow_retries
    for defect in (
        KeyError("clean"),
        IntegrityError("INSERT", {}, Exception("duplicate key")),
        RuntimeError(),
    ):
        assert not failed(defect).allow_retries


@pytest.mark.parametrize(
    "error",
    [ValueError("first\nsecond\nthird"), RuntimeError(), LOST, OSError(28, "No space left on device")],
)
def test_an_unforeseen_failure_is_one_line_that_names_its_kind(error: Exception) -> None:
    description = failed(error).description or ""
    assert description.startswith(type(error).__name__)
    assert "\n" not in description
    assert len(description) > len(type(error).__name__) + 2


def test_no_failure_changes_nothing() -> None:
    with one_line_failures():
        value = 1
    assert value == 1


@pytest.mark.parametrize(
    ("error", "tries"),
    [(TransientError("away"), 3), (LOST, 3), (PermanentError("wrong"), 1), (KeyError("defect"), 1)],
    ids=["transient", "lost connection", "permanent", "defect"],
)
def test_a_run_tries_again_only_what_passes(error: Exception, tries: int) -> None:
    seen = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2, delay=0))
    def line_stage() -> None:
        seen.append(1)
        with one_line_failures():
            raise error

    with dg.DagsterInstance.ephemeral() as instance:
        assert not dg.materialize([line_stage], instance=instance, raise_on_error=False).success
    assert len(seen) == tries


def test_retries_end_before_the_next_hourly_tick() -> None:
    """Waits double from `delay`; the last one has to be over before the schedule's next tick."""
    for policy in (policies.NETWORK_RETRIES, policies.SERVER_RETRIES):
        assert policy.backoff is dg.Backoff.EXPONENTIAL
        assert policy.jitter is dg.Jitter.PLUS_MINUS
        waits = sum((policy.delay or 0) * (2**attempt) for attempt in range(policy.max_retries))
        assert 30 <= waits * 2 <= 3600


def test_progress_is_told_every_few_seconds_and_not_for_each_item(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    moment = [100.0]
    monkeypatch.setattr(policies.time, "monotonic", lambda: moment[0])
    log = logging.getLogger("progress-test")
    with caplog.at_level(logging.INFO, logger="progress-test"):
        progress = progress_to(log, "store shop: items cleaned")
        for done in range(1, 21):
            moment[0] += 1
            progress(done * 1000, 20_000 if done > 7 else None)
    assert [record.getMessage() for record in caplog.records] == [
        "store shop: items cleaned: 5,000, 1,000 a second",
        "store shop: items cleaned: 10,000 of 20,000, 1,000 a second",
        "store shop: items cleaned: 15,000 of 20,000, 1,000 a second",
        "store shop: items cleaned: 20,000 of 20,000, 1,000 a second",
    ]
