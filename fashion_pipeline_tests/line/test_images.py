"""`product_images`: only what is due is asked for, politely conditional, and what was learnt is kept."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.image_work import work_list
from fashion_pipeline.catalog.images import failing_pictures
from fashion_pipeline_tests.conftest import ROOT
from fashion_pipeline_tests.line.conftest import DAY, item
from fashion_pipeline_tests.line.shops import PictureServer, Served, Shop, jpeg, sha256


def after(days: int) -> date:
    return DAY + timedelta(days=days)


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Shop:
    return Shop(database, tmp_path / "parts", images={"recheck_after_days": 30})


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with PictureServer() as running:
        yield running


def pictured(server: PictureServer, count: int, first: int = 0) -> list[dict[str, str]]:
    return [
        item(number, image=server.put(f"{number}.jpg", jpeg(number)))
        for number in range(first, first + count)
    ]


def test_pictures_are_fetched_stored_by_hash_and_never_asked_again(shop: Shop, server: PictureServer) -> None:
    shop.run(DAY, pictured(server, 5))
    first = shop.images(DAY)
    assert (first.due, first.known, len(first.new_pictures)) == (5, 5, 5)
    assert server.count() == {f"{number}.jpg": 1 for number in range(5)}
    assert shop.stored_pictures() == {sha256(jpeg(number)) for number in range(5)}
    row = shop.image_rows()["3.jpg"]
    assert (row["status"], row["sha256"], row["http_status"]) == ("fetched", sha256(jpeg(3)), 200)
    assert (row["width"], row["height"], row["format"].lower()) == (48, 48, "jpeg")
    assert (row["checked_on"], row["attempts"], row["next_attempt_at"]) == (DAY, 0, None)
    before = shop.rows("SELECT * FROM images ORDER BY image_key")
    server.forget()
    again = shop.images(DAY)
    assert (again.due, again.fetch, again.known, again.new_pictures) == (0, None, 5, ())
    assert server.asked == []
    assert shop.rows("SELECT * FROM images ORDER BY image_key") == before


def test_only_what_is_new_is_asked_for_and_nothing_that_left(shop: Shop, server: PictureServer) -> None:
    rows = pictured(server, 12)
    shop.run(DAY, rows)
    shop.images(DAY)
    server.forget()
    shop.run(after(1), [*rows[1:], *pictured(server, 2, first=12)])
    assert shop.images(after(1)).due == 2
    assert set(server.count()) == {"12.jpg", "13.jpg"}
    server.forget()
    # Forty days later all are due by age, but not the picture of the product that left.
    assert shop.images(after(40)).due == 13
    assert "0.jpg" not in server.count()


@pytest.mark.parametrize("per_product", [1, 2])
def test_the_work_list_follows_the_products_on_tables_that_were_never_analyzed(
    database: Database, per_product: int
) -> None:
    """As on a first day: PostgreSQL's planner then takes every table for empty."""
    count = 400
    with database.connection() as connection:
        connection.execute(
            text(
                "INSERT INTO products (id, store_id, external_id, title, price, currency, image_url, image_key, "
                "additional_image_urls, content_hash, snapshot_date, first_seen_on) SELECT gen_random_uuid(), 'shop', "
                "n, 'Dress', 10, 'EUR', 'https://cdn.example/' || n || '.jpg', encode(sha256(n::text::bytea), 'hex'), "
                "ARRAY['https://cdn.example/' || n || '-b.jpg'], n, :day, :day FROM generate_series(1, :count) n"
            ),
            {"day": DAY, "count": count},
        )
        connection.execute(
            text(
                "INSERT INTO images (image_key, url, url_sha256, host, status, attempts, checked_on, sha256, "
                "updated_at) SELECT image_key, image_url, image_key, 'cdn.example', 'fetched', 0, :day, image_key, "
                "updated_at - interval '1 hour' FROM products"
            ),
            {"day": DAY},
        )
    with work_list(database, "shop", DAY, recheck_after_days=30, per_product=per_product) as due:
        assert due.total == len(list(due)) == count * per_product
    database.dispose()  # a session tells what it read at its end
    with database.connection() as connection:
        reads = connection.scalar(
            text("SELECT sum(idx_scan + coalesce(idx_tup_fetch, 0) + seq_tup_read) FROM pg_stat_user_tables")
        )
    assert count < reads < 20 * count * per_product


def test_a_check_by_age_costs_one_conditional_request(shop: Shop, server: PictureServer) -> None:
    shop.run(DAY, pictured(server, 3))
    shop.images(DAY)
    bytes_before = shop.image_rows()
    server.forget()
    assert shop.images(after(29)).due == 0
    server.put("2.jpg", jpeg(200))
    report = shop.images(after(30))
    assert report.fetch is not None
    assert (report.due, report.fetch.not_modified, report.fetch.fetched) == (3, 2, 1)
    assert sorted((each.url, each.conditional, each.status) for each in server.asked) == [
        ("0.jpg", True, 304),
        ("1.jpg", True, 304),
        ("2.jpg", True, 200),
    ]
    rows = shop.image_rows()
    kept = ("sha256", "size_bytes", "width", "height", "format", "etag")
    assert all(rows["0.jpg"][name] == bytes_before["0.jpg"][name] for name in kept)
    assert (rows["0.jpg"]["status"], rows["0.jpg"]["checked_on"]) == ("fetched", after(30))
    assert (rows["2.jpg"]["sha256"], report.new_pictures) == (sha256(jpeg(200)), (sha256(jpeg(200)),))
    assert shop.images(after(30)).due == 0


def test_without_its_bytes_in_the_store_no_condition_is_sent(shop: Shop, server: PictureServer) -> None:
    shop.run(DAY, pictured(server, 1))
    shop.images(DAY)
    (entry,) = shop.data.list("images")
    shop.data.delete(entry.key)
    server.forget()
    shop.images(after(30))
    assert [(each.conditional, each.status) for each in server.asked] == [(False, 200)]
    assert shop.stored_pictures() == {sha256(jpeg(0))}


def test_a_changed_cache_buster_makes_the_picture_due_once(shop: Shop, server: PictureServer) -> None:
    url = server.put("1.jpg", jpeg(1))
    shop.run(DAY, [item(1, image=f"{url}?v=1"), item(2, image=server.put("2.jpg", jpeg(2)))])
    shop.images(DAY)
    server.forget()
    shop.run(after(1), [item(1, image=f"{url}?v=2"), item(2, image=server.url("2.jpg"))])
    report = shop.images(after(1))
    assert report.fetch is not None
    assert (report.due, report.fetch.not_modified) == (1, 1)
    assert [(each.url, each.conditional, each.status) for each in server.asked] == [("1.jpg?v=2", True, 304)]
    server.forget()
    for day in (1, 2, 3):
        assert shop.images(after(day)).due == 0
    server.put("1.jpg", jpeg(100))
    shop.run(after(4), [item(1, image=f"{url}?v=3"), item(2, image=server.url("2.jpg"))])
    assert shop.images(after(4)).new_pictures == (sha256(jpeg(100)),)
    assert server.count() == {"1.jpg?v=3": 1}


def test_two_cache_busters_of_one_picture_do_not_take_turns(shop: Shop, server: PictureServer) -> None:
    url = server.put("1.jpg", jpeg(1))

    def rows(first: int, second: int, price: str = "10.00 EUR") -> list[dict[str, str]]:
        return [item(1, image=f"{url}?v={first}"), item(2, image=f"{url}?v={second}", price=price)]

    shop.run(DAY, rows(1, 2))
    assert shop.images(DAY).due == 1
    assert shop.images(DAY).due == 0
    # Other changes of either product leave the picture alone.
    shop.run(after(1), rows(1, 2, "11.00 EUR"))
    assert shop.images(after(1)).due == 0
    # The smaller one changes: the greater one stands for both, and was asked.
    shop.run(after(2), rows(0, 2, "12.00 EUR"))
    assert shop.images(after(2)).due == 0
    # The greater one changes: due exactly once.
    shop.run(after(3), rows(0, 3, "12.00 EUR"))
    assert [shop.images(after(3)).due for _ in range(3)] == [1, 0, 0]
    assert server.count() == {"1.jpg?v=2": 1, "1.jpg?v=3": 1}


def test_a_passing_failure_waits_then_comes_again_and_then_succeeds(
    shop: Shop, server: PictureServer
) -> None:
    rows = pictured(server, 2)
    server.served["1.jpg"] = Served(status=500)
    shop.run(DAY, rows)
    report = shop.images(DAY)
    assert report.fetch is not None
    assert (report.fetch.fetched, dict(report.fetch.failed)) == (1, {"http_500": 1})
    row = shop.image_rows()["1.jpg"]
    assert (row["status"], row["attempts"], row["error"]) == ("failed_transient", 1, "http_500")
    (wait,) = shop.rows("SELECT next_attempt_at - updated_at AS wait FROM images WHERE attempts > 0")
    assert wait["wait"] == timedelta(minutes=10)
    server.forget()
    assert shop.images(DAY).due == 0
    assert server.asked == []

    def due_now() -> int:
        shop.execute("UPDATE images SET next_attempt_at = now() - interval '1 second' WHERE attempts > 0")
        return shop.images(DAY).due

    assert due_now() == 1
    assert len(server.asked) == 1, "a URL that failed in an earlier run is asked once"
    row = shop.image_rows()["1.jpg"]
    assert (row["attempts"], row["next_attempt_at"] - row["updated_at"]) == (2, timedelta(minutes=20))
    assert failing_pictures(shop.database, "shop", limit=5)[:2] == (2, 1)
    server.put("1.jpg", jpeg(1))
    assert due_now() == 1
    row = shop.image_rows()["1.jpg"]
    assert (row["status"], row["attempts"], row["next_attempt_at"], row["error"]) == (
        "fetched",
        0,
        None,
        None,
    )
    assert row["sha256"] == sha256(jpeg(1))
    assert failing_pictures(shop.database, "shop", limit=5) == (2, 0, [])


def test_the_wait_doubles_up_to_a_day(shop: Shop, server: PictureServer) -> None:
    server.served["1.jpg"] = Served(status=500)
    shop.run(DAY, [item(1, image=server.url("1.jpg"))])
    shop.images(DAY)
    shop.execute("UPDATE images SET attempts = 30, next_attempt_at = now() - interval '1 second'")
    assert shop.images(DAY).due == 1
    row = shop.image_rows()["1.jpg"]
    assert (row["attempts"], row["next_attempt_at"] - row["updated_at"]) == (31, timedelta(days=1))


def test_a_lasting_failure_is_not_asked_again_until_the_address_changes(
    shop: Shop, server: PictureServer
) -> None:
    shop.run(DAY, [item(1, image=server.url("gone.jpg")), item(2, image=server.url("old.jpg?v=1"))])
    report = shop.images(DAY)
    assert report.fetch is not None
    assert dict(report.fetch.failed) == {"http_404": 2}
    row = shop.image_rows()["gone.jpg"]
    assert (row["status"], row["http_status"], row["sha256"]) == ("failed_permanent", 404, None)
    assert row["next_attempt_at"] is None
    server.forget()
    server.put("gone.jpg", jpeg(1))
    server.put("old.jpg", jpeg(2))
    for day in (0, 1, 30, 365):
        assert shop.images(after(day)).due == 0
    shop.run(after(366), [item(1, image=server.url("gone.jpg")), item(2, image=server.url("old.jpg?v=2"))])
    assert shop.images(after(366)).due == 1
    shop.run(
        after(367), [item(1, image=server.put("new.jpg", jpeg(3))), item(2, image=server.url("old.jpg?v=2"))]
    )
    assert shop.images(after(367)).due == 1
    assert server.count() == {"old.jpg?v=2": 1, "new.jpg": 1}


@pytest.mark.parametrize(
    "answer", [Served(status=500), Served(status=404), Served(b"<html>no picture</html>")]
)
def test_a_failure_keeps_the_bytes_that_are_known(shop: Shop, server: PictureServer, answer: Served) -> None:
    shop.run(DAY, pictured(server, 1))
    shop.images(DAY)
    before = shop.image_rows()["0.jpg"]
    server.served["0.jpg"] = answer
    report = shop.images(after(30))
    assert report.fetch is not None
    assert sum(report.fetch.failed.values()) == 1
    row = shop.image_rows()["0.jpg"]
    assert row["status"].startswith("failed")
    assert row["error"]
    kept = ("sha256", "size_bytes", "width", "height", "format", "etag")
    assert {name: row[name] for name in kept} == {name: before[name] for name in kept}
    assert report.known == 1


def test_pictures_shared_by_products_and_stores_are_asked_and_stored_once(
    shop: Shop, server: PictureServer
) -> None:
    shared = server.put("shared.jpg", jpeg(1))
    copy = server.put("copy.jpg", jpeg(1))
    shop.run(DAY, [item(1, image=shared), item(2, image=shared), item(3, image=copy)])
    report = shop.images(DAY)
    assert report.fetch is not None
    assert (report.due, report.fetch.fetched, report.fetch.reused) == (2, 2, 1)
    assert report.new_pictures == (sha256(jpeg(1)),)
    other = Shop(shop.database, shop.parts, "other")
    other.run(DAY, [item(9, image=shared), item(10, image=server.put("own.jpg", jpeg(10)))])
    assert other.images(DAY).due == 1
    assert server.count() == {"shared.jpg": 1, "copy.jpg": 1, "own.jpg": 1}
    assert shop.stored_pictures() == {sha256(jpeg(1)), sha256(jpeg(10))}


def test_files_are_known_by_size_and_time_of_change(shop: Shop) -> None:
    rows = [item(number, image=shop.picture(number)) for number in range(3)]
    shop.run(DAY, rows)
    assert shop.images(DAY).due == 3
    assert shop.images(DAY).due == 0
    report = shop.images(after(30))
    assert report.fetch is not None
    assert (report.due, report.fetch.not_modified) == (3, 3)
    shop.picture("1", jpeg(100))
    report = shop.images(after(60))
    assert report.fetch is not None
    assert (report.fetch.not_modified, report.new_pictures) == (2, (sha256(jpeg(100)),))
    assert shop.image_rows()["1.jpg"]["sha256"] == sha256(jpeg(100))


def test_one_bad_picture_costs_itself_alone(shop: Shop, tmp_path: Path) -> None:
    secret = tmp_path / "outside.jpg"
    secret.write_bytes(jpeg(9))
    rows = [
        item(1, image=shop.picture(1)),
        item(2, image=shop.picture("cut", jpeg(2)[:300])),
        item(3, image=shop.picture("page", b"<!DOCTYPE html><html></html>")),
        item(4, image=shop.picture("empty", b"")),
        item(5, image=(shop.pictures / "none.jpg").as_uri()),
        item(6, image=secret.as_uri()),
        item(7, image="http://169.254.169.254/latest/meta-data"),
    ]
    shop.run(DAY, rows)
    report = shop.images(DAY)
    assert report.fetch is not None
    assert dict(report.fetch.failed) == {
        "truncated": 1,
        "not_an_image": 1,
        "empty": 1,
        "file_not_found": 1,
        "forbidden_address": 2,
    }
    assert (report.due, report.fetch.fetched, report.known) == (7, 1, 1)
    assert shop.stored_pictures() == {sha256(jpeg(1))}
    assert len(shop.rows("SELECT FROM products WHERE delisted_on IS NULL")) == 7


def test_what_was_forbidden_is_fetched_once_the_settings_allow_it(shop: Shop, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.jpg").write_bytes(jpeg(9))
    shop.run(DAY, [item(1, image=(outside / "a.jpg").as_uri())])
    assert shop.images(DAY).known == 0
    shop.policy = replace(shop.policy, file_roots=(*shop.policy.file_roots, outside))
    assert shop.images(DAY).known == 1
    assert shop.images(DAY).due == 0


def kill_in_the_middle(shop: Shop, server: PictureServer, *, count: int, answers: int) -> set[str]:
    """Kill -9 a run of `count` pictures after so many answers; the URLs that it had committed."""
    server.hold_after = answers
    server.go.clear()
    command = [sys.executable, "-m", "fashion_pipeline_tests.line.worker", "images"]
    arguments = [shop.database.url.render_as_string(hide_password=False), str(shop.parts), shop.name]
    with Popen([*command, *arguments], cwd=ROOT, stdout=PIPE) as child:
        deadline = time.monotonic() + 60
        expected = answers // 200 * 200
        while len(shop.rows("SELECT FROM images")) < expected or len(server.asked) < answers:
            assert child.poll() is None, "the child ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.kill()
    committed = {row["url"] for row in shop.rows("SELECT url FROM images")}
    assert len(committed) == expected < count
    server.hold_after = None
    return committed


def test_a_killed_run_keeps_what_it_committed_and_the_next_asks_for_the_rest(
    shop: Shop, server: PictureServer
) -> None:
    rows = pictured(server, 460)
    shop.run(DAY, rows)
    committed = kill_in_the_middle(shop, server, count=460, answers=330)
    server.forget()
    report = shop.images(DAY)
    assert (report.due, report.known) == (260, 460)
    asked = {server.url(name) for name in server.count()}
    assert asked == {row["image"] for row in rows} - committed
    assert set(server.count().values()) == {1}
    assert {row["sha256"] for row in shop.image_rows().values()} == shop.stored_pictures()
    assert shop.stored_pictures() == {sha256(jpeg(number)) for number in range(460)}
    assert shop.images(DAY).due == 0
