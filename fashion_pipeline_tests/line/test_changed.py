"""Which stores changed their feed: real requests to a real server, and the ledger of real captures."""

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.feeds.config import FeedsConfig
from fashion_pipeline.feeds.probe import Answer
from fashion_pipeline.line.capture import CaptureReport, capture_feed
from fashion_pipeline.line.changed import ChangedFeeds, changed_feeds
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline.storage import DataLocation
from fashion_pipeline_tests.object_store import S3Bucket
from fashion_pipeline_tests.web import Web, serving

POLICY = AddressPolicy(allowed_hosts=frozenset({"127.0.0.1"}))
AGENT = "tests"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


def config(web: Web, *names: str, **values: Any) -> FeedsConfig:
    stores = [
        {"id": name, "format": "google_csv", "location": f"{web.address}/{name}.csv"} | values
        for name in names
    ]
    return FeedsConfig.model_validate({"first_day": date(2026, 1, 1), "stores": stores})


def capture(database: Database, data: DataLocation, feeds: FeedsConfig) -> date:
    today = datetime.now(UTC).date()
    for store in feeds.stores:
        capture_feed(database, data, store, today, policy=POLICY, user_agent=AGENT, refetch=True)
    return today


def ask(database: Database, feeds: FeedsConfig, day: date, **options: Any) -> ChangedFeeds:
    return changed_feeds(database, feeds, day, policy=POLICY, user_agent=AGENT, **options)


def answers(found: ChangedFeeds) -> dict[str, Answer]:
    return {probe.store_id: probe.answer for probe in found.probes}


@pytest.mark.parametrize("honours_conditions", [True, False])
def test_a_changed_feed_is_told_from_one_that_is_not(
    database: Database, data: DataLocation, web: Web, honours_conditions: bool
) -> None:
    feeds = config(web, "same", "other", "silent", "gone")
    web.pages = {f"/{name}.csv": (b"id\n1\n", f'"{name}-1"') for name in ("same", "other", "gone")}
    web.pages["/silent.csv"] = (b"id\n1\n", "")
    day = capture(database, data, feeds)
    web.honours_conditions = honours_conditions
    web.pages["/other.csv"] = (b"id\n2\n" * 1000, '"other-2"')
    del web.pages["/gone.csv"]
    web.asked.clear()
    found = ask(database, feeds, day)
    assert answers(found) == {
        "same": Answer.UNCHANGED,
        "other": Answer.CHANGED,
        "silent": Answer.UNTOLD,
        "gone": Answer.FAILED,
    }
    assert [change.store_id for change in found.changes] == ["other"]
    assert {probe.version for probe in found.probes} == {"", '"other-2"'}
    assert found.next_store is None
    # One conditional request each, and none to a store whose answer could tell nothing.
    assert sorted((path, headers["If-None-Match"]) for path, headers, _ in web.asked) == [
        ("/gone.csv", '"gone-1"'), ("/other.csv", '"other-1"'), ("/same.csv", '"same-1"'),
    ]  # fmt: skip


def test_only_active_stores_that_were_captured_today_are_asked(
    database: Database, data: DataLocation, web: Web
) -> None:
    web.pages = {"/a.csv": (b"id\n1\n", '"1"'), "/b.csv": (b"id\n1\n", '"1"')}
    day = capture(database, data, config(web, "a"))
    assert answers(ask(database, config(web, "a", "b"), day)) == {"a": Answer.UNCHANGED}
    assert answers(ask(database, config(web, "a", status="paused"), day)) == {}


def test_slow_stores_hold_up_nobody_and_the_next_tick_goes_on(
    database: Database, data: DataLocation, web: Web
) -> None:
    names = [f"s{number:02}" for number in range(12)]
    feeds = config(web, *names)
    web.pages = {f"/{name}.csv": (b"id\n1\n", '"1"') for name in names}
    day = capture(database, data, feeds)
    web.delay = 30.0
    began = time.monotonic()
    found = ask(database, feeds, day, seconds=0.7)
    assert time.monotonic() - began < 5
    assert set(answers(found).values()) == {Answer.UNASKED}
    assert found.next_store == names[0]
    web.delay = 0.0
    web.gate.set()
    # A later tick begins where this one says.
    later = ask(database, feeds, day, first="s07")
    assert [probe.store_id for probe in later.probes][:2] == ["s07", "s08"]
    assert set(answers(later).values()) == {Answer.UNCHANGED}
    assert len(later.probes) == 12


def key(database: Database, feeds: FeedsConfig, day: date) -> str:
    (change,) = ask(database, feeds, day).changes
    return change.key


def test_content_that_comes_back_is_a_change_of_its_own(
    database: Database, data: DataLocation, web: Web
) -> None:
    feeds = config(web, "a")
    contents = {letter: (f"id\n{letter}\n".encode(), f'"{letter}"') for letter in "ABC"}
    web.pages["/a.csv"] = contents["A"]
    day = capture(database, data, feeds)
    web.pages["/a.csv"] = contents["B"]
    keys = [key(database, feeds, day)]
    # One key for as long as nothing else is captured.
    assert key(database, feeds, day) == keys[0]
    capture(database, data, feeds)
    for letter in "CB":
        web.pages["/a.csv"] = contents[letter]
        keys.append(key(database, feeds, day))
        capture(database, data, feeds)
        assert answers(ask(database, feeds, day)) == {"a": Answer.UNCHANGED}
    assert len(set(keys)) == 3


def test_a_changed_supplement_changes_the_feed(database: Database, data: DataLocation, web: Web) -> None:
    parts = [{"location": f"{web.address}/{name}.csv", "format": "google_csv"} for name in ("one", "two")]
    feeds = config(web, "a", supplements=parts)
    web.pages = {f"/{name}.csv": (b"id\n1\n", f'"{name}-1"') for name in ("a", "one", "two")}
    day = capture(database, data, feeds)
    web.asked.clear()
    assert answers(ask(database, feeds, day)) == {"a": Answer.UNCHANGED}
    assert sorted((path, headers["If-None-Match"]) for path, headers, _ in web.asked) == [
        ("/a.csv", '"a-1"'), ("/one.csv", '"one-1"'), ("/two.csv", '"two-1"'),
    ]  # fmt: skip
    web.pages["/two.csv"] = (b"id\n2\n", '"two-2"')
    (probe,) = ask(database, feeds, day).probes
    assert (probe.answer, probe.version) == (Answer.CHANGED, 'supplement 2 "two-2"')
    capture(database, data, feeds)
    assert answers(ask(database, feeds, day)) == {"a": Answer.UNCHANGED}
    # What cannot be asked is told, and does not hide what changed elsewhere.
    del web.pages["/one.csv"]
    (probe,) = ask(database, feeds, day).probes
    assert probe.answer is Answer.FAILED
    assert probe.detail.startswith("supplement 1: PermanentError: ")
    web.pages["/a.csv"] = (b"id\n3\n", '"a-2"')
    assert answers(ask(database, feeds, day)) == {"a": Answer.CHANGED}


def test_what_feeds_yaml_names_anew_is_a_change(database: Database, data: DataLocation, web: Web) -> None:
    web.pages = {f"/{name}.csv": (b"id\n1\n", '"1"') for name in ("a", "moved", "one")}
    day = capture(database, data, config(web, "a"))
    one = {"location": f"{web.address}/one.csv", "format": "google_csv"}
    added = config(web, "a", supplements=[one])
    moved = config(web, "a", location=f"{web.address}/moved.csv")
    for feeds in (added, moved):
        assert answers(ask(database, feeds, day)) == {"a": Answer.CHANGED}
        capture(database, data, feeds)
        assert answers(ask(database, feeds, day)) == {"a": Answer.UNCHANGED}


def test_feeds_on_an_object_store_are_told_apart_too(
    database: Database, data: DataLocation, s3_bucket: S3Bucket
) -> None:
    """Captured from s3://, asked, unchanged; then the feed changes, then its supplement."""
    parts = [{"location": s3_bucket.url("more.csv"), "format": "google_csv"}]
    store = {"id": "a", "format": "google_csv", "location": s3_bucket.url("feed.csv"), "supplements": parts}
    feeds = FeedsConfig.model_validate({"first_day": date(2026, 1, 1), "stores": [store]})
    s3_bucket.put("feed.csv", b"id\n1\n")
    s3_bucket.put("more.csv", b"id,color\n1,red\n")
    day = datetime.now(UTC).date()

    def again(**options: Any) -> CaptureReport:
        return capture_feed(database, data, feeds.stores[0], day, policy=POLICY, user_agent=AGENT, **options)

    first = again()
    assert first.action == "fetched"
    assert [data.read(each.file_key) for each in (first.snapshot, *first.snapshot.supplement_files)] == [
        b"id\n1\n", b"id,color\n1,red\n",
    ]  # fmt: skip
    assert answers(ask(database, feeds, day)) == {"a": Answer.UNCHANGED}
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    unchanged = capture_feed(
        database, data, feeds.stores[0], tomorrow.date(), policy=POLICY, user_agent=AGENT, now=tomorrow
    )
    assert (unchanged.action, unchanged.snapshot.sha256) == ("not_modified", first.snapshot.sha256)
    for name in ("feed.csv", "more.csv"):
        s3_bucket.put(name, b"id,color\n1,blue\n")
        (probe,) = ask(database, feeds, tomorrow.date()).probes
        assert probe.answer is Answer.CHANGED
        assert probe.version.startswith("the feed" if name == "feed.csv" else "supplement 1")
        capture_feed(
            database, data, feeds.stores[0], tomorrow.date(), policy=POLICY, user_agent=AGENT,
            now=tomorrow, refetch=True,
        )  # fmt: skip
        assert answers(ask(database, feeds, tomorrow.date())) == {"a": Answer.UNCHANGED}
    s3_bucket.delete("feed.csv")
    (probe,) = ask(database, feeds, tomorrow.date()).probes
    assert (probe.answer, probe.detail) == (
        Answer.FAILED,
        "the feed: TransientError: the object cannot be looked at (FileNotFoundError)",
    )


def test_an_address_that_is_not_allowed_is_not_asked(
    database: Database, data: DataLocation, web: Web
) -> None:
    feeds = config(web, "a")
    web.pages = {"/a.csv": (b"id\n1\n", '"1"')}
    day = capture(database, data, feeds)
    web.asked.clear()
    found = changed_feeds(database, feeds, day, policy=AddressPolicy(), user_agent=AGENT)
    (probe,) = found.probes
    assert probe.answer is Answer.FAILED
    assert "ForbiddenAddressError" in probe.detail
    assert web.asked == []


def test_a_secret_of_the_store_is_sent_and_never_told(
    database: Database, data: DataLocation, web: Web
) -> None:
    from pydantic import SecretStr

    feeds = config(web, "a", headers={"Authorization": SecretStr("Bearer planted")})
    web.pages = {"/a.csv": (b"id\n1\n", '"1"')}
    day = capture(database, data, feeds)
    web.pages.clear()
    web.asked.clear()
    (probe,) = ask(database, feeds, day).probes
    assert web.asked[0][1]["Authorization"] == "Bearer planted"
    assert probe.answer is Answer.FAILED
    assert "planted" not in probe.detail
