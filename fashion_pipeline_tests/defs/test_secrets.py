"""Secrets are planted wherever a store can hold them, and looked for wherever the line writes."""

import json
import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline_tests.line.shops import PictureServer, Served, jpeg
from fashion_pipeline_tests.small_world import FIRST, SECOND, SmallWorld

KEY, TOKEN, HEADER = "planted-feed-key-1", "planted-feed-token-2", "planted-feed-header-3"
PICTURE, USER, PASSWORD = "planted-picture-4", "planted-user-5", "planted-password-6"
REDIRECT = "planted-redirect-7"
OF_THE_FEED = (KEY, TOKEN, HEADER)
OF_PICTURES = (PICTURE, USER, PASSWORD, REDIRECT)

#: Where a shop's own data is kept as it came, the addresses of its pictures among it. What is planted in the
#: configuration may not be there either.
SHOPS_OWN = {
    ("products", "image_url"),
    ("products", "raw_attributes"),
    ("rejected_products", "raw"),
}


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with PictureServer() as running:
        yield running


@pytest.fixture
def world(database_url: str, server: PictureServer, tmp_path: Path) -> Iterator[SmallWorld]:
    world = SmallWorld(
        tmp_path / "data",
        database_url,
        tmp_path,
        FASHION_PIPELINE_ALLOWED_HOSTS="127.0.0.1",
        SHOP_KEY=KEY,
        SHOP_TOKEN=TOKEN,
        SHOP_HEADER=HEADER,
    )
    fields = {"external_id": "id", "title": "title", "price": "price", "image_url": "image"}
    store = {
        "id": "alpha",
        "format": "delimited",
        "location": f"http://127.0.0.1:{server.port}/apikey/${{SHOP_KEY}}/{{date}}.csv?token=${{SHOP_TOKEN}}",
        "headers": {"Authorization": "Bearer ${SHOP_HEADER}"},
        "currency": "EUR",
        "mapping": {"fields": fields, "delimiter": ","},
    }
    feeds = {"first_day": FIRST, "last_day": SECOND, "stores": [store]}
    world.feeds_file.write_text(yaml.safe_dump(feeds), encoding="utf-8")
    yield world
    world.database.dispose()


def run(world: SmallWorld, day: date) -> tuple[bool, str]:
    """Whether the first four assets ran, and all that they told Dagster, in one text."""
    assets = [dg.AssetKey(name) for name in ("raw_feeds", "clean_products", "products", "product_images")]
    with dg.DagsterInstance.ephemeral() as instance:
        result = world.definitions.resolve_job_def("line").execute_in_process(
            instance=instance,
            partition_key=LinePartition("alpha", day).key,
            raise_on_error=False,
            asset_selection=assets,
        )
        told = [repr(entry) + entry.to_json() for entry in instance.all_logs(result.run_id)]
    return result.success, "\n".join([*told, *map(repr, result.all_events)])


def tables(world: SmallWorld) -> Iterator[tuple[str, dict[str, Any]]]:
    names = world.table("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for each in names:
        for row in world.table(f'SELECT * FROM "{each["tablename"]}"'):
            yield each["tablename"], row


def test_no_secret_is_told(
    world: SmallWorld,
    server: PictureServer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    here = f"http://127.0.0.1:{server.port}"
    server.put("good.jpg", jpeg(1))
    server.served["broken.jpg"] = Served(status=500)
    server.served["page.jpg"] = Served(b"<html>")
    server.served["away.jpg"] = Served(status=302, location=f"http://10.0.0.1/?token={REDIRECT}")
    server.served["loop.jpg"] = Served(status=302, location=f"/loop.jpg?token={REDIRECT}")
    rows = [
        f"{here}/good.jpg?token={PICTURE}",
        f"{here}/none.jpg?X-Amz-Signature={PICTURE}&v=3",
        f"{here}/broken.jpg?access_token={PICTURE}",
        f"{here}/page.jpg?sig={PICTURE}",
        f"{here}/away.jpg?token={PICTURE}",
        f"{here}/loop.jpg?token={PICTURE}",
        f"http://10.0.0.1/a.jpg?token={PICTURE}",
        f"http://nobody.invalid:22/apikey/{PICTURE}/a.jpg",
        f"http://{USER}:{PASSWORD}@127.0.0.1:{server.port}/good.jpg",
    ]
    lines = [f"{number},Dress {number},10.00 EUR,{url}" for number, url in enumerate(rows)]
    feed = "\n".join(["id,title,price,image", *lines, "9,,,x"]).encode()
    server.put(f"apikey/{KEY}/{FIRST}.csv", feed)
    succeeded, told = run(world, FIRST)
    assert succeeded, told
    states = {row["status"] for row in world.table("SELECT status FROM images")}
    assert states == {"fetched", "failed_transient", "failed_permanent"}
    assert len(world.table("SELECT FROM images")) >= 8
    server.served[f"apikey/{KEY}/{SECOND}.csv"] = Served(status=403)
    succeeded, failure = run(world, SECOND)
    assert not succeeded
    assert "403" in failure
    written = capfd.readouterr()
    everything = {"events": told + failure, "logs": caplog.text, "output": written.out + written.err}
    for place, text in everything.items():
        assert [secret for secret in (*OF_THE_FEED, *OF_PICTURES) if secret in text] == [], place
    for table, row in tables(world):
        for column, value in row.items():
            wanted = OF_THE_FEED if (table, column) in SHOPS_OWN else (*OF_THE_FEED, *OF_PICTURES)
            text = json.dumps(value, default=str)
            assert [secret for secret in wanted if secret in text] == [], (table, column)
    # It can fail: what the shop published stands where it has to.
    assert any(PICTURE in str(row["image_url"]) for row in world.table("SELECT image_url FROM products"))
