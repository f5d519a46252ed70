"""Collections and aliases on a Qdrant server."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from qdrant_client import QdrantClient, models

from fashion_pipeline.errors import CollectionError, PermanentError, TransientError
from fashion_pipeline.index.collection import check_name, check_same, check_unserved, metadata_of
from fashion_pipeline.index.retry import already_exists, call
from fashion_pipeline.index.server_metadata import COMPANION, read_metadata, remove_metadata, save_metadata
from fashion_pipeline.index.server_tuning import changes, creation_arguments
from fashion_pipeline.index.tuning import Tuning
from fashion_pipeline.index.types import CollectionInfo, CollectionSpec, IndexType

_T = TypeVar("_T")

#: A server says `green` for a moment before it starts on what an update asked for.
_GREEN_IN_A_ROW = 3
_POLL_SECONDS = 1.0
#: A change of the optimizer's settings waits for what it is at.
_UPDATE_TIMEOUT = 600


class ServerCollections:
    """The part of `ServerStore` that creates, describes and names collections."""

    def __init__(self, client: QdrantClient, where: str, *, local: bool, tuning: Tuning) -> None:
        self.client = client
        self._where = where
        self._local = local
        self._tuning = tuning

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""
        answer = self._call("listing collections", self.client.get_collections)
        return sorted(found.name for found in answer.collections if found.name != COMPANION)

    def describe(self, name: str) -> CollectionInfo:
        """What the collection is, as the server tells."""
        name = self.aliases().get(check_name(name), name)
        info, vectors = self._inspect(name)
        return CollectionInfo(
            name=name,
            dimension=vectors.size,
            distance=vectors.distance.value.lower(),
            on_disk_payload=info.config.params.on_disk_payload,
            points=self._call(f"counting {name}", lambda: self.client.count(name, exact=True)).count,
            indexed_vectors=info.indexed_vectors_count or 0,
            status=info.status.value,
            payload_indexes={
                key: index.data_type.value for key, index in (info.payload_schema or {}).items()
            },
            metadata=self._call(f"describing {name}", lambda: read_metadata(self.client, name, info)),
        )

    def metadata(self, name: str) -> Mapping[str, str]:
        """What the collection remembers of itself."""
        name = self.aliases().get(check_name(name), name)
        info, _ = self._inspect(name)
        return self._call(f"describing {name}", lambda: read_metadata(self.client, name, info))

    def _inspect(self, name: str) -> tuple[models.CollectionInfo, models.VectorParams]:
        what = f"describing {check_name(name)}"
        info = self._call(what, lambda: self.client.get_collection(name))
        vectors = info.config.params.vectors
        if not isinstance(vectors, models.VectorParams):
            raise CollectionError(
                f"collection {name!r} at {self._where} has named vectors: this pipeline did not create it"
            )
        return info, vectors

    def ensure_collection(self, spec: CollectionSpec) -> bool:
        """Create the collection, or check it and add the payload indexes that it lacks."""
        name = check_name(spec.name)
        if name in self.aliases():
            raise CollectionError(f"{name!r} is an alias at {self._where}: use another collection name")
        created = name not in self.collections() and self._create(spec)
        found = self.describe(name)
        metadata = found.metadata
        if not metadata and (created or found.points == 0):
            # An older server keeps none; an empty collection without is one whose creation was cut short.
            metadata = metadata_of(spec)
            self._call(f"recording {name}", lambda: save_metadata(self.client, name, metadata))
        check_same(
            spec, dimension=found.dimension, distance=found.distance, metadata=metadata, where=self._where
        )
        if found.on_disk_payload not in (None, spec.on_disk_payload):
            change = models.CollectionParamsDiff(on_disk_payload=spec.on_disk_payload)
            self._update(name, collection_params=change)
        self._tune(name, spec.tuning, keep_deferred=spec.deferred)
        if not self._local:
            for field, kind in spec.payload_indexes.items():
                if field not in found.payload_indexes:
                    self._create_index(name, field, kind)
        return created

    def _tune(self, name: str, tuning: Tuning, *, keep_deferred: bool) -> None:
        """Make the live collection what is asked; the `:memory:` client has nothing to tune."""
        if not self._local:
            info, _ = self._inspect(name)
            for what, change in changes(info, tuning, name=name, keep_deferred=keep_deferred).items():
                self._update(name, **{what: change})

    def _update(self, name: str, **change: Any) -> None:
        what = f"changing {', '.join(change)} of {name}"
        self._call(what, lambda: self.client.update_collection(name, timeout=_UPDATE_TIMEOUT, **change))

    @contextmanager
    def bulk(self, name: str) -> Iterator[None]:
        """Put the HNSW graph off by m=0 while the block writes, then build it and wait."""
        name = self.aliases().get(check_name(name), name)
        if not self._local:
            self._update(name, hnsw_config=models.HnswConfigDiff(m=0))
        try:
            yield
        except BaseException:
            self._tune(name, self._tuning, keep_deferred=False)
            raise
        self.settle(name)

    def settle(self, name: str, *, timeout: float = 3600.0) -> CollectionInfo:
        """Build the graph where it was put off, and wait until the server is green and stays so."""
        name = self.aliases().get(check_name(name), name)
        self._tune(name, self._tuning, keep_deferred=False)
        deadline = time.monotonic() + timeout
        green = 0
        while not self._local:
            info, _ = self._inspect(name)
            if info.status is models.CollectionStatus.RED:
                raise PermanentError(
                    f"collection {name!r} at {self._where} is red: {info.optimizer_status}; look at the server's "
                    "log, then rebuild it with `fashion-pipeline index rebuild`"
                )
            green = green + 1 if info.status is models.CollectionStatus.GREEN else 0
            if green >= _GREEN_IN_A_ROW:
                break
            if info.status is models.CollectionStatus.GREY:
                # After a restart optimizations wait for a change; an empty one starts them.
                self._update(name, optimizers_config=models.OptimizersConfigDiff())
            if time.monotonic() >= deadline:
                raise TransientError(
                    f"collection {name!r} at {self._where} is still {info.status.value} after {timeout:g} s "
                    f"({info.indexed_vectors_count or 0:,} of {info.points_count or 0:,} vectors indexed): it goes on "
                    "by itself; try again later"
                )
            time.sleep(_POLL_SECONDS)
        return self.describe(name)

    def _create(self, spec: CollectionSpec) -> bool:
        def request() -> bool:
            try:
                return self.client.create_collection(
                    spec.name,
                    vectors_config=models.VectorParams(
                        size=spec.dimension,
                        distance=models.Distance(spec.distance.capitalize()),
                        on_disk=spec.tuning.on_disk_vectors,
                    ),
                    on_disk_payload=spec.on_disk_payload,
                    metadata=metadata_of(spec),
                    **creation_arguments(spec.tuning, deferred=spec.deferred),
                )
            except Exception as error:
                if already_exists(error):  # another process was faster, or our own first try arrived
                    return False
                raise

        return self._call(f"creating collection {spec.name}", request)

    def _create_index(self, name: str, field: str, kind: IndexType) -> None:
        schema = models.PayloadSchemaType(kind)
        self._call(
            f"indexing {field} of {name}",
            lambda: self.client.create_payload_index(name, field, field_schema=schema, wait=True),
        )

    def drop_collection(self, name: str) -> None:
        """Remove a collection; an alias that points to it must be moved first."""
        check_unserved(check_name(name), self.aliases(), self._where)
        if name in self.collections():
            self._call(f"dropping {name}", lambda: self.client.delete_collection(name))
            self._call(f"forgetting {name}", lambda: remove_metadata(self.client, name))

    def alias(self, alias: str) -> str | None:
        """The collection that `alias` points to, or None."""
        return self.aliases().get(check_name(alias))

    def aliases(self) -> dict[str, str]:
        """Every alias and its collection."""
        answer = self._call("listing aliases", self.client.get_aliases)
        return {found.alias_name: found.collection_name for found in answer.aliases}

    def set_alias(self, alias: str, collection: str) -> None:
        """Point `alias` at `collection` in one request."""
        there = self.collections()
        if check_name(collection) not in there:
            raise CollectionError(
                f"no collection {collection!r} at {self._where} (there: {', '.join(there) or 'none'}): "
                "materialize `qdrant_collection`"
            )
        if check_name(alias) in there:
            raise CollectionError(f"{alias!r} is the name of a collection: use another alias")
        changes: list[models.AliasOperations] = []
        if alias in self.aliases():
            changes.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        create = models.CreateAlias(collection_name=collection, alias_name=alias)
        changes.append(models.CreateAliasOperation(create_alias=create))
        self._call(f"moving the alias {alias}", lambda: self.client.update_collection_aliases(changes))

    def _call(self, what: str, request: Callable[[], _T]) -> _T:
        return call(f"Qdrant at {self._where}, {what}", request)
