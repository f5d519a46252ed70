"""`product_images`: the bytes of the pictures of a store's active products."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from PIL.Image import Image

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.image_work import DueImage, record_images, work_list
from fashion_pipeline.catalog.images import captions, known_images
from fashion_pipeline.errors import PermanentError
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.images.fetcher import ImageFetcher
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.sheet import Tile, contact_sheet, encode_within
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.images.types import FetchReport, ImageRequest, ImageResult
from fashion_pipeline.netguard import AddressPolicy

Progress = Callable[[int, int | None], None]

#: Results per transaction: a killed run repeats at most twice these requests, and those under way.
COMMIT_RESULTS = 200

#: Pictures on a contact sheet; with more, none is recognizable under 60 KB.
SHEET_TILES = 40

#: Bytes of a sheet in an event's metadata: in base64 under the 60 KB that the UI shows at once.
SHEET_BYTES = 45_000

#: Digests kept of a run's new pictures: enough for a sheet where some are shown by no product any more.
SAMPLE = 200


@dataclass(frozen=True)
class ImagesStageReport:
    """What asking for a store's pictures brought, in pictures.

    `new_pictures` are digests of bytes that were new to the store, at most `SAMPLE` of them; work lists
    come in the order of a hash, so these are a fair sample.
    """

    due: int
    fetch: FetchReport | None
    known: int
    new_pictures: tuple[str, ...]
    seconds: float


def fetch_images(
    database: Database,
    images: ImageStore,
    store: StoreConfig,
    day: date,
    *,
    policy: AddressPolicy,
    limits: FetchLimits,
    progress: Progress | None = None,
) -> ImagesStageReport:
    """Ask for every picture of the store that is due, and commit what comes while it comes.

    A picture that fails is a row with its reason, never an error of the run. Memory does not grow with
    the number of pictures.
    """
    began = time.perf_counter()
    report: FetchReport | None = None
    new: list[str] = []
    with (
        database.lock(store.id, "product_images"),
        work_list(
            database,
            store.id,
            day,
            recheck_after_days=store.images.recheck_after_days,
            per_product=store.images.per_product,
            obey_robots=store.images.obey_robots,
            own_hosts=store.images.own_hosts,
        ) as work,
    ):
        if work.total:
            ledger = _Ledger(database, images, day, work.asked_at)

            async def on_result(result: ImageResult) -> None:
                if result.stored and result.sha256 is not None and len(new) < SAMPLE:
                    new.append(result.sha256)
                await ledger.add(result)

            fetcher = ImageFetcher(policy, images, limits)
            requests = (_request(each, store.id) for each in work)
            try:
                report = asyncio.run(fetcher.fetch(requests, on_result, total=work.total, progress=progress))
            finally:
                # What was answered before a failure or an interrupt is not asked again.
                ledger.close()
            database.analyze("images", report.requested)
    return ImagesStageReport(
        report.requested if report else 0,
        report,
        known_images(database, store.id),
        tuple(new),
        time.perf_counter() - began,
    )


class _Ledger:
    """Enters results into `images` in batches, one batch at a time, while further results come."""

    def __init__(self, database: Database, images: ImageStore, day: date, asked_at: datetime) -> None:
        self._database = database
        self._images = images
        self._day = day
        self._asked_at = asked_at
        self._pending: list[ImageResult] = []
        self._open: list[ImageResult] = []
        self._committing: asyncio.Future[None] | None = None

    async def add(self, result: ImageResult) -> None:
        """Take a result; waits where the batch before the last is not committed yet."""
        self._pending.append(result)
        if len(self._pending) < COMMIT_RESULTS:
            return
        if self._committing is not None:
            await self._committing
        self._open, self._pending = self._pending, []
        self._committing = asyncio.get_running_loop().run_in_executor(None, self._commit)

    def close(self) -> None:
        """Commit what is left, outside of the event loop and after its end."""
        self._commit()
        self._open, self._pending = self._pending, []
        self._commit()

    def _commit(self) -> None:
        if self._open:
            # The bytes are durable before a row says that they are there.
            self._images.sync()
            record_images(self._database, self._open, day=self._day, asked_at=self._asked_at)
            self._open = []


def picture_page(
    database: Database,
    images: ImageStore,
    store_id: str,
    hashes: Sequence[str],
    *,
    limit: int = SHEET_TILES,
    tile_size: int = 96,
) -> Image | None:
    """A contact sheet of some of a store's pictures; None where no product shows one of them."""
    rows = list(captions(database, store_id, hashes, limit=limit))
    if not rows:
        return None
    tiles = [Tile(_bytes(images, sha256), (title, price)) for sha256, title, price in rows]
    return contact_sheet(tiles, columns=8, tile_size=tile_size)


def picture_sheet(
    database: Database, images: ImageStore, store_id: str, hashes: Sequence[str]
) -> tuple[bytes, str] | None:
    """`picture_page`, small enough for an event's metadata.

    Returns:
        (bytes, MIME type), or None where there is no picture to show.
    """
    page = picture_page(database, images, store_id, hashes)
    return None if page is None else encode_within(page, SHEET_BYTES)


def _bytes(images: ImageStore, sha256: str) -> bytes | None:
    """A picture that was lost or removed leaves a gap: the sheet is to be seen then, too."""
    try:
        return images.read(sha256)
    except PermanentError:
        return None


def _request(due: DueImage, store_id: str) -> ImageRequest:
    return ImageRequest(
        key=due.image_key,
        url=due.url,
        store_id=store_id,
        etag=due.etag,
        last_modified=due.last_modified,
        sha256=due.sha256,
        attempts=due.attempts,
    )
