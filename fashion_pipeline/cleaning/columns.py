"""Helpers of the cleaner that look at whole columns: lists flattened, ids checked, rows sorted out."""

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, TypeVar

import pyarrow as pa

from fashion_pipeline.cleaning.cells import text_cell
from fashion_pipeline.cleaning.reasons import Reason, RowWarning
from fashion_pipeline.cleaning.rejections import RejectedItem, rejected_batch
from fashion_pipeline.cleaning.schema import DELETION_SCHEMA
from fashion_pipeline.cleaning.text import clean_line, printable
from fashion_pipeline.cleaning.values import is_placeholder, placeholders
from fashion_pipeline.feeds.items import Action, ItemBatch

V = TypeVar("V")

#: PostgreSQL index entries end below 2,704 bytes; Google allows 50 characters.
MAX_EXTERNAL_ID = 255

#: Reasons found for the items of a batch, with what was found in words, by position.
Problems = dict[int, list[tuple[Reason, str]]]
#: Warnings of the rows that have some, by position.
Notes = dict[int, list[RowWarning]]


def column(columns: dict[str, Sequence[Any]], name: str, size: int) -> Sequence[Any]:
    """The values of a column, None for each item where the feed has none."""
    found = columns.get(name)
    return found if found is not None else [None] * size


def spread(table: Mapping[Any, V], values: Sequence[Any]) -> list[V]:
    """What `table` says of each of `values`, which are its keys."""
    if len(table) == 1:
        return list(table.values()) * len(values)
    return list(map(table.__getitem__, values))


def flat(name: str, values: Sequence[Any]) -> Sequence[Any]:
    """The column with one hashable value per item, where the feed gave lists."""
    types = set(map(type, values))
    if types <= {str, NoneType}:
        return values
    if types == {list}:
        # Items whose feed said the same share one list.
        table = {id(value): value for value in values}
        return spread({key: _one(name, value) for key, value in table.items()}, list(map(id, values)))
    return [_one(name, value) for value in values]


def _one(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value if value is None else str(value)
    parts = list(dict.fromkeys(str(part) for part in value if part is not None and str(part).strip()))
    if name in ("image_url", "additional_image_urls"):
        return tuple(parts)
    if not parts:
        return None
    # Two prices in two elements stay two prices; colours of one item are listed as Google lists them.
    joint = {"price": " | ", "sale_price": " | ", "color": "/", "size": "/", "gender": "/", "material": "/"}
    return joint[name].join(parts) if name in joint else parts[0]


def clean_ids(values: Sequence[str | None]) -> list[str | None]:
    """Ids as text without stray blanks; None for nothing and placeholders."""
    if all(values):
        joined = "".join(values)  # type: ignore[arg-type]
        if joined.isascii() and joined.isprintable() and " " not in joined:
            cleaned = list(values)
            if placeholders("external_id").isdisjoint(map(str.casefold, values)):  # type: ignore[arg-type]
                return cleaned
    cleaned = [clean_line(value) if value else None for value in values]
    return [
        None if value is not None and is_placeholder("external_id", value) else value for value in cleaned
    ]


def check_ids(ids: list[str | None], bad: Problems) -> None:
    """Note missing and over-long ids in `bad`; the latter become None in `ids`."""
    for i, value in enumerate(ids):
        if value is None:
            bad[i] = [(Reason.EXTERNAL_ID_MISSING, "no id")]
        elif len(value) > MAX_EXTERNAL_ID:
            bad[i] = [(Reason.EXTERNAL_ID_TOO_LONG, f"the id has {len(value)} characters")]
            ids[i] = None


def find_deletions(actions: Sequence[str | None] | None, ids: list[str | None], bad: Problems) -> set[int]:
    """Items that ask to be deleted, those without an id (already in `bad`) among them."""
    deleted: set[int] = set()
    if actions is None or not any(actions):
        return deleted
    for i, action in enumerate(actions):
        wanted = action.strip().lower() if action else Action.UPSERT
        if wanted == Action.DELETE:
            deleted.add(i)
        elif wanted != Action.UPSERT:
            bad.setdefault(i, []).append((Reason.ACTION_UNKNOWN, f"action {action!r}"))
    return deleted


def clean_texts(field: str, values: Sequence[str | None]) -> list[str | None]:
    """Prose is remembered within the batch only: variants share it, and it is long."""
    make = text_cell(field, None)
    return spread({value: make(value).value for value in set(values)}, values)


def printables(values: Sequence[str]) -> Sequence[str]:
    """`printable` of each."""
    return values if "".join(values).isascii() else [printable(value) for value in values]


def raw_attributes(members: tuple[str | None, ...]) -> str | None:
    """JSON members as one JSON object; None where there is none."""
    found = [member for member in members if member is not None]
    return "{" + ", ".join(found) + "}" if found else None


def warning_lists(notes: Notes, size: int) -> list[list[str] | None]:
    """Warnings by position as one list per row, None for rows without."""
    lists: list[list[str] | None] = [None] * size
    for i, warnings in notes.items():
        lists[i] = [warning.value for warning in dict.fromkeys(warnings)]
    return lists


def rejected_rows(batch: ItemBatch, bad: Problems, ids: list[str | None]) -> pa.RecordBatch:
    """The items in `bad` as a batch of REJECTED_SCHEMA, in the order of the feed."""
    rows = sorted(bad)
    return rejected_batch(
        [
            RejectedItem(
                ids[i],
                batch.record[i],
                batch.place[i],
                tuple(dict.fromkeys(reason for reason, _ in bad[i])),
                "; ".join(dict.fromkeys(detail for _, detail in bad[i])),
                batch.raw(i),
            )
            for i in rows
        ]
    )


def deleted_rows(batch: ItemBatch, deleted: set[int], bad: Problems, ids: list[str | None]) -> pa.RecordBatch:
    """The delete records that are not in `bad` as a batch of DELETION_SCHEMA."""
    rows = sorted(deleted.difference(bad))
    arrays = [
        pa.array([ids[i] for i in rows], pa.string()),
        pa.array([batch.record[i] for i in rows], pa.int64()),
        pa.array([printable(batch.place[i]) for i in rows], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=DELETION_SCHEMA)
