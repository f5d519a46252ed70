"""`product_images`: the bytes of the pictures of a store's active products."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.catalog.images import (
    DueImage,
    ImageOutcome,
    captions,
    due_images,
    known_images,
    record_images,
)
from fashion_pipeline.feeds.config import StoreConfig
from fashion_pipeline.images.fetcher import ImageFetcher
from fashion_pipeline.images.limits import FetchLimits
from fashion_pipeline.images.sheet import Tile, contact_sheet, encode_within
from fashion_pipeline.images.store import ImageStore
from fashion_pipeline.images.types import FetchReport, ImageRequest, ImageResult
from fashion_pipeline.netguard import AddressPolicy

Progress = Callable[[int, int | None], None]

#: Results per transaction: a killed run repeats at most these requests.
COMMIT_RESULTS = 200

#: Pictures on a contact sheet; with more, none is recognizable under 60 KB.
SHEET_TILES = 40


@dataclass(frozen=True)
class ImagesStageReport:
    """What asking for a store's pictures brought, in pictures."""

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

    A picture that fails is a row with its reason, never an error of the run.
    """
    began = time.perf_counter()
    with database.lock(store.id, "product_images"):
        asked_at, due = due_images(
            database, store.id, day, recheck_after_days=store.images.recheck_after_days
        )
        report: FetchReport | None = None
        new: list[str] = []
        if due:
            pending: list[ImageOutcome] = []
            done = 0
            attempts = {each.image_key: each.attempts for each in due}

            def flush() -> None:
                record_images(database, pending, day=day, asked_at=asked_at)
                pending.clear()

            def on_result(result: ImageResult) -> None:
                nonlocal done
                done += 1
                if result.stored and result.sha256 is not None:
                    new.append(result.sha256)
                pending.append(_outcome(result, attempts[result.key]))
                if len(pending) >= COMMIT_RESULTS:
                    flush()
                if progress is not None:
                    progress(done, len(due))

            fetcher = ImageFetcher(policy, images, limits)
            report = asyncio.run(fetcher.fetch([_request(each, store.id) for each in due], on_result))
            flush()
    return ImagesStageReport(
        len(due), report, known_images(database, store.id), tuple(new), time.perf_counter() - began
    )


def picture_sheet(
    database: Database, images: ImageStore, store_id: str, hashes: tuple[str, ...]
) -> tuple[bytes, str] | None:
    """A contact sheet of some of a store's pictures, small enough for an event's metadata.

    Returns:
        (bytes, MIME type), or None where there is no picture to show.
    """
    rows = list(captions(database, store_id, hashes, limit=SHEET_TILES))
    if not rows:
        return None
    tiles = [Tile(images.read(sha256), (title, price)) for sha256, title, price in rows]
    return encode_within(contact_sheet(tiles, columns=8, tile_size=96), 45_000)


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


def _outcome(result: ImageResult, attempts: int) -> ImageOutcome:
    return ImageOutcome(
        image_key=result.key,
        url=result.url,
        status=str(result.status),
        sha256=result.sha256,
        size_bytes=result.size,
        width=result.width,
        height=result.height,
        format=result.format,
        etag=result.etag,
        last_modified=result.last_modified,
        http_status=result.http_status,
        error=result.error,
        detail=result.detail,
        attempts=attempts,
        retry_after=result.retry_after,
    )
