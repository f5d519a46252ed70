"""Which pictures a store is to be asked for, and what came of asking: the work list on `images`."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, LiteralString, Protocol
from urllib.parse import urlsplit

from sqlalchemy import Connection, TextClause, text

from fashion_pipeline.catalog.engine import Database
from fashion_pipeline.cleaning.urls import image_key
from fashion_pipeline.ids import sha256_bytes
from fashion_pipeline.netguard import redact

#: First wait after a transient failure; it doubles with each further one, up to a day.
FIRST_BACKOFF = timedelta(minutes=10)
LONGEST_BACKOFF = timedelta(days=1)

#: Rows of the work list in memory at once (about 5 MB), however many pictures are due.
PAGE = 10_000


@dataclass(frozen=True, slots=True)
class DueImage:
    """A picture to ask for, with what is known of it."""

    image_key: str
    url: str
    etag: str | None
    last_modified: str | None
    sha256: str | None
    attempts: int


class FetchOutcome(Protocol):
    """What came of asking for one picture, as the fetcher tells it; `status` is a member of `ImageStatus`."""

    @property
    def key(self) -> str: ...  # noqa: D102 - the fields are explained where they are made
    @property
    def url(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def sha256(self) -> str | None: ...  # noqa: D102
    @property
    def size(self) -> int | None: ...  # noqa: D102
    @property
    def width(self) -> int | None: ...  # noqa: D102
    @property
    def height(self) -> int | None: ...  # noqa: D102
    @property
    def format(self) -> str | None: ...  # noqa: D102
    @property
    def etag(self) -> str | None: ...  # noqa: D102
    @property
    def last_modified(self) -> str | None: ...  # noqa: D102
    @property
    def http_status(self) -> int | None: ...  # noqa: D102
    @property
    def error(self) -> str | None: ...  # noqa: D102
    @property
    def detail(self) -> str | None: ...  # noqa: D102
    @property
    def retry_after(self) -> float | None: ...  # noqa: D102


_MAIN = """
    SELECT image_key, image_url AS url, updated_at AS changed_at
    FROM products WHERE store_id = :store AND delisted_on IS NULL AND image_key > :after
"""
_FURTHER = "UNION ALL SELECT image_key, url, changed_at FROM further_pictures WHERE image_key > :after"

# What is forbidden is looked at each time: it costs no request, and the settings may allow it by now. What
# robots.txt forbade is due once it is not asked any more.
_DUE_ROW = """
    i.image_key IS NULL
    OR (i.status = 'fetched' AND i.checked_on + :recheck <= :day)
    OR (i.status = 'failed_transient' AND i.next_attempt_at <= now())
    OR i.error = 'forbidden_address'
    OR (i.error = 'robots_disallowed' AND (NOT :obey_robots OR i.host = ANY(CAST(:own_hosts AS text[]))))
"""
# On most days next to nothing: what is known and whose products did not change needs no second look. Then the
# whole store is fastest read at once; where there is a next page, much is due, and pages are read in order.
_CANDIDATES = """
    WITH candidates AS {materialized} (
        SELECT DISTINCT s.image_key FROM ({pictures}) s LEFT JOIN images i USING (image_key)
        WHERE s.changed_at > i.updated_at OR {due_row}
    )
    SELECT image_key FROM candidates ORDER BY image_key LIMIT :page
"""
# Products that share a key may write different cache-busters. The greatest stands for all, and it
# counts as changed only where a product changed after the picture was last asked: else two products
# would take turns for ever.
_DUE = """
    SELECT {columns}
    FROM (
        SELECT s.image_key, max(s.url) AS url, max(s.changed_at) AS changed_at
        FROM ({pictures}) s {only} GROUP BY s.image_key
    ) w LEFT JOIN images i USING (image_key)
    WHERE (w.changed_at > i.updated_at
           AND i.url_sha256 <> encode(sha256(convert_to(w.url, 'UTF8')), 'hex'))
       OR {due_row}
"""
_COLUMNS = "w.image_key, w.url, i.etag, i.last_modified, i.sha256, coalesce(i.attempts, 0)"


class WorkList:
    """The pictures of a store's active products to ask for on a day; iterate once.

    `asked_at` is the database's time of the question, for `record_images`; `total` is how many are due
    then. Pages are read as they are needed, so a picture that another store's run fetched meanwhile is
    left out.
    """

    def __init__(self, connection: Connection, values: dict[str, Any], pictures: LiteralString) -> None:
        self._connection = connection
        self._values = values
        # Two statements, and the keys handed over: in one, a planner that never saw the tables, as on a first
        # day, would compare each picture with each.
        self._first_keys, self._further_keys = (
            text(_CANDIDATES.format(materialized=how, pictures=pictures, due_row=_DUE_ROW))
            for how in ("MATERIALIZED", "NOT MATERIALIZED")
        )
        self._due = text(
            _DUE.format(
                columns=_COLUMNS,
                pictures=pictures,
                due_row=_DUE_ROW,
                only="WHERE s.image_key = ANY(CAST(:keys AS text[]))",
            )
            + "ORDER BY w.image_key"
        )
        self.asked_at: datetime = connection.execute(text("SELECT now()")).scalar_one()
        self._first, self._after = self._read("", self._first_keys)
        self.total = len(self._first)
        if self._after is not None:
            count = _DUE.format(columns="count(*)", pictures=pictures, due_row=_DUE_ROW, only="")
            self.total = connection.execute(text(count), values | {"after": ""}).scalar_one()

    def _read(self, after: str, candidates: TextClause) -> tuple[list[DueImage], str | None]:
        """What is due of the next page of candidates, and the key behind which the page after it starts."""
        values = self._values | {"after": after}
        keys = list(self._connection.scalars(candidates, values | {"page": PAGE}))
        if not keys:
            return [], None
        rows = self._connection.execute(self._due, values | {"keys": keys})
        return [DueImage(*row) for row in rows], keys[-1] if len(keys) == PAGE else None

    def __iter__(self) -> Iterator[DueImage]:
        page, self._first = self._first, []
        yield from page
        while self._after is not None:
            page, self._after = self._read(self._after, self._further_keys)
            yield from page


@contextmanager
def work_list(
    database: Database,
    store_id: str,
    day: date,
    *,
    recheck_after_days: int,
    per_product: int = 1,
    obey_robots: bool = True,
    own_hosts: Iterable[str] = (),
) -> Iterator[WorkList]:
    """The work list of a store; it holds one connection until it is left.

    Args:
        database: the catalogue.
        store_id: store in feeds.yaml.
        day: the day for which the store is brought up to date; pictures get due by it.
        recheck_after_days: age at which a known picture is asked for again.
        per_product: pictures of a product: its main one, then additional ones in the feed's order.
        obey_robots: whether robots.txt is obeyed.
        own_hosts: hosts whose robots.txt is not asked.
    """
    values = {
        "store": store_id,
        "day": day,
        "recheck": recheck_after_days,
        "obey_robots": obey_robots,
        "own_hosts": list(own_hosts),
    }
    with shown_pictures(database, store_id, per_product) as (connection, pictures):
        yield WorkList(connection, values, pictures)


@contextmanager
def shown_pictures(
    database: Database, store_id: str, per_product: int
) -> Iterator[tuple[Connection, LiteralString]]:
    """A connection and the SELECT (image_key, url, changed_at) of the pictures that a store's products show.

    The statement takes `:store` and `:after`, the image key behind which it starts.
    """
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if per_product == 1:
            yield connection, _MAIN
            return
        _stage_further(connection, store_id, per_product - 1)
        try:
            yield connection, _MAIN + _FURTHER
        finally:
            # The connection goes back to the pool. Where it broke, the table went with it.
            if not connection.invalidated:
                connection.execute(text("DROP TABLE further_pictures"))


def _stage_further(connection: Connection, store_id: str, count: int) -> None:
    """Put the keys of the first `count` additional pictures of each product into a temporary table."""
    connection.execute(
        text("CREATE TEMP TABLE further_pictures (image_key text, url text, changed_at timestamptz)")
    )
    for rows in _further(connection, store_id, count):
        connection.execute(
            text(
                "INSERT INTO further_pictures SELECT * FROM unnest("
                "CAST(:keys AS text[]), CAST(:urls AS text[]), CAST(:changed AS timestamptz[]))"
            ),
            {
                "keys": [image_key(url) for url, _ in rows],
                "urls": [url for url, _ in rows],
                "changed": [changed for _, changed in rows],
            },
        )
    connection.execute(text("ANALYZE further_pictures"))


_PRODUCTS_WITH_FURTHER = text(
    """
    SELECT id, additional_image_urls[1:CAST(:count AS int)] AS urls, updated_at
    FROM products
    WHERE store_id = :store AND delisted_on IS NULL AND additional_image_urls IS NOT NULL
      AND (CAST(:after AS uuid) IS NULL OR id > CAST(:after AS uuid))
    ORDER BY id LIMIT 2000
    """
)


def _further(connection: Connection, store_id: str, count: int) -> Iterator[list[tuple[str, datetime]]]:
    """(URL, time of the product's change) of additional pictures, in pages of products."""
    after = None
    while True:
        values = {"store": store_id, "count": count, "after": after}
        products = connection.execute(_PRODUCTS_WITH_FURTHER, values).all()
        if not products:
            return
        yield [(url, row.updated_at) for row in products for url in row.urls]
        after = products[-1].id


# The columns that an outcome sets, with their types: rows travel as one array per column, because a
# statement per row costs both sides several times as much.
_SET = {
    "image_key": "text", "url": "text", "url_sha256": "text", "host": "text", "status": "text", "attempts": "int",
    "next_attempt_at": "timestamptz", "checked_on": "date", "http_status": "int", "error": "text", "detail": "text",
    "etag": "text", "last_modified": "text", "sha256": "text", "size_bytes": "bigint", "width": "int",
    "height": "int", "format": "text",
}  # fmt: skip
_NAMES = ", ".join(_SET)

# A failure keeps the bytes that are known from before; `not_modified` keeps all but the times. The wait
# of a first failure stands in the new row (its own time or what the host asked for); the row that is
# there says how many failures came before.
_RECORD = text(
    """
    INSERT INTO images AS i ({names}, updated_at)
    SELECT {names}, CAST(:asked_at AS timestamptz) FROM unnest({arrays}) AS r ({names})
    ON CONFLICT (image_key) DO UPDATE SET
        url = excluded.url, url_sha256 = excluded.url_sha256, host = excluded.host, status = excluded.status,
        attempts = CASE WHEN excluded.attempts > 0 THEN i.attempts + 1 ELSE 0 END,
        next_attempt_at = excluded.updated_at + greatest(
            excluded.next_attempt_at - excluded.updated_at,
            CASE WHEN excluded.next_attempt_at IS NOT NULL
                 THEN least(CAST(:first AS interval) * power(2, least(i.attempts, 20)), CAST(:longest AS interval))
            END),
        checked_on = greatest(i.checked_on, excluded.checked_on), http_status = excluded.http_status,
        error = excluded.error, detail = excluded.detail, updated_at = excluded.updated_at,
        etag = coalesce(excluded.etag, i.etag),
        last_modified = coalesce(excluded.last_modified, i.last_modified),
        sha256 = coalesce(excluded.sha256, i.sha256), size_bytes = coalesce(excluded.size_bytes, i.size_bytes),
        width = coalesce(excluded.width, i.width), height = coalesce(excluded.height, i.height),
        format = coalesce(excluded.format, i.format),
        decode_error = CASE WHEN excluded.sha256 IS DISTINCT FROM i.sha256 AND excluded.sha256 IS NOT NULL
                            THEN NULL ELSE i.decode_error END
    """.format(
        names=_NAMES,
        arrays=", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _SET.items()),
    )
)


def record_images(
    database: Database, outcomes: Iterable[FetchOutcome], *, day: date, asked_at: datetime
) -> None:
    """Write a batch of outcomes, at most one of each picture, in one statement."""
    # Rows in one order, so that two stores that share pictures cannot deadlock.
    rows = [_row(outcome, day, asked_at) for outcome in sorted(outcomes, key=lambda each: each.key)]
    if rows:
        values: dict[str, Any] = dict(zip(_SET, map(list, zip(*rows, strict=True)), strict=True))
        values |= {"asked_at": asked_at, "first": FIRST_BACKOFF, "longest": LONGEST_BACKOFF}
        with database.connection() as connection:
            connection.execute(_RECORD, values)


def _row(outcome: FetchOutcome, day: date, asked_at: datetime) -> tuple[Any, ...]:
    """The values of `_SET`, in its order."""
    failed = outcome.status.startswith("failed")
    wait = max(FIRST_BACKOFF, timedelta(seconds=outcome.retry_after or 0))
    return (
        outcome.key,
        # The whole URL stands with the product; here it is for people, and may hold a token.
        redact(outcome.url),
        sha256_bytes(outcome.url.encode()),
        urlsplit(outcome.url).hostname or "",
        str(outcome.status) if failed else "fetched",
        int(failed),
        asked_at + wait if outcome.status == "failed_transient" else None,
        day,
        outcome.http_status,
        outcome.error,
        outcome.detail,
        outcome.etag,
        outcome.last_modified,
        outcome.sha256,
        outcome.size,
        outcome.width,
        outcome.height,
        outcome.format,
    )
