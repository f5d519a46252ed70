"""The tables. Migrations in `alembic/versions` are held equal to these models by a test."""

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(DeclarativeBase):
    """Naming conventions and types that all tables share."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's declarative hook
        str: Text(),
        datetime: DateTime(timezone=True),
        date: Date(),
        Decimal: Numeric(18, 4),
        dict[str, Any]: JSONB(),
        list[str]: ARRAY(Text()),
        uuid.UUID: Uuid(),
    }


class Stamped(Table):
    """Adds the time of a row's creation and of its last change."""

    __abstract__ = True

    created_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), sort_order=990, comment="when the row was made"
    )
    updated_at: Mapped[datetime] = mapped_column(
        server_default=func.now(), onupdate=func.now(), sort_order=991, comment="when the row last changed"
    )


class Base(Stamped):
    """Rows with an id made in Python, so that no extension of the server is needed."""

    __abstract__ = True

    id: Mapped[uuid.UUID] = mapped_column(
        primary_key=True, default=uuid.uuid4, sort_order=-1, comment="UUID version 4"
    )


class Product(Base):
    """A product (variant) of a store: the current row, a held one, or a tombstone."""

    __tablename__ = "products"

    store_id: Mapped[str] = mapped_column(String(63), comment="store in feeds.yaml")
    external_id: Mapped[str] = mapped_column(comment="id of the item in the store's feed")
    title: Mapped[str] = mapped_column(comment="title as plain text")
    description: Mapped[str | None] = mapped_column(comment="description as plain text, full length")
    price: Mapped[Decimal] = mapped_column(comment="regular price in major units of currency")
    currency: Mapped[str] = mapped_column(String(3), comment="ISO 4217 code")
    image_url: Mapped[str | None] = mapped_column(comment="main picture")
    product_url: Mapped[str | None] = mapped_column(comment="page of the product in the shop")
    sale_price: Mapped[Decimal | None] = mapped_column(comment="reduced price, below price")
    sale_starts_at: Mapped[datetime | None] = mapped_column(comment="start of the sale price's window")
    sale_ends_at: Mapped[datetime | None] = mapped_column(comment="end of the sale price's window")
    additional_image_urls: Mapped[list[str] | None] = mapped_column(comment="further pictures, in order")
    brand: Mapped[str | None] = mapped_column(comment="brand")
    gtin: Mapped[str | None] = mapped_column(comment="GTIN with a right check digit")
    mpn: Mapped[str | None] = mapped_column(comment="manufacturer part number")
    item_group_id: Mapped[str | None] = mapped_column(comment="group of variants")
    product_type: Mapped[str | None] = mapped_column(comment="the shop's own category path")
    google_product_category: Mapped[str | None] = mapped_column(comment="Google taxonomy id or path")
    color: Mapped[str | None] = mapped_column(comment="colour")
    size: Mapped[str | None] = mapped_column(comment="size")
    gender: Mapped[str | None] = mapped_column(comment="female, male, unisex, or as the feed says")
    age_group: Mapped[str | None] = mapped_column(comment="newborn to adult, or as the feed says")
    material: Mapped[str | None] = mapped_column(comment="material")
    pattern: Mapped[str | None] = mapped_column(comment="pattern")
    condition: Mapped[str | None] = mapped_column(comment="new, refurbished, used, or as the feed says")
    availability: Mapped[str | None] = mapped_column(comment="in_stock, out_of_stock, preorder, backorder")
    raw_attributes: Mapped[dict[str, Any] | None] = mapped_column(comment="raw values that were normalized")
    image_key: Mapped[str | None] = mapped_column(
        String(64), comment="SHA-256 of the picture's URL less cache-busters"
    )
    content_hash: Mapped[str] = mapped_column(comment="hash of the content less cache-busters")
    snapshot_date: Mapped[date] = mapped_column(comment="day of the snapshot that last changed the row")
    first_seen_on: Mapped[date] = mapped_column(comment="earliest day on which the item was seen")
    held_since: Mapped[date | None] = mapped_column(comment="first day seen but not clean; null when clean")
    delisted_on: Mapped[date | None] = mapped_column(comment="day it left the feed; a tombstone when set")

    __table_args__ = (
        UniqueConstraint("store_id", "external_id"),
        CheckConstraint("price > 0", name="price_positive"),
        CheckConstraint(
            "sale_price IS NULL OR (sale_price > 0 AND sale_price < price)", name="sale_below_price"
        ),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso_4217"),
        # The active rows of a store: what delisting, image work lists and the index difference read.
        Index(
            "ix_products_store_active", "store_id", "image_key", postgresql_where=text("delisted_on IS NULL")
        ),
        # All variants of a group, as a ranking service shows them.
        Index("ix_products_store_id_item_group_id", "store_id", "item_group_id"),
        # "Which products show this picture": after a picture changed, and for shared-logo reports.
        Index("ix_products_image_key", "image_key"),
        # Held rows are few and are asked for daily.
        Index("ix_products_held", "store_id", "held_since", postgresql_where=text("held_since IS NOT NULL")),
        # Incremental readers of the table ask for what changed since they last looked.
        Index("ix_products_updated_at", "updated_at"),
    )


class Store(Stamped):
    """How far a store's catalogue has been brought."""

    __tablename__ = "stores"

    store_id: Mapped[str] = mapped_column(String(63), primary_key=True, comment="store in feeds.yaml")
    applied_through: Mapped[date | None] = mapped_column(comment="day of the newest applied snapshot")
    applied_sha256: Mapped[str | None] = mapped_column(String(64), comment="its bytes")
    applied_cleaning: Mapped[str | None] = mapped_column(
        comment="digest of the mapping and rules it was cleaned by"
    )
    applied_at: Mapped[datetime | None] = mapped_column(comment="when it was applied")


class FeedSnapshot(Base):
    """One feed as it was captured: bytes by hash, then its account, verdict and fate."""

    __tablename__ = "feed_snapshots"

    store_id: Mapped[str] = mapped_column(String(63), comment="store in feeds.yaml")
    day: Mapped[date] = mapped_column(comment="day whose feed this is")
    sha256: Mapped[str] = mapped_column(
        String(64), comment="file_sha256, or a hash of it and those of the supplements"
    )
    file_sha256: Mapped[str] = mapped_column(String(64), comment="hash of the feed's exact bytes")
    size_bytes: Mapped[int] = mapped_column(BigInteger, comment="size of the exact bytes")
    file_key: Mapped[str] = mapped_column(comment="where the bytes lie in the data location")
    source: Mapped[str] = mapped_column(comment="where they came from, without secrets")
    captured_at: Mapped[datetime] = mapped_column(comment="when they were fetched or confirmed unchanged")
    etag: Mapped[str | None] = mapped_column(comment="validator for the next conditional request")
    last_modified: Mapped[str | None] = mapped_column(comment="validator for the next conditional request")
    content_type: Mapped[str | None] = mapped_column(comment="as the server declared it")
    charset: Mapped[str | None] = mapped_column(comment="as the server declared it")
    supplements: Mapped[list[dict[str, Any]] | None] = mapped_column(
        JSONB, comment="files captured with the feed: source, hash, place, validators of each"
    )
    cleaning: Mapped[str | None] = mapped_column(comment="digest of the mapping and rules it was cleaned by")
    clean_key: Mapped[str | None] = mapped_column(comment="clean rows in the data location")
    rejected_key: Mapped[str | None] = mapped_column(comment="rejected items in the data location")
    deletions_key: Mapped[str | None] = mapped_column(comment="deleted ids in the data location")
    account: Mapped[dict[str, Any] | None] = mapped_column(
        comment="records, items, reasons: the clean report"
    )
    verdict: Mapped[str | None] = mapped_column(
        String(16), comment="ok, refused, accepted; null before cleaning"
    )
    findings: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB, comment="guards that fired")
    failure: Mapped[str | None] = mapped_column(comment="why the bytes could not be read, one line")
    accepted_reason: Mapped[str | None] = mapped_column(comment="why a person accepted these bytes")
    accepted_guards: Mapped[list[str] | None] = mapped_column(comment="guards that the person overruled")
    outcome: Mapped[str | None] = mapped_column(
        String(16), comment="applied, superseded or skipped; null before"
    )
    applied_at: Mapped[datetime | None] = mapped_column(comment="when the outcome was decided")
    skipped_reason: Mapped[str | None] = mapped_column(comment="why a person gave the snapshot up")

    __table_args__ = (
        UniqueConstraint("store_id", "day", "sha256"),
        CheckConstraint("verdict IN ('ok', 'refused', 'accepted')", name="verdict"),
        CheckConstraint("outcome IN ('applied', 'superseded', 'skipped')", name="outcome"),
        # Known bytes are looked up by hash, whatever the day.
        Index("ix_feed_snapshots_store_id_sha256", "store_id", "sha256"),
        Index("ix_feed_snapshots_store_id_file_sha256", "store_id", "file_sha256"),
    )


class RejectedProduct(Base):
    """An item that could not become a row: its place, its raw content and every reason."""

    __tablename__ = "rejected_products"

    snapshot_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("feed_snapshots.id", ondelete="CASCADE"), comment="snapshot that holds the item"
    )
    store_id: Mapped[str] = mapped_column(String(63), comment="store in feeds.yaml")
    day: Mapped[date] = mapped_column(comment="day of the snapshot")
    external_id: Mapped[str | None] = mapped_column(comment="id, where it could be read")
    record: Mapped[int] = mapped_column(BigInteger, comment="number of the source record, from 1")
    place: Mapped[str] = mapped_column(comment="where the item stood in the feed")
    reasons: Mapped[list[str]] = mapped_column(comment="every reason")
    severity: Mapped[str] = mapped_column(String(16), comment="error or quarantine")
    detail: Mapped[str] = mapped_column(comment="what was found, in words")
    raw: Mapped[str] = mapped_column(comment="the source content as JSON text")

    __table_args__ = (
        # What a person asks: this store, this day; and replacing a snapshot's rows.
        Index("ix_rejected_products_store_id_day", "store_id", "day"),
        Index("ix_rejected_products_snapshot_id", "snapshot_id"),
    )


class Image(Stamped):
    """One picture URL (less cache-busters): what was asked, what came, when to ask again."""

    __tablename__ = "images"

    image_key: Mapped[str] = mapped_column(
        String(64), primary_key=True, comment="hash of the URL less cache-busters"
    )
    url: Mapped[str] = mapped_column(comment="the URL last asked, without secrets")
    url_sha256: Mapped[str] = mapped_column(String(64), comment="SHA-256 of the URL last asked")
    host: Mapped[str] = mapped_column(comment="its host, for reports")
    status: Mapped[str] = mapped_column(String(24), comment="fetched, failed_transient or failed_permanent")
    attempts: Mapped[int] = mapped_column(comment="failures in a row")
    next_attempt_at: Mapped[datetime | None] = mapped_column(
        comment="earliest time of the next try after a failure"
    )
    checked_on: Mapped[date] = mapped_column(comment="day for which it was last asked")
    http_status: Mapped[int | None] = mapped_column(comment="of the last answer")
    error: Mapped[str | None] = mapped_column(comment="class of the last failure")
    detail: Mapped[str | None] = mapped_column(comment="the last failure in words, without secrets")
    etag: Mapped[str | None] = mapped_column(comment="validator for the next conditional request")
    last_modified: Mapped[str | None] = mapped_column(comment="validator for the next conditional request")
    sha256: Mapped[str | None] = mapped_column(
        String(64), comment="hash of the bytes; kept while a later try fails"
    )
    size_bytes: Mapped[int | None] = mapped_column(BigInteger, comment="size of the bytes")
    width: Mapped[int | None] = mapped_column(comment="pixels")
    height: Mapped[int | None] = mapped_column(comment="pixels")
    format: Mapped[str | None] = mapped_column(comment="JPEG, PNG, WEBP, ...")
    decode_error: Mapped[str | None] = mapped_column(comment="why the bytes could not be embedded")

    __table_args__ = (
        CheckConstraint("status IN ('fetched', 'failed_transient', 'failed_permanent')", name="status"),
        # From bytes back to their URLs, for embeddings and garbage collection.
        Index("ix_images_sha256", "sha256"),
    )


class Embedding(Stamped):
    """The ledger of vectors: which shard holds the vector of these bytes by this model."""

    __tablename__ = "embeddings"

    image_sha256: Mapped[str] = mapped_column(String(64), comment="hash of the picture's bytes")
    model_id: Mapped[str] = mapped_column(comment="image model")
    shard_key: Mapped[str] = mapped_column(comment="Parquet file in the data location")

    __table_args__ = (
        PrimaryKeyConstraint("model_id", "image_sha256"),
        # Compaction and garbage collection go by shard.
        Index("ix_embeddings_shard_key", "shard_key"),
    )


class UnreferencedShard(Table):
    """A vector shard's file that no row of the ledger names: removed when it has been so for long enough."""

    __tablename__ = "unreferenced_shards"

    shard_key: Mapped[str] = mapped_column(primary_key=True, comment="Parquet file in the data location")
    since: Mapped[datetime] = mapped_column(
        server_default=func.now(), comment="when it was first found, or lost its rows to a merged shard"
    )


class IndexEntry(Stamped):
    """The ledger of points: what was last acknowledged by the vector store for a product."""

    __tablename__ = "index_entries"

    collection: Mapped[str] = mapped_column(comment="collection in the vector store")
    product_id: Mapped[uuid.UUID] = mapped_column(comment="product and point id")
    store_id: Mapped[str] = mapped_column(String(63), comment="store in feeds.yaml")
    payload_hash: Mapped[str] = mapped_column(comment="hash of the payload written")
    image_sha256: Mapped[str] = mapped_column(String(64), comment="picture whose vector was written")

    __table_args__ = (
        PrimaryKeyConstraint("collection", "product_id"),
        # The difference is taken store by store.
        Index("ix_index_entries_collection_store_id", "collection", "store_id"),
    )


class AliasMove(Base):
    """One change of where the serving alias points: since when which collection serves, and why.

    The row is written before the alias is moved, and confirmed once it was seen to point there.
    """

    __tablename__ = "alias_moves"

    alias: Mapped[str] = mapped_column(comment="serving alias")
    collection: Mapped[str] = mapped_column(comment="collection that it points to since")
    previous: Mapped[str | None] = mapped_column(comment="collection that it pointed to before")
    action: Mapped[str] = mapped_column(String(16), comment="first, promote, rollback or rebuild")
    details: Mapped[dict[str, Any] | None] = mapped_column(comment="figures that the decision rests on")
    confirmed_at: Mapped[datetime | None] = mapped_column(
        comment="when the alias was seen to point there; null while it is only intended"
    )

    __table_args__ = (
        CheckConstraint("action IN ('first', 'promote', 'rollback', 'rebuild')", name="action"),
        # The newest move of an alias is what rollback and reports read.
        Index("ix_alias_moves_alias_created_at", "alias", "created_at"),
    )


class SearchMeasurement(Base):
    """One measurement of the search, for the trend and as what later ones are held against."""

    __tablename__ = "search_measurements"

    alias: Mapped[str] = mapped_column(comment="serving alias")
    collection: Mapped[str] = mapped_column(comment="collection that was searched")
    model_id: Mapped[str] = mapped_column(comment="image model")
    figures: Mapped[dict[str, Any]] = mapped_column(comment="recall, precision, MRR, latency")
    promoted: Mapped[bool] = mapped_column(comment="measured as the collection was promoted")

    # The trend is read newest first.
    __table_args__ = (Index("ix_search_measurements_alias_created_at", "alias", "created_at"),)


def describe_columns(model: type[Table]) -> list[tuple[str, str, str, bool]]:
    """(name, SQL type, comment, nullable) of each column of a table, for catalogues and docs."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return [
        (column.name, column.type.compile(dialect=dialect), column.comment or "", bool(column.nullable))
        for column in model.__table__.columns
    ]
