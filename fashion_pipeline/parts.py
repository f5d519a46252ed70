"""From settings to the parts that the line works on: one of each per process."""

import atexit
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fashion_pipeline.catalog.embedded_postgres import EmbeddedPostgres
from fashion_pipeline.catalog.engine import Database, dispose_shared, same_database, shared_database
from fashion_pipeline.errors import SettingsError
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline.settings import Settings, references
from fashion_pipeline.storage import DataLocation

if TYPE_CHECKING:
    from fashion_pipeline.embeddings.encoder import Encoder
    from fashion_pipeline.embeddings.report import PipelineOptions
    from fashion_pipeline.feeds.config import FeedsConfig, ImagePolicy
    from fashion_pipeline.images.limits import FetchLimits
    from fashion_pipeline.index.store import VectorStore
    from fashion_pipeline.index.tuning import Tuning

#: Names of the two databases on the embedded server.
CATALOG_DATABASE = "fashion"
DAGSTER_DATABASE = "dagster"

#: The servers that this process found serving, by data folder, as the number of their process.
_served: dict[Path, int | None] = {}
_guard = threading.Lock()


def embedded_postgres(settings: Settings) -> EmbeddedPostgres:
    """The supervisor of the embedded server of this data folder; it may or may not run."""
    return EmbeddedPostgres(settings.data_folder / "postgres")


def start_embedded_postgres(settings: Settings) -> EmbeddedPostgres:
    """Have the embedded server run, with both databases.

    The process that starts it stops it at its end, unless others are connected by then.
    """
    server = embedded_postgres(settings)
    root = settings.data_folder
    with _guard:
        # A run asks ten times, and a connection that only asks costs as much as a small statement of its own.
        if server.still_runs(_served.get(root)):
            return server
        if server.start():
            atexit.register(_stop_unused, server)
        if root not in _served:
            server.ensure_database(CATALOG_DATABASE)
            server.ensure_database(DAGSTER_DATABASE)
        _served[root] = server.process_id()
    return server


def _stop_unused(server: EmbeddedPostgres) -> None:
    # Our own pooled connections would count as somebody who is connected.
    dispose_shared()
    server.stop(only_if_unused=True)


def catalog_url(settings: Settings) -> str:
    """URL of our tables; with embedded parts the server is started where it does not run."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    settings.require("database_url")
    return start_embedded_postgres(settings).url(CATALOG_DATABASE)


def dagster_url(settings: Settings) -> str:
    """URL of Dagster's own database, for psycopg 2, which dagster-postgres needs.

    Raises:
        SettingsError: it names the database of our tables; both keep a table `alembic_version`.
    """
    if settings.dagster_pg_url is not None:
        url = settings.dagster_pg_url.get_secret_value()
        if settings.database_url is not None and same_database(url, settings.database_url.get_secret_value()):
            raise SettingsError(
                "DATABASE_URL and DAGSTER_PG_URL name one database, where each would break the other's "
                "migrations: give Dagster a database of its own"
            )
        return url
    settings.require("dagster_pg_url")
    return start_embedded_postgres(settings).url(DAGSTER_DATABASE, driver="postgresql+psycopg2")


def open_database(settings: Settings) -> Database:
    """The process's database of our tables."""
    return shared_database(catalog_url(settings))


def open_data(settings: Settings) -> DataLocation:
    """The data location."""
    return DataLocation(settings.data_location)


def open_vectors(settings: Settings) -> "VectorStore":
    """The process's vector store: a server, or the embedded engine in the data folder."""
    from fashion_pipeline.index.open import open_store

    settings.require("qdrant_url")
    key = settings.qdrant_api_key
    return open_store(
        url=settings.qdrant_url,
        api_key=key.get_secret_value() if key else None,
        prefer_grpc=settings.qdrant_prefer_grpc,
        folder=None if settings.qdrant_url else settings.data_folder / "qdrant",
        tuning=index_tuning(settings),
    )


def index_tuning(settings: Settings) -> "Tuning":
    """What is tuned of the collection and of searches."""
    from fashion_pipeline.index.tuning import read_tuning

    return read_tuning(settings.qdrant_tuning)


def open_encoder(settings: Settings, model_ref: str) -> "Encoder":
    """Load a model, onto the device and in the precision of the settings."""
    from fashion_pipeline.embeddings.encoder import load_encoder

    return load_encoder(model_ref, device=settings.device, precision=settings.precision)


def pipeline_options(settings: Settings) -> "PipelineOptions":
    """How the embedding pipeline cuts its work: the settings, and the machine where they say nothing."""
    from fashion_pipeline.embeddings.decode import DecodeOptions
    from fashion_pipeline.embeddings.report import PipelineOptions

    return PipelineOptions(
        workers=settings.decode_workers,
        batch_size=settings.batch_size,
        queue_batches=settings.queue_batches,
        decode_options=None if settings.decode == "auto" else DecodeOptions(draft=settings.decode == "draft"),
    )


def open_feeds(settings: Settings, environ: Mapping[str, str] | None = None) -> "FeedsConfig":
    """The stores of `feeds.yaml`; `environ` answers its references to secrets, in place of the process's own."""
    from fashion_pipeline.feeds.config import load_feeds

    answers = references(environ)
    return load_feeds(settings.feeds_path, environ=answers, variables={"data": settings.data_location})


def address_policy(settings: Settings) -> AddressPolicy:
    """Where feeds and pictures may come from."""
    roots = [Path(root).absolute() for root in settings.file_roots]
    local = DataLocation(settings.data_location).local_root
    if local is not None:
        roots.append(local)
    return AddressPolicy(allowed_hosts=frozenset(settings.allowed_hosts), file_roots=tuple(roots))


def fetch_limits(settings: Settings, images: "ImagePolicy") -> "FetchLimits":
    """How politely a store's pictures are fetched: the store's own rates under the process's bounds."""
    from fashion_pipeline.images.limits import FetchLimits

    return FetchLimits(
        concurrency=settings.fetch_concurrency,
        per_host_concurrency=images.concurrency,
        per_host_rate=images.requests_per_second,
        user_agent=settings.user_agent,
        obey_robots=images.obey_robots,
        robots_exempt_hosts=images.own_hosts,
    )
