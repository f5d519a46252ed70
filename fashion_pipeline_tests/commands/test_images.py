"""`fashion-pipeline images`: ask again, verify, collect, show."""

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.parts import open_data
from fashion_pipeline_tests.commands.conftest import Said
from fashion_pipeline_tests.small_world import SECOND, SmallWorld, metadata

Call = Callable[..., Said]


def test_failed_pictures_are_due_after_retry(here: SmallWorld, fashion_pipeline: Call) -> None:
    world = here
    said = fashion_pipeline("images", "retry", "--store", "alpha")
    assert (said.code, said.out.strip()) == (0, "store alpha has no failed picture")
    missing = world.pictures / "none.png"
    world.feed("alpha", SECOND, [*world.rows("alpha"), world.row("alpha", 12, image=missing.as_uri())])
    images = ["raw_feeds", "clean_products", "products", "product_images"]
    assert metadata(world.run("line", day=SECOND, assets=images), "product_images")["failed"] == 1
    assert metadata(world.run("line", day=SECOND, assets=images), "product_images")["due"] == 0
    assert fashion_pipeline("images", "retry", "--store", "alpha", "--error", "http_404").out.strip() == (
        "store alpha has no failed picture with http_404"
    )
    said = fashion_pipeline("images", "retry", "--store", "alpha", "--error", "file_not_found")
    assert said.code == 0
    assert "1 file_not_found: a file: URL names no regular file" in said.out
    assert "1 pictures are due now: materialize product_images for store alpha" in said.out
    assert metadata(world.run("line", day=SECOND, assets=images), "product_images")["due"] == 1
    said = fashion_pipeline("images", "retry", "--store", "gamma")
    assert (said.code, "no store 'gamma'" in said.error) == (1, True)


def test_verify_and_collect(here: SmallWorld, fashion_pipeline: Call) -> None:
    images = ImageStore(open_data(here.settings))
    said = fashion_pipeline("images", "verify", "--all")
    assert (said.code, said.out.strip()) == (0, "12 pictures re-hashed: 0 damaged, 0 missing")
    sha256, entry = next(iter(images.entries()))
    path = here.data / entry.key
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    said = fashion_pipeline("images", "verify")
    assert said.code == 1
    assert f"damaged {sha256}" in said.out
    assert "run again with --repair" in said.out
    assert fashion_pipeline("images", "verify", "--repair").code == 0
    assert not path.exists()
    assert metadata(here.run("line", assets=["product_images"]), "product_images")["due"] == 1
    assert path.read_bytes() == whole

    orphan, _ = images.put(b"nobody's")
    os.utime(here.data / images.key(orphan), (1, 1))
    said = fashion_pipeline("images", "gc")
    assert "1 pictures that no row names and 0 unfinished files, older than 7 days, 8 bytes" in said.out
    assert "dry run" in said.out
    assert images.exists(orphan)
    assert "removed" in fashion_pipeline("images", "gc", "--delete", "--older-than-days", "1").out
    assert not images.exists(orphan)
    assert len(dict(images.entries())) == 12
    assert fashion_pipeline("images", "gc", "--older-than-days", "0").code == 2


def test_a_sheet_is_a_picture(here: SmallWorld, fashion_pipeline: Call, tmp_path: Path) -> None:
    out = tmp_path / "alpha.png"
    said = fashion_pipeline("images", "sheet", "--store", "alpha", "--out", out)
    assert (said.code, said.out.strip()) == (0, f"12 newest pictures of store alpha: {out}")
    with Image.open(out) as page:
        assert page.format == "PNG"
        colours = page.convert("RGB").getcolors(page.width * page.height) or []
    assert len(colours) > 500
    here.table("UPDATE images SET sha256 = NULL WHERE true RETURNING 1")
    said = fashion_pipeline("images", "sheet", "--store", "alpha", "--out", out)
    assert (said.code, "has no picture yet" in said.error) == (1, True)
