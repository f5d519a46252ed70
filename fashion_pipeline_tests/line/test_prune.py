"""Retention: what is old and not needed goes, after a dry run; what a redo needs stays."""

import os
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.line.image_care import collect_garbage
from fashion_pipeline.line.prune import PruneReport, prune
from fashion_pipeline.line.shards import collect_shards
from fashion_pipeline_tests.line.conftest import DAY, World, item, items
from fashion_pipeline_tests.line.shops import Shop, copy_sparse, jpeg, sha256
from fashion_pipeline_tests.line.test_supplements import more, supplemented

DAYS = [DAY + timedelta(days=number) for number in range(5)]
LATER = DAY + timedelta(days=100)


def files(world: World) -> set[str]:
    """Files of snapshots as folder/day."""
    found = [
        entry.key for folder in ("raw", "clean", "rejected", "deletions") for entry in world.data.list(folder)
    ]
    return {f"{key.partition('/')[0]}/{key.split('day=')[1].partition('/')[0]}" for key in found}


def of(day: date, *folders: str) -> set[str]:
    return {f"{folder}/{day}" for folder in folders or ("raw", "clean", "rejected")}


def grow_old(world: World) -> None:
    """Have everything be as old as its day says."""
    root = world.data.local_root
    assert root is not None
    for path in [path for path in root.rglob("*") if path.is_file() and "day=" in str(path)]:
        day = date.fromisoformat(str(path).split("day=")[1].partition("/")[0])
        then = time.mktime(day.timetuple())
        os.utime(path, (then, then))
    with world.database.connection() as connection:
        connection.exec_driver_sql("UPDATE rejected_products SET created_at = day")


def pruned(world: World, before: date = LATER, *, delete: bool = True, **per_product: int) -> PruneReport:
    return prune(world.database, world.data, before, per_product=per_product, delete=delete)


def test_old_feeds_go_and_the_newest_applied_one_can_be_cleaned_anew(world: World) -> None:
    supplemented(world, "more")
    for number, day in enumerate(DAYS[:3]):
        more(world, f"sku-0,wool{number},\n", day)
        world.run(day, [*items(20 + number), item("bad", title="")])
    grow_old(world)
    every = set().union(*(of(day) for day in DAYS[:3]))
    assert files(world) == every
    dry = pruned(world, delete=False)
    assert (files(world), len(world.rejected(DAY))) == (every, 1)
    assert (dry.files, dry.rejected) == (2 * 4, 2)
    assert dry.bytes > 1000
    assert pruned(world, DAYS[0]) == PruneReport(0, 0, 0, 0, 0), "nothing is from before the first day"
    assert pruned(world) == dry
    assert pruned(world) == PruneReport(0, 0, 0, 0, 0)
    newest = DAYS[2]
    assert files(world) == of(newest)
    assert (len(world.rejected(DAY)), len(world.rejected(newest))) == (0, 1)
    before = world.state()

    # Other rules: the same bytes and the supplement are read again.
    told = world.store.model_dump(mode="python")
    told["mapping"]["fields"]["brand"] = "title"
    world.store = StoreConfig.model_validate(told)
    assert world.clean(newest).action == "cleaned"
    assert world.apply(newest).changed == 22
    assert world.products()["sku-0"]["material"] == "wool2"
    assert len(world.state()) == len(before)
    # A day that is gone says so, and changes nothing.
    with pytest.raises(PermanentError, match="was pruned"):
        world.clean(DAY)
    assert world.apply(newest).changed == 0


def test_files_that_a_later_day_shares_stay(world: World) -> None:
    world.run(DAYS[0], items(20))
    world.run(DAYS[1], items(21))
    world.run(DAYS[2], items(20))
    grow_old(world)
    pruned(world)
    assert files(world) == of(DAYS[0])
    assert world.capture(DAYS[2]).action == "reused"
    assert world.clean(DAYS[2]).action == "reused"
    # Bytes of a day that is gone come again.
    world.run(DAYS[3], items(21))
    assert len(world.products()) == 21
    assert {each["delisted_on"] for each in world.products().values()} == {None}


def test_what_waits_to_be_applied_and_what_is_young_stays(world: World) -> None:
    world.feed(DAYS[0], items(20))
    world.capture(DAYS[0])
    assert pruned(world) == PruneReport(0, 0, 0, 0, 0), "a store that was never applied loses nothing"
    world.run(DAYS[0])
    world.run(DAYS[1], items(21))
    world.feed(DAYS[2], items(22))
    world.capture(DAYS[2])
    world.clean(DAYS[2])
    assert pruned(world, DAYS[4]).files == 0, "an old day that was captured just now"
    grow_old(world)
    pruned(world)
    assert files(world) == of(DAYS[1]) | of(DAYS[2])
    assert world.apply(DAYS[2]).new == 1


def test_what_killed_runs_left_goes_when_it_is_old(world: World) -> None:
    world.run(DAYS[0], items(20))
    root = world.data.local_root
    assert root is not None
    folder = root / f"raw/store=shop/day={DAYS[0]}"
    unnamed, part, young = folder / ("a" * 64), folder / f".{'b' * 32}.part", folder / ("c" * 64)
    for path in (unnamed, part):
        path.write_bytes(b"12345")
    grow_old(world)
    young.write_bytes(b"12345")
    assert pruned(world, DAYS[4], delete=False) == PruneReport(2, 10, 0, 0, 0)
    pruned(world, DAYS[4])
    assert [path.exists() for path in (unnamed, part, young)] == [False, False, True]


@pytest.fixture
def shop(database: Database, tmp_path: Path, demo_model: str, empty_index: Path) -> Shop:
    copy_sparse(empty_index, tmp_path / "parts" / "qdrant")
    return Shop(database, tmp_path / "parts", model=demo_model)


def forget_since(shop: Shop, before: date) -> None:
    """Have every picture and vector be asked for and made before a day."""
    shop.execute("UPDATE images SET updated_at = CAST(:before AS date) - 1", before=before)
    shop.execute("UPDATE embeddings SET created_at = CAST(:before AS date) - 1", before=before)


def known(shop: Shop) -> tuple[set[str], set[str]]:
    """Numbers of the pictures that have a row, and a vector."""
    digests = {sha256(jpeg(number)): str(number) for number in range(200)}
    vectors = {digests[digest] for digest in shop.ledger()}
    return {name.partition(".")[0] for name in shop.image_rows()}, vectors


def test_pictures_and_vectors_go_so_many_days_after_the_last_product(shop: Shop) -> None:
    before = DAYS[2]
    rows = [item(number, image=shop.picture(number)) for number in range(20)]
    shop.bring(DAYS[0], rows)
    shop.execute("UPDATE products SET delisted_on = :day WHERE external_id = 'sku-0'", day=DAYS[1])
    shop.execute("UPDATE products SET delisted_on = :day WHERE external_id = 'sku-1'", day=DAYS[2])
    # Shown by another product still; the picture behind a URL that is shown no more is that of a third one.
    shop.execute("UPDATE products SET delisted_on = :day WHERE external_id = 'sku-2'", day=DAYS[1])
    shop.execute(
        "UPDATE products p SET image_key = o.image_key, image_url = o.image_url FROM products o "
        "WHERE o.external_id = 'sku-2' AND p.external_id = 'sku-3'"
    )
    same = shop.image_rows()["4.jpg"]["sha256"]
    shop.execute("UPDATE images SET sha256 = :same WHERE url LIKE '%/3.jpg'", same=same)
    shop.points()
    everything = {str(number) for number in range(20)}
    assert known(shop) == (everything, everything)
    young = pruned(shop, before)
    assert (young.pictures, young.vectors) == (0, 0), "asked for and made just now"
    forget_since(shop, before)
    dry = pruned(shop, before, delete=False)
    assert known(shop) == (everything, everything)
    # 0: gone for long; 3: its URL is shown by nobody, its vector by nobody; 4 stays, with the bytes of both.
    assert (dry.pictures, dry.vectors) == (2, 2)
    done = pruned(shop, before)
    assert (done.pictures, done.vectors) == (2, 2)
    assert known(shop) == (everything - {"0", "3"}, everything - {"0", "3"})
    assert shop.rows("SELECT FROM pg_class WHERE relname IN ('kept_pictures', 'old_pictures')") == []
    assert shop.points().deleted == 0

    # The files follow, and what comes back is fetched and embedded again.
    later = time.time() + 8 * 86_400
    assert (
        collect_garbage(
            shop.database, ImageStore(shop.data), older_than_days=7, delete=True, now=later
        ).pictures
        == 2
    )
    assert collect_shards(shop.database, shop.data, age=timedelta(0), remove=True).removed == 0
    shop.execute("UPDATE products SET delisted_on = NULL WHERE external_id = 'sku-0'")
    assert shop.images(DAYS[1]).due == 1
    assert shop.invent_vectors() == 1
    assert shop.points().inserted >= 1
    assert "sku-0" in shop.indexed()


def test_additional_pictures_stay_as_long_as_their_product(shop: Shop) -> None:
    before = DAYS[2]
    policy = shop.store.images.model_copy(update={"per_product": 3})
    shop.store = shop.store.model_copy(update={"images": policy})
    shop.run(DAYS[0], [item(number, image=shop.picture(number)) for number in range(20)])
    urls: dict[str, Any] = {f"sku-{n}": [shop.picture(100 + 10 * n + m) for m in range(3)] for n in range(3)}
    for external_id, further in urls.items():
        shop.execute("UPDATE products SET additional_image_urls = :urls WHERE external_id = :id",
                     urls=further, id=external_id)  # fmt: skip
    shop.images(DAYS[0])
    assert len(shop.image_rows()) == 26
    shop.execute("UPDATE products SET delisted_on = :day WHERE external_id = 'sku-1'", day=DAYS[2])
    shop.execute("UPDATE products SET delisted_on = :day WHERE external_id = 'sku-2'", day=DAYS[1])
    forget_since(shop, before)
    assert pruned(shop, before, delete=False, shop=3).pictures == 3
    assert pruned(shop, before, delete=False, shop=2).pictures == 5
    assert pruned(shop, before, shop=3).pictures == 3
    gone = {"2.jpg", "120.jpg", "121.jpg"}
    assert len(shop.image_rows()) == 23
    assert not gone & set(shop.image_rows())
