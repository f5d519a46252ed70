"""Capturing: once a day, never today's feed under another date, anew after a refusal."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import text

from fashion_pipeline.errors import FeedError, PermanentError
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline_tests.line.conftest import DAY, World, item, items

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def live(world: World) -> World:
    world.store = world.store.model_copy(update={"location": str(world.folder / "live.csv")})
    return world


def write_live(world: World, count: int) -> None:
    world.feed(DAY, items(count))
    world.path(DAY).replace(world.folder / "live.csv")


def snapshots(world: World) -> list[tuple[str, str]]:
    with world.database.connection() as connection:
        return [
            tuple(row) for row in connection.execute(text("SELECT day::text, sha256 FROM feed_snapshots"))
        ]


def test_bytes_are_stored_exactly_and_once(world: World) -> None:
    world.feed(DAY, items(3))
    first = world.capture(DAY)
    assert first.action == "fetched"
    assert world.data.read(first.snapshot.file_key) == world.path(DAY).read_bytes()
    world.feed(DAY + timedelta(days=1), items(3))
    second = world.capture(DAY + timedelta(days=1))
    assert (second.action, second.snapshot.file_key) == ("same_bytes", first.snapshot.file_key)
    assert len(list(world.data.list("raw"))) == 1
    assert len(snapshots(world)) == 2


def test_a_good_snapshot_is_used_again_unless_told(world: World) -> None:
    world.feed(DAY, items(3))
    world.capture(DAY)
    world.feed(DAY, items(4))
    assert world.capture(DAY).action == "reused"
    again = world.capture(DAY, refetch=True)
    assert again.action == "fetched"
    assert len(snapshots(world)) == 2
    assert world.clean(DAY).account["items"] == 4


def test_a_refused_snapshot_is_fetched_anew_and_the_good_one_stands(world: World) -> None:
    world.path(DAY).write_text("<html><body>Service unavailable</body></html>")
    world.capture(DAY)
    with pytest.raises(FeedError, match="shop"):
        world.clean(DAY)
    world.feed(DAY, items(3))
    assert world.capture(DAY).action == "fetched"
    assert world.clean(DAY).verdict == "ok"
    assert world.apply(DAY).new == 3


def test_a_refused_feed_never_replaces_an_applied_one_of_the_same_day(world: World) -> None:
    world.run(DAY, items(20))
    world.path(DAY).write_bytes(b"")
    world.capture(DAY, refetch=True)
    with pytest.raises(FeedError):
        world.clean(DAY)
    assert world.apply(DAY).outcome == "unchanged"
    assert len(world.products()) == 20


def test_a_live_feed_is_captured_on_its_own_day(world: World) -> None:
    write_live(live(world), 3)
    assert world.capture(DAY, now=NOON).action == "fetched"


def test_a_live_feed_is_never_stored_under_another_date(world: World) -> None:
    write_live(live(world), 3)
    with pytest.raises(PermanentError, match=r"shop, 2026-11-02: .*only a location with \{date\}"):
        world.capture(DAY, now=NOON + timedelta(days=1))
    with pytest.raises(PermanentError):
        world.capture(DAY + timedelta(days=1), now=NOON)
    assert snapshots(world) == []


def test_a_past_day_of_a_live_feed_reads_what_was_stored(world: World) -> None:
    write_live(live(world), 3)
    world.capture(DAY, now=NOON)
    write_live(world, 5)
    report = world.capture(DAY, refetch=True, now=NOON + timedelta(days=1))
    assert report.action == "reused"
    assert world.clean(DAY).account["items"] == 3


def test_a_live_feed_is_not_captured_behind_a_later_day(world: World) -> None:
    write_live(live(world), 3)
    tomorrow = DAY + timedelta(days=1)
    world.capture(tomorrow, now=NOON + timedelta(days=1))
    with pytest.raises(PermanentError, match="already captured for 2026-11-03"):
        world.capture(DAY, now=NOON + timedelta(hours=13))


def test_an_unchanged_file_is_not_read_again(world: World) -> None:
    write_live(live(world), 3)
    first = world.capture(DAY, now=NOON)
    tomorrow = DAY + timedelta(days=1)
    second = world.capture(tomorrow, now=NOON + timedelta(days=1))
    assert (second.action, second.snapshot.sha256) == ("not_modified", first.snapshot.sha256)
    world.clean(DAY)
    world.apply(DAY)
    assert world.clean(tomorrow).action == "reused"
    assert world.apply(tomorrow).outcome == "unchanged"


def test_a_missing_feed_names_the_store_and_leaves_nothing(world: World) -> None:
    with pytest.raises(PermanentError, match="shop"):
        world.capture(DAY)
    assert snapshots(world) == []
    assert [entry.key for entry in world.data.list("raw")] == []


def test_the_stored_source_holds_no_secret(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.feed(DAY, [item(1)])
    report = world.capture(DAY)
    assert report.location == str(world.path(DAY))
    assert report.snapshot.source == report.location


class Shop(ThreadingHTTPServer):
    """A shop that answers 304 whenever it is shown its etag, whatever it has by now."""

    content = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/feed.csv"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Shop)
        if self.headers.get("If-None-Match") == '"same"':
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", '"same"')
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_feed_mended_behind_the_same_etag_is_fetched(world: World, shop: Shop) -> None:
    world.policy = AddressPolicy(allowed_hosts=frozenset({"127.0.0.1"}))
    world.store = world.store.model_copy(update={"location": shop.url})
    shop.content = b"<html>maintenance</html>"
    world.capture(DAY, now=NOON)
    with pytest.raises(FeedError):
        world.clean(DAY)
    world.feed(DAY, items(3))
    shop.content = world.path(DAY).read_bytes()
    assert world.capture(DAY, now=NOON).action == "fetched"
    assert world.clean(DAY).verdict == "ok"
    assert world.capture(DAY + timedelta(days=1), now=NOON + timedelta(days=1)).action == "not_modified"
    world.feed(DAY, items(4))
    shop.content = world.path(DAY).read_bytes()
    told = world.capture(DAY + timedelta(days=1), refetch=True, now=NOON + timedelta(days=1))
    assert told.action == "fetched"
