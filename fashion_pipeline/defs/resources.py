"""Resources: each builds the plain object that the core works on, from the settings at run time."""

import dagster as dg
from pydantic import Field, PrivateAttr

from fashion_pipeline import parts
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.embeddings.report import PipelineOptions
from fashion_pipeline.embeddings.shards import VectorType
from fashion_pipeline.feeds.config import FeedsConfig
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.line.live import Wanted
from fashion_pipeline.netguard import AddressPolicy
from fashion_pipeline.settings import Settings, load_settings
from fashion_pipeline.storage import DataLocation
from fashion_pipeline.version import pipeline_version


class SettingsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where a resource takes its settings from: the environment, read once in a run."""

    environment: dict[str, str] = Field(
        default_factory=dict,
        description="settings to use in place of the process's environment; empty in deployments",
    )

    _of_run: Settings | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Read the settings of a run that starts."""
        self._of_run = load_settings(self.environment or None)

    def settings(self) -> Settings:
        """The settings of the run; outside of one, as they are now."""
        return self._of_run or load_settings(self.environment or None)


class DatabaseResource(SettingsResource):
    """PostgreSQL: products, snapshots and the ledgers (`DATABASE_URL`, or the embedded server)."""

    def open(self) -> Database:
        """The process's database."""
        return parts.open_database(self.settings())


class VectorStoreResource(SettingsResource):
    """Qdrant: a server (`QDRANT_URL`), or its engine embedded in the data folder."""

    def open(self) -> VectorStore:
        """The process's vector store."""
        return parts.open_vectors(self.settings())

    def dashboard(self, collection: str) -> str | None:
        """Where the server's own dashboard shows a collection; an embedded engine has none."""
        url = self.settings().qdrant_url
        return f"{url.rstrip('/')}/dashboard#/collections/{collection}" if url else None

    def alias(self) -> str:
        """The serving alias."""
        return self.settings().alias

    def wanted(self) -> Wanted:
        """The collection that the settings ask for: the serving one, or a candidate."""
        settings = self.settings()
        return Wanted(settings.alias, settings.model_ref, pipeline_version(), parts.index_tuning(settings))


class EncoderResource(SettingsResource):
    """The image and text encoder (`FASHION_PIPELINE_MODEL` is the candidate model)."""

    def load(self, model_ref: str) -> Encoder:
        """Load a model; the caller closes it."""
        return parts.open_encoder(self.settings(), model_ref)

    def candidate(self) -> str:
        """The model that the settings name, `local-dir:FOLDER`."""
        return self.settings().model_ref

    def options(self) -> PipelineOptions:
        """How the work is cut."""
        return parts.pipeline_options(self.settings())

    def vector_type(self) -> VectorType:
        """Elements of stored vectors."""
        return self.settings().vectors

    def price_per_hour(self) -> float | None:
        """What the machine costs, where the settings say it."""
        return self.settings().price_per_hour


class StorageResource(SettingsResource):
    """The data location: raw feeds, Parquet, pictures, vector shards (`FASHION_PIPELINE_DATA`)."""

    def open(self) -> DataLocation:
        """The data location."""
        return parts.open_data(self.settings())

    def images(self) -> ImageStore:
        """The content-addressed pictures in it."""
        return ImageStore(self.open())


class FeedsResource(SettingsResource):
    """The stores of `feeds.yaml` (`FASHION_PIPELINE_FEEDS`) and the rules for talking to them."""

    def open(self) -> FeedsConfig:
        """The stores, read anew."""
        return parts.open_feeds(self.settings(), self.environment or None)

    def policy(self) -> AddressPolicy:
        """Where feeds and pictures may come from."""
        return parts.address_policy(self.settings())

    def user_agent(self) -> str:
        """How requests introduce themselves."""
        return self.settings().user_agent

    def fetch_limits(self, store_id: str) -> FetchLimits:
        """How politely a store's pictures are fetched."""
        settings = self.settings()
        images = self.open().store(store_id).images
        return parts.fetch_limits(settings, images)
