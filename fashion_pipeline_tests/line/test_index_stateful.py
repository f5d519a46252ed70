"""The index over days against a plain model: arrivals, changes, leavings, returns, pictures, models, crashes.

Products and pictures are rows that the rules write; everything from the difference on is real: ledger, shards,
collections, promotion, rollback, rebuild, reconcile. A crash is an exception at a boundary between the vector store
and PostgreSQL, before or after the call.
"""

import hashlib
import itertools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from qdrant_client import QdrantClient
from sqlalchemy import text

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.embeddings import forget_vectors
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.images import record_vectors
from fashion_pipeline.embeddings.shards import write_shard
from fashion_pipeline.embeddings.vectors import EmbeddedBatch, Provenance
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.index.edge import EdgeStore
from fashion_pipeline.index.server import ServerStore
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.tuning import Tuning
from fashion_pipeline.index.types import Point
from fashion_pipeline.line import alias as line_alias
from fashion_pipeline.line import points as line_points
from fashion_pipeline.line.live import (
    Wanted,
    as_target,
    delete_collection,
    live_collections,
    write_live_points,
)
from fashion_pipeline.line.points import Serving, prepare_collection, write_points
from fashion_pipeline.line.promotion import prepare_candidate, promote, rollback
from fashion_pipeline.line.quality import Figures, Task
from fashion_pipeline.line.rebuild import rebuild
from fashion_pipeline.line.reconcile import reconcile_all, repair_all
from fashion_pipeline.storage import DataLocation
from fashion_pipeline_tests.line.shops import other_model_folder, vector_of

NUMBERS = range(6)
ADDRESSES = range(4)
BYTES = range(5)
FIGURES = Figures(Task(1, 1.0, 1.0, 0.1, 1.0), Task(1, 1.0, 1.0, 0.1, 1.0), None, 1.0, 1.0)
PRODUCT = st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(NUMBERS))
_examples = itertools.count()


class CrashError(Exception):
    """The process ends here."""


class Boundaries:
    """Counts calls that change a store, before and after each, and ends the process at one of them."""

    def __init__(self) -> None:
        self.left: int | None = None

    def passing(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise CrashError

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.passing()
            result = call(*args, **kwargs)
            self.passing()
            return result

        return wrapped

    @contextmanager
    def watched(self, vectors: VectorStore, at: int, *, moves: bool = False) -> Iterator[None]:
        """Crash at the boundary number `at` of writes, or of `moves` of the alias, where the block comes so far."""
        calls: list[tuple[Any, str]] = [
            *((vectors, name) for name in ("upsert", "set_payload", "delete")),
            *((ledger, name) for name in ("record_points", "forget_points")),
        ]
        if moves:
            calls = [
                (vectors, "set_alias"),
                *((line_alias, name) for name in ("intend_move", "confirm_move", "forget_move")),
            ]
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in calls:
                patch.setattr(owner, name, self.around(getattr(owner, name)))
            self.left = at
            try:
                yield
            finally:
                self.left = None


@dataclass
class Row:
    """A product as the model knows it."""

    id: UUID
    price: int
    address: int | None
    active: bool = True


@dataclass
class Plain:
    """What the index should be, in dictionaries."""

    products: dict[tuple[str, int], Row] = field(default_factory=dict)
    bytes_at: dict[int, int] = field(default_factory=dict)
    vectors: dict[str, set[int]] = field(default_factory=dict)
    #: collection -> product id -> (bytes of its vector, price)
    index: dict[str, dict[UUID, tuple[int, int]]] = field(default_factory=dict)

    def bring(self, collection: str, model: str, store: str) -> None:
        index, known = self.index[collection], self.vectors.setdefault(model, set())
        for (owner, _), row in self.products.items():
            if owner != store:
                continue
            fresh = self.bytes_at.get(row.address) if row.address is not None else None
            picture = fresh if fresh in known else index.get(row.id, (None, 0))[0]
            if not row.active or row.address is None:
                index.pop(row.id, None)
            elif picture is not None:
                index[row.id] = (picture, row.price)


class Index(RuleBasedStateMachine):
    """The rules; `kind` says which engine is behind them."""

    database: Database
    folder: Path
    models: tuple[str, str]
    kind: str

    def __init__(self) -> None:
        super().__init__()
        self.example = next(_examples)
        self.alias = f"x{self.example}"
        root = self.folder / str(self.example)
        self.data = DataLocation(str(root / "data"))
        self.client = QdrantClient(":memory:") if self.kind == "memory" else None
        self.vectors: Any = (
            ServerStore(self.client, where="test", local=True)
            if self.client is not None
            else EdgeStore(root / "qdrant")
        )
        self.boundaries = Boundaries()
        self.model = Plain()
        self.asked = 0
        #: Every move of the alias, as (collection, the one before), oldest first.
        self.moves: list[tuple[str, str]] = []

    def teardown(self) -> None:
        if self.client is not None:
            self.client.close()

    # -- names

    def store(self, short: str) -> str:
        return f"{short}{self.example}"

    @property
    def stores(self) -> list[str]:
        return [self.store("a"), self.store("b")]

    def digest(self, content: int) -> str:
        return hashlib.sha256(f"{self.example}/{content}".encode()).hexdigest()

    def key(self, address: int) -> str:
        return hashlib.sha256(f"{self.example}/address/{address}".encode()).hexdigest()

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.alias, self.models[self.asked], "test")

    @property
    def serving(self) -> Serving:
        return live_collections(self.vectors, self.alias).serving

    def vector(self, model_id: str, content: int) -> Any:
        return vector_of(hashlib.sha256(f"{model_id}/{self.digest(content)}".encode()).hexdigest())

    # -- the outside world

    def execute(self, sql: str, **values: Any) -> None:
        with self.database.connection() as connection:
            connection.execute(text(sql), values)

    @initialize()
    def begin(self) -> None:
        report = prepare_collection(
            self.database,
            self.vectors,
            alias=self.alias,
            model_ref=self.models[0],
            pipeline_version="test",
        )
        self.model.index[report.serving.collection] = {}
        for number in NUMBERS[:3]:
            self.arrives(("a", number), 10 + number, number % 3)
        for address in ADDRESSES:
            self.a_picture_is_fetched(address, address)

    @rule(product=PRODUCT, price=st.integers(1, 4), address=st.sampled_from(ADDRESSES))
    def arrives(self, product: tuple[str, int], price: int, address: int) -> None:
        """A new product, one that returns, or one that changed."""
        row = self.model.products.setdefault(product, Row(uuid.uuid4(), price, address))
        row.price, row.address, row.active = price, address, True
        self.execute(
            "INSERT INTO products (id, store_id, external_id, title, price, currency, image_url, image_key, "
            "content_hash, snapshot_date, first_seen_on) VALUES (:id, :store, :external, 'A dress', :price, 'EUR', "
            ":url, :key, :hash, '2026-11-02', '2026-11-02') ON CONFLICT (store_id, external_id) DO UPDATE SET "
            "price = excluded.price, image_url = excluded.image_url, image_key = excluded.image_key, "
            "content_hash = excluded.content_hash, delisted_on = NULL",
            id=row.id,
            store=self.store(product[0]),
            external=f"sku-{product[1]}",
            price=price,
            url=f"https://cdn.example/{address}.jpg",
            key=self.key(address),
            hash=f"{price}",
        )

    @rule(product=PRODUCT)
    def leaves(self, product: tuple[str, int]) -> None:
        if product in self.model.products:
            row = self.model.products[product]
            row.active = False
            self.execute("UPDATE products SET delisted_on = '2026-11-03' WHERE id = :id", id=row.id)

    @rule(product=PRODUCT)
    def loses_its_picture(self, product: tuple[str, int]) -> None:
        if product in self.model.products:
            row = self.model.products[product]
            row.address = None
            self.execute("UPDATE products SET image_url = NULL, image_key = NULL WHERE id = :id", id=row.id)

    @rule(address=st.sampled_from(ADDRESSES), content=st.sampled_from(BYTES))
    def a_picture_is_fetched(self, address: int, content: int) -> None:
        """The first time, or other bytes behind the same address."""
        self.model.bytes_at[address] = content
        self.execute(
            "INSERT INTO images (image_key, url, host, status, attempts, checked_on, sha256, url_sha256) VALUES "
            "(:key, :url, 'cdn.example', 'fetched', 0, '2026-11-02', :sha, :key) "
            "ON CONFLICT (image_key) DO UPDATE SET sha256 = excluded.sha256",
            key=self.key(address),
            url=f"https://cdn.example/{address}.jpg",
            sha=self.digest(content),
        )

    # -- the line

    def embed(self, model_id: str) -> None:
        """Vectors of every picture that is there, by a model; drawn from names, as the model would."""
        known = self.model.vectors.setdefault(model_id, set())
        new = sorted(set(self.model.bytes_at.values()) - known)
        if new:
            digests = tuple(self.digest(each) for each in new)
            vectors = np.stack([self.vector(model_id, each) for each in new])
            batch = EmbeddedBatch(digests, vectors, model_id, Provenance("test", "fp32", "full", "t=1"))
            record_vectors(self.database, model_id, write_shard(self.data, batch).key, digests)
            known.update(new)

    @rule()
    def the_line_embeds(self) -> None:
        self.embed(self.serving.model_id)

    def bring(self, store: str) -> None:
        write_live_points(self.database, self.data, self.vectors, self.store(store), alias=self.alias)

    def settle(self, store: str) -> None:
        for live in live_collections(self.vectors, self.alias).all:
            self.model.bring(live.collection, live.model_id, store)
        self.check()

    @rule(store=st.sampled_from("ab"))
    def the_line_writes_points(self, store: str) -> None:
        self.bring(store)
        self.settle(store)
        before = self.vectors.points_written
        self.bring(store)
        assert self.vectors.points_written == before, "an unchanged day writes nothing"

    @rule(store=st.sampled_from("ab"), at=st.integers(0, 11))
    def the_line_crashes_and_runs_again(self, store: str, at: int) -> None:
        with suppress(CrashError), self.boundaries.watched(self.vectors, at):
            self.bring(store)
        self.bring(store)
        self.settle(store)

    # -- models

    @rule()
    def the_settings_name_the_other_model(self) -> None:
        self.asked = 1 - self.asked

    @rule(at=st.one_of(st.none(), st.integers(0, 11)), stores=st.sampled_from(["a", "b", "ab"]))
    def the_candidate_is_filled(self, at: int | None, stores: str) -> None:
        try:
            target = as_target(prepare_candidate(self.database, self.vectors, self.wanted))
        except PermanentError as error:
            words = str(error)
            assert "there is no candidate" in words
            return
        self.model.index.setdefault(target.collection, {})
        self.embed(target.model_id)
        for store in stores:
            arguments = self.database, self.data, self.vectors, self.store(store)
            if at is not None:
                with suppress(CrashError), self.boundaries.watched(self.vectors, at):
                    write_points(*arguments, serving=target)
            write_points(*arguments, serving=target)
            self.model.bring(target.collection, target.model_id, store)
        self.check()

    @rule()
    def it_is_promoted(self) -> None:
        before = self.serving
        try:
            report = promote(
                self.database,
                self.data,
                self.vectors,
                wanted=self.wanted,
                stores=self.stores,
                measure=lambda _: FIGURES,
            )
        except PermanentError as error:
            words = str(error)
            assert any(each in words for each in ("nothing to promote", "does not exist", "not complete"))
            assert self.serving == before
            if "not complete" in words:
                self.caught_up(
                    next(each for each in self.model.index if f"{each!r} is not complete" in words)
                )
            return
        assert report.collection == self.serving.collection != before.collection
        self.caught_up(report.collection)
        served = {id_ for id_ in self.model.index[before.collection] if self.is_wanted(id_)}
        assert served <= set(self.model.index[report.collection])
        self.moves.append((report.collection, before.collection))
        self.check()

    def is_wanted(self, id_: UUID) -> bool:
        row = next(each for each in self.model.products.values() if each.id == id_)
        return row.active and row.address is not None

    def caught_up(self, collection: str) -> None:
        """Promoting and rolling back bring the target's points up to date first."""
        (target,) = [e for e in live_collections(self.vectors, self.alias).all if e.collection == collection]
        for store in "ab":
            self.model.bring(collection, target.model_id, store)

    @rule()
    def it_is_rolled_back(self) -> None:
        before, earlier = self.serving.collection, self.earlier
        try:
            report = rollback(self.database, self.data, self.vectors, alias=self.alias, stores=self.stores)
        except PermanentError as error:
            words = str(error)
            assert "nothing to roll back" in words
            assert self.earlier not in self.model.index
            return
        assert report.previous == before != report.collection == self.serving.collection
        assert report.collection == earlier
        self.moves.append((report.collection, before))
        self.caught_up(report.collection)
        self.check()

    @property
    def earlier(self) -> str | None:
        """What served before the collection that serves."""
        serving = self.serving.collection
        return next((before for after, before in reversed(self.moves) if after == serving), None)

    @rule()
    def it_is_rebuilt(self) -> None:
        before = self.serving
        if self.kind == "edge" and len(self.vectors.collections()) > 4:
            return  # making one takes a second
        report = rebuild(
            self.database,
            self.data,
            self.vectors,
            alias=self.alias,
            tuning=Tuning(),
            pipeline_version="test",
            stores=self.stores,
        )
        assert report.collection == self.serving.collection != before.collection
        self.moves.append((report.collection, before.collection))
        self.model.index.setdefault(report.collection, {})
        self.caught_up(report.collection)
        self.check()

    @rule(
        what=st.sampled_from(["rebuild", "promote", "roll back"]),
        at=st.sampled_from([3, 4, 0, 1, 2, 5]),
        back=st.booleans(),
    )
    def moving_the_alias_crashes(self, what: str, at: int, back: bool) -> None:
        """It points where it did or where it was to; what follows rests on the one that is true."""
        if what == "rebuild" and self.kind == "edge" and len(self.vectors.collections()) > 4:
            return
        before, parts = self.serving.collection, (self.database, self.data, self.vectors)
        with suppress(CrashError, PermanentError), self.boundaries.watched(self.vectors, at, moves=True):
            if what == "promote":
                promote(*parts, wanted=self.wanted, stores=self.stores, measure=lambda _: FIGURES)
            elif what == "roll back":
                rollback(*parts, alias=self.alias, stores=self.stores)
            else:
                rebuild(
                    *parts, alias=self.alias, tuning=Tuning(), pipeline_version="test", stores=self.stores
                )
        after = self.serving.collection
        if after != before:
            self.moves.append((after, before))
        for store in "ab":
            self.bring(store)
        for live in live_collections(self.vectors, self.alias).all:
            self.model.index.setdefault(live.collection, {})
            self.caught_up(live.collection)
        self.check()
        if back:
            self.it_is_rolled_back()

    @precondition(lambda self: len(self.model.index) > 2)
    @rule()
    def an_old_collection_is_deleted(self) -> None:
        serving, *others = [each.collection for each in live_collections(self.vectors, self.alias).all]
        if others:
            delete_collection(self.database, self.vectors, self.wanted, others[0])
            del self.model.index[others[0]]
        with pytest.raises(PermanentError, match="serves"):
            delete_collection(self.database, self.vectors, self.wanted, serving)
        self.check()

    @rule(content=st.sampled_from(BYTES))
    def a_vector_is_forgotten(self, content: int) -> None:
        """It was found wrong: its points stay and are told of, until the picture is embedded again."""
        for store in "ab":
            self.bring(store)
            self.settle(store)
        serving, digest = self.serving, self.digest(content)
        of_model = [
            e.collection
            for e in live_collections(self.vectors, self.alias).all
            if e.model_id == serving.model_id
        ]
        forget_vectors(self.database, serving.model_id, [digest], collections=of_model)
        self.model.vectors[serving.model_id].discard(content)
        shown = [
            id_ for id_, (picture, _) in self.model.index[serving.collection].items() if picture == content
        ]
        mended = repair_all(self.database, self.data, self.vectors, serving, self.stores)
        assert mended.before.counts["stale_vector"] == mended.before.differences == len(shown)
        assert mended.removed == 0
        self.check()
        self.embed(serving.model_id)
        for store in "ab":
            self.bring(store)
            self.settle(store)
        assert reconcile_all(self.database, self.vectors, serving, self.stores).agrees

    # -- behind the ledger

    @rule(kinds=st.sets(st.sampled_from(["missing", "orphaned", "stale_payload", "stale_vector", "foreign"])))
    def somebody_else_writes(self, kinds: set[str]) -> None:
        """Each planted kind is found exactly and mended."""
        for store in "ab":
            self.bring(store)
            self.settle(store)
        serving = self.serving
        free = list(self.model.index[serving.collection])
        expected = dict.fromkeys(("missing", "orphaned", "stale_payload", "stale_vector", "foreign"), 0)
        for kind in sorted(kinds):
            if kind in {"missing", "stale_payload", "stale_vector"}:
                if not free:
                    continue
                self.plant(kind, serving.collection, free.pop())
            else:
                payload = {"store_id": self.store("a"), "payload_hash": "0"} if kind == "orphaned" else {}
                stray = Point(uuid.uuid4(), self.vector(serving.model_id, 0), payload)
                self.vectors.upsert(serving.collection, [stray])
            expected[kind] = 1
        found = reconcile_all(self.database, self.vectors, serving, self.stores)
        assert found.counts == expected
        mended = repair_all(self.database, self.data, self.vectors, serving, self.stores)
        assert mended.before.counts == expected
        assert mended.after.agrees
        self.check()

    def plant(self, kind: str, collection: str, id_: UUID) -> None:
        if kind == "missing":
            self.vectors.delete(collection, [id_])
            return
        point = self.vectors.retrieve(collection, [id_])[id_]
        if kind == "stale_payload":
            self.vectors.set_payload(collection, {id_: point.payload | {"payload_hash": "1", "price": 0.5}})
            return
        stale = point.payload | {"image_sha256": "f" * 64}
        self.vectors.upsert(collection, [Point(id_, vector_of("f" * 64), stale)])

    # -- what must hold

    def check(self) -> None:
        """Every live collection and its ledger are what the model says, vectors included."""
        live = {each.collection: each for each in live_collections(self.vectors, self.alias).all}
        assert set(live) == set(self.model.index)
        for name, target in live.items():
            expected = self.model.index[name]
            points = self.vectors.retrieve(
                name, [id_ for id_, _ in self.vectors.scroll(name)], with_vectors=True
            )
            found = {id_: (p.payload["image_sha256"], p.payload["price"]) for id_, p in points.items()}
            assert found == {
                id_: (self.digest(content), float(price)) for id_, (content, price) in expected.items()
            }
            for id_, (content, _) in expected.items():
                assert np.allclose(points[id_].vector, self.vector(target.model_id, content), atol=1e-4)
            with self.database.connection() as connection:
                rows = connection.execute(
                    text("SELECT product_id, image_sha256 FROM index_entries WHERE collection = :name"),
                    {"name": name},
                ).all()
            assert {row[0]: row[1] for row in rows} == {id_: each[0] for id_, each in found.items()}


def play(
    kind: str, database: Database, folder: Path, models: tuple[str, str], examples: int, steps: int
) -> None:
    machine = type(
        "Machine", (Index,), {"kind": kind, "database": database, "folder": folder, "models": models}
    )
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.fixture
def models(demo_model: str, tmp_path: Path) -> tuple[str, str]:
    return demo_model, other_model_folder(demo_model, tmp_path)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two, so that a store has several and a crash falls between them."""
    monkeypatch.setattr(line_points, "BATCH_POINTS", 2)


@pytest.mark.timeout(1200)
def test_days_against_the_model(
    database: Database, tmp_path: Path, models: tuple[str, str], small_batches: None
) -> None:
    play("memory", database, tmp_path, models, examples=20, steps=50)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["memory", "edge"])
def test_many_days_against_the_model(
    kind: str, database: Database, tmp_path: Path, models: tuple[str, str], small_batches: None
) -> None:
    play(kind, database, tmp_path, models, examples=10 if kind == "memory" else 3, steps=300)
