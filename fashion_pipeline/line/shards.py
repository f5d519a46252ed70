"""Upkeep of vector shards: verify a sample, merge small ones, collect files that nothing names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from fashion_pipeline.catalog import points as ledger
from fashion_pipeline.catalog.embeddings import (
    LedgerShard,
    forget_vectors,
    ledger_shards,
    mark_unreferenced,
    repoint,
    sample_vectors,
    shard_images,
)
from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.embeddings.decode import DecodeOptions
from fashion_pipeline.embeddings.encoder import Encoder
from fashion_pipeline.embeddings.golden import MIN_COSINE
from fashion_pipeline.embeddings.pipeline import embed
from fashion_pipeline.embeddings.report import EmbedFailure, EmbedItem, PipelineOptions
from fashion_pipeline.embeddings.shards import merge_shards, read_vectors
from fashion_pipeline.embeddings.spec import ModelSpec
from fashion_pipeline.embeddings.vectors import EmbeddedBatch, Vectors
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.index.collection import is_of_model
from fashion_pipeline.line.repairing import check_extent
from fashion_pipeline.storage import DataLocation

#: Vectors of a merged shard: 300 MB as float32, which object stores and readers like.
MERGED_ROWS = 100_000
#: A file that nothing names is kept so long: for a writer before its ledger rows, for a reader of old ones.
KEPT_UNREFERENCED = timedelta(hours=24)

SHARDS = "embeddings"


@dataclass(frozen=True)
class VerifyReport:
    """What embedding a sample anew, in fp32 with full decode, said of the stored vectors.

    `differing` are (SHA-256, cosine) below 0.999; `unreadable` are (SHA-256, reason) whose shard or picture
    cannot be read. `forgotten` vectors will be embedded anew.
    """

    model_id: str
    sampled: int
    compared: int
    worst_cosine: float
    mean_cosine: float
    differing: tuple[tuple[str, float], ...]
    unreadable: tuple[tuple[str, str], ...]
    forgotten: int

    @property
    def right(self) -> bool:
        """Whether every vector of the sample was found and agrees."""
        return not self.differing and not self.unreadable


@dataclass(frozen=True)
class CompactReport:
    """What merging did, over all models."""

    shards_before: int
    merged: int
    written: int
    vectors: int


@dataclass(frozen=True)
class CollectReport:
    """Shard files, those of them that no row names, and those that were removed."""

    files: int
    unreferenced: int
    due: int
    removed: int
    removed_bytes: int


def verify_vectors(
    database: Database,
    data: DataLocation,
    spec: ModelSpec,
    *,
    load: Callable[[str], Encoder],
    sample: int,
    seed: int = 0,
    repair: bool = False,
    repair_many: bool = False,
) -> VerifyReport:
    """Embed a sample of a model's pictures anew and compare.

    Args:
        load: loads a model by its reference, in fp32.
        repair: forget vectors that differ or cannot be read, so that the next run embeds them anew.

    Raises:
        PermanentError: more than a tenth of the sample would be forgotten, and `repair_many` was not said.
    """
    refs = sample_vectors(database, spec.image_model_id, sample, seed)
    stored: dict[str, Vectors] = {}
    unreadable: dict[str, str] = {}
    for key, group in groupby(refs, key=lambda ref: ref[0]):
        digests = [digest for _, digest in group]
        for digest, found in _vectors_of(data, key, digests):
            if isinstance(found, str):
                unreadable[digest] = found
            else:
                stored[digest] = found
    anew: dict[str, Vectors] = {}
    failures: list[EmbedFailure] = []
    loaded: list[Encoder] = []

    def load_once() -> Encoder:
        loaded.append(load(spec.ref))
        return loaded[0]

    def take(batch: EmbeddedBatch) -> None:
        anew.update(zip(batch.sha256, batch.vectors, strict=True))

    try:
        embed(
            [EmbedItem(digest) for digest in stored],
            ImageStore(data).read,
            spec=spec,
            encoder_factory=load_once,
            on_batch=take,
            on_failure=failures.append,
            options=PipelineOptions(decode_options=DecodeOptions()),
        )
    finally:
        for encoder in loaded:
            encoder.close()
    cosines = {digest: float(stored[digest] @ vector) for digest, vector in anew.items()}
    differing = {digest: cosine for digest, cosine in cosines.items() if not cosine >= MIN_COSINE}
    wrong = {*differing, *unreadable}
    if repair and not repair_many:
        told = f"vectors differ ({len(differing):,}) or cannot be read ({len(unreadable):,})"
        check_extent(len(wrong), len(refs), told, data, "--repair --repair-many")
    unreadable |= {each.sha256: f"picture: {each.error}, {each.detail}" for each in failures}
    forgotten = 0
    if repair and wrong:
        of_model = [
            name
            for name in ledger.collections_with_entries(database)
            if is_of_model(name, spec.image_model_id)
        ]
        forgotten = forget_vectors(database, spec.image_model_id, wrong, collections=of_model)
    return VerifyReport(
        spec.image_model_id,
        len(refs),
        len(cosines),
        min(cosines.values(), default=1.0),
        sum(cosines.values()) / len(cosines) if cosines else 1.0,
        tuple(sorted(differing.items(), key=lambda item: item[1])),
        tuple(sorted(unreadable.items())),
        forgotten,
    )


def _vectors_of(data: DataLocation, key: str, digests: list[str]) -> Iterator[tuple[str, Vectors | str]]:
    """Each vector, or why it cannot be read; one that is missing does not hide the others of its shard."""
    missing = set(digests)
    try:
        for digest, vector in read_vectors(data, ((key, digest) for digest in digests)):
            missing.discard(digest)
            yield digest, vector
    except PermanentError as error:
        for digest in sorted(missing):
            yield digest, str(error)


def compact_shards(database: Database, data: DataLocation, *, rows: int = MERGED_ROWS) -> CompactReport:
    """Merge shards of under half of `rows` vectors into shards of up to `rows`.

    A new shard is written first; one transaction then has the ledger name it. The old files stay for
    readers that know them, until `collect_shards` finds them old enough. Killed in between, the new file is
    one that nothing names.
    """
    with database.lock("", "compact_shards"):
        before = ledger_shards(database)
        merged = written = vectors = 0
        for model_id, shards in groupby(before, key=lambda shard: shard.model_id):
            for group in _groups([shard for shard in shards if shard.rows < rows / 2], rows):
                wanted = {shard.key: shard_images(database, model_id, shard.key) for shard in group}
                ref = merge_shards(data, model_id, wanted)
                digests = [digest for some in wanted.values() for digest in some]
                vectors += repoint(database, model_id, wanted, ref.key, digests)
                merged, written = merged + len(group), written + 1
    return CompactReport(len(before), merged, written, vectors)


def _groups(shards: list[LedgerShard], rows: int) -> Iterator[list[LedgerShard]]:
    group: list[LedgerShard] = []
    for shard in shards:
        if sum(each.rows for each in group) + shard.rows > rows:
            yield group
            group = []
        group.append(shard)
    if len(group) > 1:
        yield group


def collect_shards(
    database: Database, data: DataLocation, *, age: timedelta = KEPT_UNREFERENCED, remove: bool = False
) -> CollectReport:
    """Find shard files that no row of the ledger names, and remove those found so `age` ago or before.

    The clock of a file starts when it is first found, or when its rows were moved to a merged shard; that of an
    unfinished one, which a killed run left, when it was last written.
    """
    sizes = {entry.key: entry.size for entry in data.list(SHARDS) if entry.key.endswith(".parquet")}
    since = (datetime.now(UTC) - age).timestamp()
    unfinished = {entry.key: entry.size for entry in data.leftovers(SHARDS) if entry.modified <= since}
    unreferenced, due = mark_unreferenced(database, sizes, age)
    sizes |= unfinished
    unreferenced, due = [*unreferenced, *unfinished], [*due, *unfinished]
    if remove:
        for key in due:
            data.delete(key)
    return CollectReport(
        len(sizes),
        len(unreferenced),
        len(due),
        len(due) if remove else 0,
        sum(sizes[key] for key in due) if remove else 0,
    )
