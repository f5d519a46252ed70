"""Secrets are planted wherever a store can hold them, and looked for wherever the line writes."""

import json
import logging
import uuid
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.remote_representation.external_data import RepositorySnap
from sqlalchemy import make_url

from fashion_pipeline.catalog.engine import dispose_shared
from fashion_pipeline.definitions import build_definitions
from fashion_pipeline.defs import alerts
from fashion_pipeline.defs.partitions import LinePartition
from fashion_pipeline.errors import TransientError
from fashion_pipeline.settings import load_settings
from fashion_pipeline_tests.conftest import _execute
from fashion_pipeline_tests.line.shops import PictureServer, Served, jpeg
from fashion_pipeline_tests.object_store import BUCKET, S3Bucket
from fashion_pipeline_tests.small_world import FIRST, SECOND, SmallWorld
from fashion_pipeline_tests.web import serving

KEY, TOKEN, HEADER = "planted-feed-key-1", "planted-feed-token-2", "planted-feed-header-3"
PICTURE, USER, PASSWORD = "planted-picture-4", "planted-user-5", "planted-password-6"
REDIRECT = "planted-redirect-7"
OF_THE_FEED = (KEY, TOKEN, HEADER)
DATABASE, WEBHOOK, S3_ID, S3_KEY = (
    "planted-database-8",
    "planted-hook-9",
    "planted-s3-id-10",
    "planted-s3-key-11",
)
OF_SERVERS = (DATABASE, WEBHOOK)
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


def found(text: str, secrets: Sequence[str]) -> list[str]:
    return [secret for secret in secrets if secret in text]


def kept(instance: dg.DagsterInstance) -> str:
    """What an instance keeps: its runs with their configs and tags, every event, and its files."""
    told = []
    for run in instance.get_runs():
        told.append(dg.serialize_value(run))
        told += [repr(entry) + entry.to_json() for entry in instance.all_logs(run.run_id)]
    files = [path for path in Path(instance.root_directory).rglob("*") if path.is_file()]
    return "\n".join([*told, *(path.read_bytes().decode("utf-8", "replace") for path in files)])


def shown(definitions: dg.Definitions) -> str:
    """What the web server is told of the code location: assets, jobs, configs and their defaults."""
    repository = definitions.get_repository_def()
    told = dg.serialize_value(RepositorySnap.from_def(repository))
    return told + "".join(
        dg.serialize_value(job.get_job_snapshot()) for job in definitions.resolve_all_job_defs()
    )


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    """A role of the server's whose password is planted."""
    name = f"planted_{uuid.uuid4().hex[:12]}"
    _execute(postgres_url, f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{DATABASE}'")
    yield name
    dispose_shared()
    _execute(postgres_url, f"DROP ROLE {name}")


@pytest.mark.slow
# Dagster's own, where it describes a schedule.
@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition:DeprecationWarning")
def test_no_secret_is_told_from_the_feed_to_the_index_and_its_reports(
    world: SmallWorld,
    server: PictureServer,
    role: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Through the environment, as in production: events, logs, tables, payloads, alerts, what the UI is told."""
    caplog.set_level(logging.DEBUG)
    here = f"http://127.0.0.1:{server.port}"
    lines = []
    for number in range(4):
        server.put(f"{number}.jpg", jpeg(number))
        lines.append(f"{number},Dress {number},10.00 EUR,{here}/{number}.jpg?token={PICTURE}")
    server.put(f"apikey/{KEY}/{FIRST}.csv", "\n".join(["id,title,price,image", *lines]).encode())
    server.served[f"apikey/{KEY}/{SECOND}.csv"] = Served(status=403)
    url = make_url(world.database_url).set(username=role, password=DATABASE)
    away = url.set(host="127.0.0.1", port=9, query={})
    outside, told = tmp_path / "outside", []
    outside.mkdir()
    with serving() as web, dg.DagsterInstance.local_temp(str(outside)) as instance:
        environ = world.environ | {
            "DATABASE_URL": url.render_as_string(hide_password=False),
            "FASHION_PIPELINE_ALERT_WEBHOOK": f"{web.address}/{WEBHOOK}",
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        definitions = world.__dict__["definitions"] = build_definitions()
        told.append(shown(definitions))
        assert world.run("collection", instance=instance).success
        assert world.run("line", instance=instance).success
        for job in ("health", "quality", "reconcile"):
            assert world.run(job, instance=instance).success, job
        sensor, cursor = alerts.build(load_settings(), {}), None
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        sensor(context)
        cursor = context.cursor
        assert not world.run("line", day=SECOND, instance=instance).success
        monkeypatch.setenv("DATABASE_URL", away.render_as_string(hide_password=False))
        # It is not tried again by itself, as most are.
        assert not world.run("rollback", instance=instance).success
        # Away, refused, taken: each is told in its own words.
        for status in (503, 400):
            web.status = status
            context = dg.build_sensor_context(instance=instance, cursor=cursor)
            if status == 503:
                with pytest.raises(TransientError) as caught:
                    sensor(context)
                told.append(repr(caught.value))
            else:
                sensor(context)
                told.append(str(context.cursor))
        web.status = 200
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        sensor(context)
        assert len(web.posted) == 2
        told += [str(context.cursor), json.dumps(web.posted)]
        events = kept(instance)
    assert "403" in events
    store, collection = world.vectors(), world.collection()
    points = store.retrieve(collection, [id_ for id_, _ in store.scroll(collection)])
    assert len(points) == 4
    written = capfd.readouterr()
    secrets = (*OF_THE_FEED, *OF_SERVERS)
    everything = {
        "events": events,
        "logs": caplog.text,
        "output": written.out + written.err,
        "alerts and UI": "\n".join(told),
        "payloads": json.dumps([point.payload for point in points.values()], default=str),
    }
    for place, text in everything.items():
        assert found(text, secrets) == [], place
    for place in ("events", "logs", "output", "alerts and UI"):
        assert found(everything[place], OF_PICTURES) == [], place
    for table, row in tables(world):
        assert found(json.dumps(row, default=str), secrets) == [], table
    # It can fail: the texts are the ones in which these would stand.
    assert "Dress 1" in everything["payloads"]
    assert "raw_feeds" in everything["alerts and UI"]
    assert "does not answer" in events or "connection" in events


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_no_key_of_the_object_store_is_told(
    world: SmallWorld,
    server: PictureServer,
    s3_bucket: S3Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG, logger="fashion_pipeline")
    feed = "id,title,price,image\n1,Dress,10.00 EUR,https://cdn.example/1.jpg\n"
    server.put(f"apikey/{KEY}/{FIRST}.csv", feed.encode())
    server.put(f"apikey/{KEY}/{SECOND}.csv", feed.encode())
    environ = {"AWS_ACCESS_KEY_ID": S3_ID, "AWS_SECRET_ACCESS_KEY": S3_KEY}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    outside = tmp_path / "outside"
    outside.mkdir()
    assets = ["raw_feeds", "clean_products", "products"]
    with dg.DagsterInstance.local_temp(str(outside)) as instance:
        for bucket, day, success in ((BUCKET, FIRST, True), ("no-such-bucket", SECOND, False)):
            world.environ |= {"FASHION_PIPELINE_DATA": f"s3://{bucket}/data"}
            world.__dict__["definitions"] = build_definitions(world.environ)
            result = world.run("line", day=day, assets=assets, instance=instance)
            assert result.success is success
        events = kept(instance)
    assert s3_bucket.client.list_objects_v2(Bucket=BUCKET)["KeyCount"] >= 3
    written = capfd.readouterr()
    for place, text in {"events": events, "logs": caplog.text, "output": written.out + written.err}.items():
        assert found(text, (S3_ID, S3_KEY, *OF_THE_FEED)) == [], place
    for table, row in tables(world):
        assert found(json.dumps(row, default=str), (S3_ID, S3_KEY)) == [], table
    assert "there is no bucket 'no-such-bucket'" in events
