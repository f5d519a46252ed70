"""Rows of the rejected file: what was refused, where it stood, why, and its raw content."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from fashion_pipeline.cleaning.reasons import Reason, Severity
from fashion_pipeline.cleaning.schema import REJECTED_SCHEMA
from fashion_pipeline.cleaning.text import printable

#: A detail is a line for a person; the whole content stands in `raw`.
_LONGEST_DETAIL = 500


@dataclass(frozen=True)
class RejectedItem:
    """One refused item or broken record; `raw` is JSON text."""

    external_id: str | None
    record: int
    place: str
    reasons: tuple[Reason, ...]
    detail: str
    raw: str


def severity(reasons: Sequence[Reason]) -> Severity:
    """Quarantine where items conflict: each alone would have been clean."""
    return Severity.QUARANTINE if Reason.ID_CONFLICT in reasons else Severity.ERROR


def rejected_batch(items: Sequence[RejectedItem]) -> pa.RecordBatch:
    """The items as a batch of REJECTED_SCHEMA, in their order."""
    return pa.RecordBatch.from_arrays(
        [
            pa.array([item.external_id for item in items], pa.string()),
            pa.array([item.record for item in items], pa.int64()),
            pa.array([printable(item.place) for item in items], pa.string()),
            pa.array([[reason.value for reason in item.reasons] for item in items], pa.list_(pa.string())),
            pa.array([severity(item.reasons).value for item in items], pa.string()),
            pa.array([printable(item.detail)[:_LONGEST_DETAIL] for item in items], pa.string()),
            pa.array([printable(item.raw) for item in items], pa.string()),
        ],
        schema=REJECTED_SCHEMA,
    )
