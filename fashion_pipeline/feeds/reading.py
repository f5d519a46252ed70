"""A stored feed to batches of items: unpack, decide the encoding, read, map; every record accounted for.

What a library raises on the way becomes one FeedError that names the store, what is wrong, where, and what
to do. A broken record costs itself.
"""

import csv
import hashlib
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

import orjson
import pyarrow as pa
from lxml import etree

from fashion_pipeline.errors import FeedError, PermanentError
from fashion_pipeline.feeds import encoding as encodings
from fashion_pipeline.feeds.applying import Applier
from fashion_pipeline.feeds.config import StoreConfig, Supplement
from fashion_pipeline.feeds.decompress import Document, ExpansionLimits, bomb, expand
from fashion_pipeline.feeds.items import BrokenRecord, ItemBatch, ReadReport
from fashion_pipeline.feeds.mapping import Mapping
from fashion_pipeline.feeds.readers.delimited import read_delimited
from fashion_pipeline.feeds.readers.json_records import read_json
from fashion_pipeline.feeds.readers.jsonld import read_jsonld
from fashion_pipeline.feeds.readers.parquet import read_parquet
from fashion_pipeline.feeds.readers.rakuten import read_rakuten
from fashion_pipeline.feeds.readers.shopify import read_shopify
from fashion_pipeline.feeds.readers.shopify_csv import read_shopify_csv
from fashion_pipeline.feeds.readers.woocommerce_csv import read_woocommerce_csv
from fashion_pipeline.feeds.readers.woocommerce_rest import read_woocommerce_rest
from fashion_pipeline.feeds.readers.xml import read_xml
from fashion_pipeline.feeds.records import Chunk, Read, Source, Tally
from fashion_pipeline.feeds.sniff import ADVICE, EXPECTED, Kind, html_charset, html_title, json_error, kind_of
from fashion_pipeline.feeds.supplements import SupplementFile, SupplementRows

_T = TypeVar("_T")

#: Changes whenever the same bytes and configuration give other items than before.
READER_VERSION = "11"
HEAD = 1 << 16
#: A feed of another format is told by its first records: a chunk may be one page with one bad product.
RECORDS_TO_JUDGE = 100
READERS: dict[str, Callable[[Source], Iterator[Read]]] = {
    "xml": read_xml,
    "delimited": read_delimited,
    "json": read_json,
    "woocommerce_rest": read_woocommerce_rest,
    "jsonld": read_jsonld,
    "shopify": read_shopify,
    "shopify_csv": read_shopify_csv,
    "woocommerce_csv": read_woocommerce_csv,
    "rakuten": read_rakuten,
    "parquet": read_parquet,
}
#: Everything that the libraries below raise for bad bytes.
BAD_BYTES = (
    etree.LxmlError, csv.Error, zlib.error, zipfile.BadZipFile, EOFError, OSError, pa.ArrowException,
    UnicodeError, ValueError, RecursionError, NotImplementedError, OverflowError,
)  # fmt: skip


def open_items(
    path: Path,
    store: StoreConfig,
    *,
    content_type: str | None = None,
    charset: str | None = None,
    batch_size: int = 2048,
    supplements: Sequence[SupplementFile] = (),
) -> "FeedReader":
    """Open a stored feed for reading: iterate the result once, to the end.

    `supplements` are the stored files of the store's supplements, in their order there. `content_type` and
    `charset` are what the transport said; bytes that prove otherwise win. Batches hold up to `batch_size`
    items (more where one record has more).

    Raises:
        FeedError: the file is empty, an error page, of another format than configured, not decodable, or
            packed in a way that is not read. While iterating also: truncated, without items.
    """
    reader = FeedReader(
        path,
        store,
        store.resolved_mapping(),
        content_type=content_type,
        charset=charset,
        batch_size=batch_size,
    )
    for file, part in zip(supplements, store.supplements, strict=True):
        reader.supplement(file, part)
    return reader


def config_digest(store: StoreConfig) -> str:
    """SHA-256 over all of a store's configuration that changes what reading and cleaning produce."""
    told = {
        "reader_version": READER_VERSION,
        "mapping": store.resolved_mapping().model_dump(mode="json"),
        "supplements": [
            {
                "location": store.hide_secrets(part.location),
                "format": part.format,
                "mapping": part.mapping.model_dump(mode="json"),
            }
            for part in store.supplements
        ],
        "currency": store.currency,
        "base_url": store.base_url,
        "shop": _base_url(store),
        "mode": store.mode,
        "encoding_fallback": store.encoding_fallback,
    }
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _base_url(store: StoreConfig) -> str | None:
    """The shop's address: as configured, else where the feed itself lies."""
    if store.base_url:
        return store.base_url.rstrip("/")
    split = urlsplit(store.location)
    return f"{split.scheme}://{split.netloc}" if split.scheme in ("http", "https") else None


def _one_line(text: str) -> str:
    """`text` for a log: what a feed brings into a message may hold anything."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


class FeedReader:
    """A feed being read; see `open_items`. `report` is final when the iteration has ended."""

    def __init__(
        self,
        path: Path,
        store: StoreConfig,
        mapping: Mapping,
        *,
        content_type: str | None = None,
        charset: str | None = None,
        batch_size: int = 2048,
    ) -> None:
        self._store, self._charset, self._content_type = store, charset, content_type
        self._batch_size = batch_size
        self._mapping = mapping
        self._applier = Applier(mapping)
        self.report = ReadReport(format=mapping.format)
        self._tally = Tally(self.report)
        self._supplements: SupplementRows | None = None
        self._seen: set[int] = set()
        self._known: dict[str, frozenset[str]] = {}
        self._scratch = ExitStack()
        # A reader that nobody iterates must not leave an archive open.
        weakref.finalize(self, self._scratch.close)
        self._limits, self._allowed, self._expanded = ExpansionLimits(), 0, 0
        try:
            self._documents = self._guarded(lambda: self._open(path))
            # What is wrong with the feed as a whole shows in its first document, before any row is given.
            self._first = self._guarded(lambda: self._source(self._documents[0]))
        except BaseException:
            self._scratch.close()
            raise

    @property
    def fields_used(self) -> dict[str, tuple[str, ...]]:
        """Column -> the feed's fields that were found for it so far, by their normalized names."""
        return {column: tuple(names) for column, names in self._applier.used.items()}

    def supplement(self, file: SupplementFile, part: Supplement) -> None:
        """Join a stored supplement to what will be read.

        Raises:
            FeedError: it cannot be read; the feed without it would be another catalogue.
        """
        try:
            other = FeedReader(
                file.path,
                self._store,
                part.resolved_mapping(),
                content_type=file.content_type,
                charset=file.charset,
            )
            if self._supplements is None:
                self._supplements = SupplementRows(self._tally, self._store.supplements_mib << 20)
            self._supplements.add(file.name, other)
        except FeedError as error:
            raise FeedError(f"{error} (in the supplement {file.name})") from error
        for recovery in other.report.recoveries:
            self._tally.mended(recovery.what, f"supplement {file.name}", recovery.count)

    def __iter__(self) -> Iterator[ItemBatch | BrokenRecord]:
        reading = self._read()
        if self._supplements is not None:
            reading = self._supplements.joined(reading)
        with self._scratch:
            while True:
                step = self._guarded(lambda: next(reading, None))
                if step is None:
                    break
                yield step
        self._tally.close()

    def _guarded(self, work: Callable[[], _T]) -> _T:
        store = f"store {self._store.id!r}"
        try:
            return work()
        except FeedError as error:
            raise FeedError(_one_line(f"{store}: {error}")) from error.__cause__
        except PermanentError:
            raise
        except BAD_BYTES as error:
            told = f"{type(error).__name__}: {_one_line(str(error))[:200]}"
            raise FeedError(
                f"{store}: the feed cannot be read as {self._mapping.format} near record "
                f"{self.report.records + 1} ({told}): look at the stored file"
            ) from error

    def _open(self, path: Path) -> tuple[Document, ...]:
        if not path.is_file():
            raise FeedError(f"no file {path.name}: fetch the feed again")
        if path.stat().st_size == 0:
            raise FeedError(f"{path.name} is an empty file: the store sent nothing; fetch it again")
        self._allowed = self._limits.allowed(path.stat().st_size)
        expansion = expand(path, self._scratch, self._limits)
        self.report.compression = expansion.compression
        for name in expansion.skipped:
            self._tally.mended("members of the archive passed over", name)
        return expansion.documents

    def _source(self, document: Document) -> Source:
        encoding = self._inspect(document)
        if encoding.codec and encoding.codec not in self.report.encoding.split(","):
            self.report.encoding = ",".join(filter(None, (self.report.encoding, encoding.codec)))
        return Source(
            name=document.name,
            open=self._opener(document),
            encoding=encoding,
            mapping=self._mapping,
            tally=self._tally,
            batch_size=self._batch_size,
            base_url=_base_url(self._store),
            documents=len(self._documents),
            seen=self._seen,
            whole=self._whole,
            known=self._known,
        )

    def _whole(self) -> Iterator[Source]:
        for document in self._documents:
            encoding, _ = encodings.decide(
                document.name,
                document.open,
                charset=self._charset,
                fallback=self._store.encoding_fallback,
            )
            tally = Tally(ReadReport())
            yield Source(
                document.name, self._opener(document), encoding, self._mapping, tally, self._batch_size
            )

    def _opener(self, document: Document) -> Callable[[], BinaryIO]:
        if self._mapping.reader != "parquet":
            return document.open

        def on_disk() -> BinaryIO:
            stream = document.open()
            if isinstance(getattr(stream, "name", None), str) and stream.seekable():
                return stream
            # Parquet is read from its end: what was packed needs a file of its own.
            copy = self._scratch.enter_context(TemporaryFile())  # noqa: SIM115
            with stream:
                copyfileobj(stream, copy, 1 << 20)
            copy.seek(0)
            return cast(BinaryIO, copy)

        return on_disk

    def _inspect(self, document: Document) -> encodings.Encoding:
        """Refuse a document that is not what is configured; decide its encoding."""
        with document.open() as stream:
            head = stream.read(HEAD)
        if self._mapping.reader == "parquet" or head.startswith(b"PAR1"):
            self._check_kind(document, head, encodings.Encoding("utf-8"))
            return encodings.Encoding("")
        # A first look without the encoding: an image or an archive must not be called undecodable.
        kind = kind_of(head, encodings.Encoding("latin-1"))
        if (
            kind in (Kind.EMPTY, Kind.PDF, Kind.PACKED, Kind.HTML)
            and kind not in EXPECTED[self._mapping.reader]
        ):
            self._check_kind(document, head, encodings.Encoding("latin-1"))
        encoding, size = encodings.decide(
            document.name,
            document.open,
            charset=self._charset or html_charset(head, kind),
            fallback=self._store.encoding_fallback,
        )
        self._expanded += size
        if self._expanded > max(self._allowed, size):
            raise bomb("the archive", self._allowed)
        self._check_kind(document, head, encoding)
        if encoding.mended:
            self._tally.mended(encoding.mended, document.name)
        return encoding

    def _check_kind(self, document: Document, head: bytes, encoding: encodings.Encoding) -> None:
        kind, mapping, name = kind_of(head, encoding), self._mapping, document.name
        said = f" (sent as {self._content_type})" if self._content_type else ""
        if kind is Kind.EMPTY:
            raise FeedError(f"{name} holds nothing but blanks{said}: the store sent nothing; fetch it again")
        if kind is Kind.HTML and kind not in EXPECTED[mapping.reader]:
            title = html_title(head)
            told = f" titled {title!r}" if title else ""
            raise FeedError(
                f"{name} is an HTML page{told}, not a feed{said}: the shop shows an error or a login; open "
                "the location in a browser, then fetch it again"
            )
        if kind is Kind.JSON_OBJECT and (message := json_error(head)) and b'"products"' not in head:
            raise FeedError(f"{name} is a JSON error message ({message}), not a feed: fetch it again")
        if kind not in EXPECTED[mapping.reader]:
            advice = ADVICE.get(kind)
            todo = f"set `format: {advice}`" if advice else "look at what the store sends"
            raise FeedError(
                f"{name} looks like {kind.value}{said}, but `format: {mapping.format}` is configured: {todo}"
            )

    def _read(self) -> Iterator[ItemBatch | BrokenRecord]:
        first_broken, example, judged = "", "", 0
        missing, waiting = set(self._mapping.needs), list[ItemBatch]()
        for number, document in enumerate(self._documents):
            source = self._first if number == 0 else self._source(document)
            for read in READERS[self._mapping.reader](source):
                if not isinstance(read, Chunk):
                    first_broken = first_broken or f", the first at {read.place}: {read.reason}"
                    yield read
                    continue
                waiting.append(self._applier.apply(read))
                if missing:
                    missing.difference_update(waiting[-1].columns)
                    example = example or f"{read.raw(0)[:300]} in {source.name}"
                    judged += read.size
                    if missing and judged < RECORDS_TO_JUDGE:
                        continue
                    self._check_columns(missing, judged, example)
                yield from waiting
                waiting.clear()
        if waiting:
            self._check_columns(missing, judged, example)
        report = self.report
        # A delta may well have nothing to say; a full feed without items would empty the catalogue.
        if not report.items and (self._store.mode == "full" or report.broken):
            broken = f" ({report.broken} broken records{first_broken})" if report.broken else ""
            raise FeedError(
                f"the feed has 0 products{broken}: nothing is delisted because of it; is `format: "
                f"{self._mapping.format}` right? If so, ask the store"
            )

    def _check_columns(self, missing: set[str], judged: int, example: str) -> None:
        for column in self._mapping.needs:
            if column in missing:
                wanted = " or ".join(self._mapping.fields[column])
                raise FeedError(
                    f"other format than configured: no record of the first {judged} has a field for {column} "
                    f"({wanted}); found: {example}; set the right `format:`, or say the fields by `mapping:`"
                )
