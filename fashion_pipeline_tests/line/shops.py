"""Stores for the tests of pictures, vectors and points: the whole line on real parts in a temporary folder."""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow.parquet as pq
from aiohttp import web
from PIL import Image
from sqlalchemy import text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.images import images_to_embed, record_vectors
from fashion_pipeline.embeddings.encoder import Encoder, load_encoder
from fashion_pipeline.embeddings.report import PipelineOptions
from fashion_pipeline.embeddings.shards import write_shard
from fashion_pipeline.embeddings.vectors import EmbeddedBatch, Provenance, Vectors
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.tuning import Tuning
from fashion_pipeline.index.types import Point
from fashion_pipeline.line.embed import EmbedStageReport, embed_images
from fashion_pipeline.line.images import ImagesStageReport, fetch_images
from fashion_pipeline.line.points import PointsReport, Serving, prepare_collection, write_points
from fashion_pipeline.line.rebuild import RebuildReport, rebuild
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline_tests.conftest import ROOT, data_location
from fashion_pipeline_tests.line.conftest import World

ALIAS = "products"
#: No politeness towards ourselves, and no waiting between tries.
LIMITS = FetchLimits(per_host_rate=None, retry_delay=0.01, breaker_failures=1000)
#: One decode worker and small batches: little to start, several shards.
SMALL = PipelineOptions(workers=1, readers=2, batch_size=8, batch_rows=16)


def jpeg(number: int, size: int = 48) -> bytes:
    """A small picture of its own for each number."""
    red, green, blue = (number * 37) % 256, (number * 91) % 256, (number * 151) % 256
    picture = Image.new("RGB", (size, size), (red, green, blue))
    picture.paste((blue, red, green), (number % size // 2, 4, size // 2 + number % 7, size - 4))
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=90)
    # Bytes that differ although two numbers may look alike.
    return target.getvalue() + number.to_bytes(4, "big")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Shop(World):
    """A store with every stage of the line. Shops of one `parts` folder share files, index and database."""

    def __init__(
        self, database: Database, parts: Path, name: str = "shop", *, model: str = "", **settings: Any
    ) -> None:
        parts.mkdir(parents=True, exist_ok=True)
        data = data_location(parts / "data")
        super().__init__(database, data, parts / name, id=name, **settings)
        self.parts = parts
        self.name = name
        self.model = model
        self.pictures = parts / "pictures"
        self.pictures.mkdir(exist_ok=True)
        self.policy = AddressPolicy(allowed_hosts=frozenset({"127.0.0.1"}), file_roots=(parts,))
        self.index = EdgeStore(parts / "qdrant")
        self._serving: Serving | None = None

    def picture(self, name: int | str, content: bytes | None = None) -> str:
        """Write a picture file; its URL."""
        path = self.pictures / f"{name}.jpg"
        if content is None:
            assert isinstance(name, int)
            content = jpeg(name)
        path.write_bytes(content)
        return path.as_uri()

    def images(self, day: date, **options: Any) -> ImagesStageReport:
        limits = options.pop("limits", LIMITS)
        return fetch_images(
            self.database,
            ImageStore(self.data),
            self.store,
            day,
            policy=self.policy,
            limits=limits,
            **options,
        )

    def collection(self) -> Serving:
        """The serving collection; made where there is none."""
        if self._serving is None:
            self._serving = prepare_collection(
                self.database, self.index, alias=ALIAS, model_ref=self.model, pipeline_version="test"
            ).serving
        return self._serving

    def embed(
        self, load: Callable[[str], Encoder] | None = None, options: PipelineOptions = SMALL
    ) -> EmbedStageReport:
        load = load or (lambda ref: load_encoder(ref, device="cpu", precision="fp32"))
        return embed_images(
            self.database,
            self.data,
            self.name,
            serving=self.collection(),
            candidate_ref=self.model,
            load=load,
            options=options,
        )

    def rebuild(self) -> RebuildReport:
        return rebuild(
            self.database,
            self.data,
            self.index,
            alias=ALIAS,
            tuning=Tuning(),
            pipeline_version="test",
            stores=[self.name],
        )

    def invent_vectors(self, target: Serving | None = None) -> int:
        """Real shards and ledger rows with vectors that are drawn from the pictures' digests, for a model."""
        serving = target or self.collection()
        due = images_to_embed(self.database, self.name, serving.model_id)
        for start in range(0, len(due), 50):
            some = due[start : start + 50]
            provenance = Provenance("test", "fp32", "full", "test=1")
            batch = EmbeddedBatch(
                tuple(some), np.stack([vector_of(each) for each in some]), serving.model_id, provenance
            )
            record_vectors(self.database, serving.model_id, write_shard(self.data, batch).key, some)
        return len(due)

    def points(self) -> PointsReport:
        return write_points(self.database, self.data, self.index, self.name, serving=self.collection())

    def bring(self, day: date, rows: Sequence[dict[str, str]] | None = None) -> PointsReport:
        """The whole line, with invented vectors."""
        self.run(day, rows)
        self.images(day)
        self.invent_vectors()
        return self.points()

    # -- what the stores hold

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        with self.database.connection() as connection:
            return [dict(row) for row in connection.execute(text(sql), parameters).mappings()]

    def execute(self, sql: str, **parameters: Any) -> int:
        with self.database.connection() as connection:
            return connection.execute(text(sql), parameters).rowcount

    def image_rows(self) -> dict[str, dict[str, Any]]:
        """Rows of `images` by the last part of their URL's path."""
        return {
            row["url"].partition("?")[0].rpartition("/")[2]: row for row in self.rows("SELECT * FROM images")
        }

    def stored_pictures(self) -> set[str]:
        return {entry.key.rpartition("/")[2] for entry in self.data.list("images")}

    def ledger(self) -> dict[str, str]:
        """SHA-256 of each picture with a vector to its shard."""
        found = self.rows("SELECT image_sha256, shard_key FROM embeddings")
        return {row["image_sha256"]: row["shard_key"] for row in found}

    def shards(self) -> dict[str, list[str]]:
        """Every shard file's digests."""
        keys = [entry.key for entry in self.data.list("embeddings")]
        found = {}
        for key in keys:
            with self.data.local_copy(key) as path:
                found[key] = pq.read_table(path, columns=["sha256"]).column(0).to_pylist()
        return found

    def ids(self) -> dict[str, UUID]:
        """Product ids by external id."""
        found = self.rows("SELECT external_id, id FROM products WHERE store_id = :store", store=self.name)
        return {row["external_id"]: row["id"] for row in found}

    def indexed(self) -> dict[str, Point]:
        """This store's points, vectors included, by external id."""
        collection = self.collection().collection
        with self.index.session(collection):
            ids = [id_ for id_, _ in self.index.scroll(collection)]
            found = self.index.retrieve(collection, ids, with_vectors=True)
        return {
            point.payload["external_id"]: point
            for point in found.values()
            if point.payload.get("store_id") == self.name
        }

    def entries(self) -> list[dict[str, Any]]:
        return self.rows(
            "SELECT * FROM index_entries WHERE store_id = :store ORDER BY product_id", store=self.name
        )


def vector_of(digest: str) -> Vectors:
    """A unit vector of its own for each digest."""
    drawn = np.random.default_rng(int(digest[:16], 16)).standard_normal(768).astype(np.float32)
    unit: Vectors = (drawn / np.linalg.norm(drawn)).astype(np.float32)
    return unit


def other_model_folder(model: str, parent: Path) -> str:
    """A copy of a model with another way of resizing: another model, which finds about as well."""
    folder = parent / "other_model"
    shutil.copytree(model.removeprefix("local-dir:"), folder)
    (folder / "golden.json").unlink(missing_ok=True)  # belongs to the original
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    before = config["preprocess_cfg"].get("interpolation", "bicubic")
    config["preprocess_cfg"]["interpolation"] = "bilinear" if before == "bicubic" else "bicubic"
    path.write_text(json.dumps(config))
    return f"local-dir:{folder}"


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a folder without its holes: the engine's files are mostly those."""
    for path in source.rglob("*"):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as old, copy.open("wb") as new:
            end, size = 0, path.stat().st_size
            os.truncate(new.fileno(), size)
            with contextlib.suppress(OSError):  # ENXIO: nothing but a hole is left
                while end < size:
                    start = os.lseek(old.fileno(), end, os.SEEK_DATA)
                    end = os.lseek(old.fileno(), start, os.SEEK_HOLE)
                    os.pwrite(new.fileno(), os.pread(old.fileno(), end - start, start), start)


def kill_when_stuck(shop: Shop, stage: str, table: str, *, entered: int = 0) -> None:
    """Kill -9 a process of `stage` that did its work and waits to write it into the ledger `table`.

    It may enter so many rows before it is made to wait.
    """
    command = [sys.executable, "-m", "fashion_pipeline_tests.line.worker", stage]
    arguments = [shop.database.url.render_as_string(hide_password=False), str(shop.parts), shop.name]
    waiting = text(
        "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation "
        "WHERE NOT l.granted AND c.relname = :table AND l.database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    deadline = time.monotonic() + 120
    with Popen([*command, *arguments, shop.model], cwd=ROOT, stdout=DEVNULL) as child:

        def wait() -> None:
            assert child.poll() is None, "the process ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.01)

        try:
            while entered and len(shop.rows(f"SELECT FROM {table}")) < entered:
                wait()
            with shop.database.engine.begin() as blocking:
                blocking.execute(text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))
                while not blocking.scalar(waiting, {"table": table}):
                    wait()
                child.kill()
                child.wait()
        finally:
            child.kill()


def same_vector(point: Point, digest: str) -> bool:
    assert point.vector is not None
    return bool(np.allclose(point.vector, vector_of(digest), atol=1e-4))


@dataclass
class Served:
    """What the server answers on a path: bytes with an entity tag of their own, or a status."""

    content: bytes = b""
    status: int = 200
    location: str = ""


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it; `url` is path and query."""

    url: str
    conditional: bool
    status: int


@dataclass
class PictureServer:
    """An HTTP server on loopback, in a thread of its own, that counts what it is asked."""

    served: dict[str, Served] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    #: Answers are held back from this number of requests on, until `go` is set.
    hold_after: int | None = None
    go: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    #: What robots.txt says; there is none where it is empty.
    robots: bytes = b""

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def put(self, name: str, content: bytes) -> str:
        self.served[name] = Served(content)
        return self.url(name)

    def count(self) -> Counter[str]:
        """Requests by path and query."""
        return Counter(each.url for each in self.asked)

    def forget(self) -> None:
        self.asked.clear()

    async def handle(self, request: web.Request) -> web.Response:
        name = request.path.removeprefix("/")
        if name == "robots.txt":
            return web.Response(body=self.robots) if self.robots else web.Response(status=404)
        while self.hold_after is not None and len(self.asked) >= self.hold_after and not self.go.is_set():
            await asyncio.sleep(0.01)
        if request.transport is None or request.transport.is_closing():
            return web.Response(status=503)  # who asked was killed meanwhile
        known = self.served.get(name, Served(status=404))
        tag = f'"{sha256(known.content)[:16]}"'
        given = request.headers.get("If-None-Match")
        status = 304 if known.status == 200 and given == tag else known.status
        self.asked.append(Asked(request.path_qs.removeprefix("/"), given is not None, status))
        if status != 200:
            headers = {"ETag": tag} if status == 304 else {}
            return web.Response(
                status=status, headers=headers | ({"Location": known.location} if known.location else {})
            )
        return web.Response(body=known.content, content_type="image/jpeg", headers={"ETag": tag})

    def __enter__(self) -> "PictureServer":
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()

        async def serve() -> None:
            application = web.Application()
            application.router.add_get("/{tail:.*}", self.handle)
            runner = web.AppRunner(application, shutdown_timeout=0.1, access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            ready.set()
            await self._end.wait()
            await runner.cleanup()

        def work() -> None:
            try:
                self._loop.run_until_complete(serve())
            finally:
                self._loop.close()

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


def by_name(digests: Iterable[str], pictures: dict[str, bytes]) -> set[str]:
    """Names of `pictures` whose digests are among `digests`."""
    names = {sha256(content): name for name, content in pictures.items()}
    return {names[digest] for digest in digests}
