"""Asking stores for changes: those that hang, trickle or fail against those that answer, all at once."""

import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.feeds.probe import Answer, Known, Probe, probe_feeds
from fashion_pipeline.feeds.transfer import Validators
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline_tests.object_store import s3_environ
from fashion_pipeline_tests.web import Web, serving

DAY = date(2026, 11, 2)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


def known(name: str, location: str, **values: Any) -> Known:
    store = StoreConfig.model_validate({"id": name, "format": "google_csv", "location": location} | values)
    return Known(store, (Validators('"1"'),))


def ask(*stores: Known, policy: AddressPolicy | None = None, **options: Any) -> dict[str, Probe]:
    policy = policy or AddressPolicy(allowed_hosts=frozenset({"127.0.0.1"}))
    given: dict[str, Any] = {"seconds": 20.0, "part_seconds": 5.0} | options
    return {
        probe.store_id: probe
        for probe in probe_feeds(stores, DAY, policy=policy, user_agent="tests", **given)
    }


def good(web: Web, *names: str) -> list[Known]:
    for name in names:
        web.pages[f"/{name}"] = (b"id\n1\n", '"1"')
    return [known(name, f"{web.address}/{name}") for name in names]


def test_stores_that_never_answer_or_trickle_fail_alone_and_in_time(web: Web) -> None:
    web.hangs, web.trickles = {"/never"}, {"/slow"}
    bad = [known(name, f"{web.address}/{name}") for name in ("never", "slow")]
    began = time.monotonic()
    found = ask(*bad, *good(web, "a", "b"), part_seconds=0.6)
    # Each byte of a header that trickles comes in time for the socket: what ends it is the time of the whole.
    assert 0.5 < time.monotonic() - began < 4
    assert {name: probe.answer for name, probe in found.items()} == {
        "never": Answer.FAILED, "slow": Answer.FAILED, "a": Answer.UNCHANGED, "b": Answer.UNCHANGED,
    }  # fmt: skip
    assert found["slow"].detail == found["never"].detail == "no answer in 0.6 s"
    assert {path for path, _, _ in web.asked} == {"/never", "/slow", "/a", "/b"}


def test_the_whole_ends_in_time_and_keeps_the_answers_so_far(web: Web) -> None:
    web.hangs = {"/never"}
    began = time.monotonic()
    found = ask(known("never", f"{web.address}/never"), *good(web, "a"), seconds=0.7, part_seconds=60.0)
    assert time.monotonic() - began < 4
    assert {name: probe.answer for name, probe in found.items()} == {
        "never": Answer.UNASKED,
        "a": Answer.UNCHANGED,
    }


def test_a_store_waits_for_its_turn_at_a_host_not_on_its_own_time(web: Web) -> None:
    names = [f"s{number}" for number in range(9)]
    stores = good(web, *names)
    web.delay = 0.5
    # Four at a time: the last one is asked when the first eight have answered.
    found = ask(*stores, part_seconds=1.2)
    assert {probe.answer for probe in found.values()} == {Answer.UNCHANGED}


def test_an_error_that_nobody_thought_of_is_the_stores_own(web: Web) -> None:
    # aiohttp raises a plain ValueError at such a header, and reading the location one at such a host.
    headers = {"X-Key": SecretStr("planted\nsecret")}
    bad = [
        known("header", f"{web.address}/header", headers=headers),
        known("host", "http://[::1/feed.csv"),
        known("driver", "gs://bucket/feed.csv"),
        known("place", "/etc/hostname"),
    ]
    found = ask(*bad, *good(web, "a"))
    assert found["a"].answer is Answer.UNCHANGED
    assert {found[each.store.id].answer for each in bad} == {Answer.FAILED}
    assert found["header"].detail.startswith("ValueError: ")
    assert "planted" not in str(found)
    assert found["host"].detail.startswith("ValueError: ")
    assert "ImportError" in found["driver"].detail
    assert "ForbiddenAddressError" in found["place"].detail


def test_a_local_file_is_told_by_its_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "feed.csv"
    path.write_text("id\n1\n")
    policy = AddressPolicy(file_roots=(tmp_path,))
    stat = path.stat()
    store = known("a", str(path)).store
    same = Known(store, (Validators(f'"{stat.st_size}-{stat.st_mtime_ns}"'),))
    assert ask(same, policy=policy)["a"].answer is Answer.UNCHANGED
    path.write_text("id\n12\n")
    assert ask(same, policy=policy)["a"].answer is Answer.CHANGED


def test_an_object_store_that_hangs_holds_up_neither_the_others_nor_the_process(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    for name, value in s3_environ(web.address).items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    web.hangs = {"/bucket/feed.csv"}
    hung = known("hung", "s3://bucket/feed.csv")
    began = time.monotonic()
    first = ask(hung, *good(web, "a"), part_seconds=0.8)
    assert time.monotonic() - began < 5
    assert {name: probe.answer for name, probe in first.items()} == {
        "hung": Answer.FAILED,
        "a": Answer.UNCHANGED,
    }
    assert first["hung"].detail == "no answer in 0.8 s"
    # The thread that hangs is left alone, and it stays one.
    again = ask(hung)
    assert "an earlier look at it has not ended yet" in again["hung"].detail
    (left,) = [thread for thread in threading.enumerate() if thread.name == "probe hung the feed"]
    assert left.daemon
    web.hangs = set()
    web.gate.set()
    left.join(30)
    assert not left.is_alive()
    S3FileSystem.clear_instance_cache()


def test_nobody_to_ask() -> None:
    assert ask() == {}
