"""Pictures that are known: asked for again, re-hashed, collected; additional, small and shared ones."""

import io
import os
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fashion_pipeline.catalog import image_care, image_work
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.image_care import newest_pictures, retry_failed
from fashion_pipeline.catalog.images import record_decode_failures
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.line import image_care as care
from fashion_pipeline.line.image_care import collect_garbage, inspect_pictures, smallest_side, verify_pictures
from fashion_pipeline.line.images import picture_sheet
from fashion_pipeline_tests.line.conftest import DAY, item
from fashion_pipeline_tests.line.shops import PictureServer, Served, Shop, jpeg, sha256

DAYS = 86_400


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with PictureServer() as running:
        yield running


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Shop:
    return Shop(database, tmp_path / "parts")


def pictured(server: PictureServer, count: int) -> list[dict[str, str]]:
    return [item(number, image=server.put(f"{number}.jpg", jpeg(number))) for number in range(count)]


def with_images(shop: Shop, **policy: Any) -> None:
    images = shop.store.images.model_copy(update=policy)
    shop.store = shop.store.model_copy(update={"images": images})


def age(shop: Shop, digest: str, days: float) -> Path:
    path = shop.parts / "data" / ImageStore(shop.data).key(digest)
    then = time.time() - days * DAYS
    os.utime(path, (then, then))
    return path


# -- the work list


@pytest.mark.parametrize("count", [9, 10, 11, 25])
def test_a_work_list_is_read_in_pages(
    shop: Shop, server: PictureServer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(image_work, "PAGE", 10)
    shop.run(DAY, pictured(server, count))
    told: list[tuple[int, int | None]] = []
    report = shop.images(DAY, progress=lambda done, total: told.append((done, total)))
    assert (report.due, report.known) == (count, count)
    assert told == [(done, count) for done in range(1, count + 1)]
    assert set(server.count().values()) == {1}
    assert shop.images(DAY).due == 0


def test_what_another_run_fetched_meanwhile_is_not_asked_for(
    shop: Shop, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_work, "PAGE", 10)
    rows = pictured(server, 30)
    shop.run(DAY, rows)
    other = Shop(shop.database, shop.parts, "other")
    other.run(DAY, rows)
    with image_work.work_list(shop.database, "shop", DAY, recheck_after_days=30) as work:
        assert work.total == 30
        first = [next(iter(work))]
        assert other.images(DAY).due == 30
        assert len([*first, *work]) < 30


def test_additional_pictures_are_fetched_as_far_as_they_are_asked_for(
    shop: Shop, server: PictureServer
) -> None:
    shop.run(DAY, pictured(server, 2))
    further = [server.put(f"more-{number}.jpg", jpeg(100 + number)) for number in range(3)]
    shop.execute(
        "UPDATE products SET additional_image_urls = :urls WHERE external_id = 'sku-1'",
        urls=[f"{further[0]}?v=7", *further[1:]],
    )
    assert shop.images(DAY).due == 2
    with_images(shop, per_product=3)
    report = shop.images(DAY)
    assert report.due == 2
    assert set(server.count()) == {"0.jpg", "1.jpg", "more-0.jpg?v=7", "more-1.jpg"}
    assert shop.images(DAY).due == 0
    # A cache-buster is no other picture, but a reason to ask.
    shop.execute("UPDATE products SET additional_image_urls[1] = :url, updated_at = now() WHERE external_id = 'sku-1'",
                 url=f"{further[0]}?v=8")  # fmt: skip
    report = shop.images(DAY)
    assert (report.due, report.fetch.not_modified if report.fetch else None) == (1, 1)
    assert len(shop.rows("SELECT FROM images")) == 4
    # They can fail and be asked for again like the others.
    server.served["more-2.jpg"] = Served(status=404)
    with_images(shop, per_product=4)
    assert shop.images(DAY).due == 1
    assert retry_failed(shop.database, "shop") == {}
    assert retry_failed(shop.database, "shop", per_product=4) == {"http_404": 1}
    assert shop.images(DAY).due == 1
    assert shop.rows("SELECT FROM pg_class WHERE relname = 'further_pictures'") == []


# -- asking again


def test_failed_pictures_are_asked_for_again_when_told(shop: Shop, server: PictureServer) -> None:
    rows = pictured(server, 4)
    server.served["0.jpg"] = Served(status=404)
    server.served["1.jpg"] = Served(b"<html>")
    server.served["2.jpg"] = Served(status=500)
    shop.run(DAY, rows)
    other = Shop(shop.database, shop.parts, "other")
    other.run(DAY, [item(9, image=server.url("none.jpg"))])
    shop.images(DAY)
    other.images(DAY)
    assert (shop.images(DAY).due, other.images(DAY).due) == (0, 0)
    assert retry_failed(shop.database, "shop", errors=["http_410"]) == {}
    assert retry_failed(shop.database, "shop", errors=["http_404"]) == {"http_404": 1}
    server.forget()
    assert shop.images(DAY).due == 1
    assert set(server.count()) == {"0.jpg"}
    assert retry_failed(shop.database, "shop") == {"http_404": 1, "not_an_image": 1, "http_500": 1}
    for number in range(3):
        server.put(f"{number}.jpg", jpeg(number))
    assert shop.images(DAY).known == 4
    assert retry_failed(shop.database, "shop") == {}
    assert other.images(DAY).due == 0, "another store's pictures are left alone"


def test_a_picture_that_did_not_decode_is_fetched_anew_without_a_condition(
    shop: Shop, server: PictureServer
) -> None:
    shop.run(DAY, pictured(server, 2))
    shop.images(DAY)
    record_decode_failures(shop.database, [(sha256(jpeg(1)), "truncated")])
    server.forget()
    assert retry_failed(shop.database, "shop", errors=["truncated"]) == {"truncated": 1}
    assert shop.images(DAY).due == 1
    assert [(each.url, each.conditional) for each in server.asked] == [("1.jpg", False)]
    row = shop.image_rows()["1.jpg"]
    assert (row["status"], row["decode_error"], row["error"]) == ("fetched", None, None)


# -- verifying and collecting


def test_verify_finds_what_is_damaged_or_missing_and_has_it_fetched_anew(
    shop: Shop, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "BATCH", 4)
    shop.run(DAY, pictured(server, 10))
    shop.images(DAY)
    images = ImageStore(shop.data)
    assert verify_pictures(shop.database, images, sample=None, repair=False).whole
    damaged, missing = sha256(jpeg(3)), sha256(jpeg(4))
    (shop.parts / "data" / images.key(damaged)).write_bytes(jpeg(3)[:-1] + b"x")
    images.discard(missing)
    report = verify_pictures(shop.database, images, sample=None, repair=False)
    assert (report.checked, report.damaged, report.missing) == (10, [damaged], [missing])
    assert shop.images(DAY).due == 0
    assert verify_pictures(shop.database, images, sample=3, repair=False).checked == 3
    server.forget()
    verify_pictures(shop.database, images, sample=None, repair=True)
    assert shop.images(DAY).due == 2
    assert set(server.count()) == {"3.jpg", "4.jpg"}
    assert verify_pictures(shop.database, images, sample=None, repair=False).whole


@pytest.mark.parametrize("sample", [None, 100])
def test_a_folder_that_is_not_mounted_does_not_have_everything_fetched_anew(
    shop: Shop, server: PictureServer, sample: int | None
) -> None:
    shop.run(DAY, pictured(server, 30))
    shop.images(DAY)
    images, folder = ImageStore(shop.data), shop.parts / "data" / "images"
    damaged = folder.parent / images.key(sha256(jpeg(3)))
    damaged.write_bytes(b"x")
    for number in range(4, 24):
        images.discard(sha256(jpeg(number)))
    with pytest.raises(
        PermanentError, match=r"21 of 30 pictures are damaged \(1\) or missing \(20\).*mounted"
    ):
        verify_pictures(shop.database, images, sample=sample, repair=True)
    assert damaged.exists()
    assert shop.images(DAY).due == 0
    images.put(jpeg(4))
    verify_pictures(shop.database, images, sample=sample, repair=True)
    assert shop.images(DAY).due == 20, "so few are repaired whatever their share is"
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(PermanentError, match="30 of 30 pictures"):
        verify_pictures(shop.database, images, sample=sample, repair=True)
    verify_pictures(shop.database, images, sample=sample, repair=True, repair_many=True)
    assert shop.images(DAY).due == 30
    assert verify_pictures(shop.database, images, sample=None, repair=False).whole


def test_garbage_is_what_no_row_names_and_is_old(
    shop: Shop, server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "BATCH", 3)
    shop.run(DAY, pictured(server, 8))
    shop.images(DAY)
    images = ImageStore(shop.data)
    for number in range(8):
        age(shop, sha256(jpeg(number)), 100)
    orphans = [images.put(jpeg(number))[0] for number in range(50, 55)]
    for orphan in orphans[:4]:
        old = age(shop, orphan, 8)
    (young,) = orphans[4:]
    part, fresh_part = old.parent / f".{'a' * 32}.part", old.parent / f".{'b' * 32}.part"
    for path in (part, fresh_part):
        path.write_bytes(b"half")
    os.utime(part, (1, 1))
    kept = {sha256(jpeg(number)) for number in range(8)} | {young}
    size = sum(len(jpeg(number)) for number in range(50, 54)) + 4
    for delete in (False, True):
        report = collect_garbage(shop.database, images, older_than_days=7, delete=delete)
        assert (report.pictures, report.leftovers, report.bytes) == (4, 1, size)
        assert shop.stored_pictures() == (kept if delete else kept | set(orphans))
        assert (part.exists(), fresh_part.exists()) == (not delete, True)
    report = collect_garbage(shop.database, images, older_than_days=7, delete=True)
    assert (report.pictures, report.leftovers, report.bytes) == (0, 0, 0)


def test_another_database_does_not_have_every_picture_removed(shop: Shop) -> None:
    images = ImageStore(shop.data)
    for number in range(30):
        images.put(jpeg(number))
    later = time.time() + 8 * DAYS

    def collect(**options: bool) -> int:
        return collect_garbage(shop.database, images, older_than_days=7, now=later, **options).pictures

    assert collect(delete=False) == 30
    with pytest.raises(PermanentError, match=r"30 of 30 pictures are named by no row.*--delete-many"):
        collect(delete=True)
    assert len(shop.stored_pictures()) == 30
    assert collect(delete=True, delete_many=True) == 30
    assert shop.stored_pictures() == set()


def test_garbage_is_found_on_an_object_store(database: Database, tmp_path: Path) -> None:
    from fashion_pipeline.storage import DataLocation

    images = ImageStore(DataLocation(f"memory://{tmp_path.name}-garbage"))
    images.put(jpeg(1))
    later = time.time() + 8 * DAYS
    for delete, found in ((False, 1), (True, 1), (True, 0)):
        report = collect_garbage(database, images, older_than_days=7, delete=delete, now=later)
        assert report.pictures == found


# -- what is wrong with what is shown


def sized(width: int, height: int, number: int) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (width, height), (number % 256, 9, 9)).save(target, "PNG")
    return target.getvalue()


def test_small_pictures_are_counted_and_never_rejected(shop: Shop) -> None:
    sizes = [(249, 900), (900, 100), (250, 250), (499, 501), (500, 500), (900, 900)]
    rows = [item(number, image=shop.picture(f"p{number}", sized(*size, number)))
            for number, size in enumerate(sizes)]  # fmt: skip
    shop.run(DAY, rows)
    assert shop.images(DAY).known == 6
    found = inspect_pictures(shop.database, shop.store, DAY, limit=10)
    assert (found.pictures, found.small, found.shared) == (6, 2, [])
    assert [(row["width"], row["height"]) for row in found.small_sample] == [(900, 100), (249, 900)]
    later = date(2027, 1, 1)
    assert inspect_pictures(shop.database, shop.store, later, limit=2).small == 4
    assert [smallest_side(shop.store, day) for day in (later - timedelta(days=1), later)] == [250, 500]
    with_images(shop, smallest_side=900)
    assert smallest_side(shop.store, later) == 900
    assert inspect_pictures(shop.database, shop.store, DAY, limit=1).small == 5


def test_a_placeholder_is_known_by_its_count(shop: Shop) -> None:
    """Equal bytes behind different addresses, shared by different things, not by variants of one."""
    logo = jpeg(999)
    rows = [item(n, image=shop.picture(f"logo{n}" if n < 12 else f"own{n}", logo if n < 12 else jpeg(n)))
            for n in range(24)]  # fmt: skip
    shop.run(DAY, rows)
    shop.images(DAY)
    found = inspect_pictures(shop.database, shop.store, DAY, limit=10)
    assert found.items == 24
    (shared,) = found.shared
    assert (shared["sha256"], shared["shared_by"], shared["items"]) == (sha256(logo), 12, 24)
    assert shared["url"].startswith("file:")
    with_images(shop, shared_share=0.6)
    assert inspect_pictures(shop.database, shop.store, DAY, limit=10).shared == []
    with_images(shop, shared_share=0.5)
    shop.execute("UPDATE products SET item_group_id = 'one' WHERE substr(external_id, 5)::int < 6")
    assert inspect_pictures(shop.database, shop.store, DAY, limit=10).shared == []
    assert image_care.LEAST_SHARED == 10


def test_a_sheet_shows_the_newest_and_bears_a_gap(shop: Shop) -> None:
    shop.run(DAY, [item(number, image=shop.picture(number)) for number in range(50)])
    report = shop.images(DAY)
    newest = newest_pictures(shop.database, "shop", limit=40)
    assert len(newest) == 40
    ImageStore(shop.data).discard(newest[0])
    data, mime = picture_sheet(shop.database, ImageStore(shop.data), "shop", newest) or (b"", "")
    assert mime == "image/webp"
    with Image.open(io.BytesIO(data)) as page:
        assert page.width > page.height > 300
    assert len(data) <= 45_000
    assert len(report.new_pictures) == 50
    assert picture_sheet(shop.database, ImageStore(shop.data), "shop", []) is None
