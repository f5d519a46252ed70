"""What a materialization is compared with: the earlier ones of the same store, as Dagster keeps them.

For people only: no decision of the line rests on Dagster's history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from fashion_pipeline.defs import metadata as md
from fashion_pipeline.defs.partitions import LinePartition, partition_of
from fashion_pipeline.images.plot import Series, line_plot
from fashion_pipeline.images.sheet import encode_within

#: Days, or materializations where there is no day, that a plot shows: a month tells a trend from a weekday.
LENGTH = 30
#: Low and small: a plot is kept with every event of Dagster's log.
PLOT_HEIGHT, PLOT_BYTES = 220, 12_000


@dataclass(frozen=True)
class Past:
    """One earlier materialization: what it is called, and its figures."""

    label: str
    run_id: str
    figures: Mapping[str, float]


def compared(
    context: dg.AssetExecutionContext,
    result: dg.MaterializeResult[None],
    *,
    figures: Sequence[str],
    trend: str,
) -> dg.MaterializeResult[None]:
    """`result` with its `figures` set beside those of the last materialization, and a plot of `trend`.

    The last one is, for a partition, that of the same store for this day or the nearest earlier one.
    """
    told: dict[str, Any] = dict(result.metadata or {})
    where = partition_of(context) if context.has_partition_key else None
    label = where.day.isoformat() if where else "now"
    past = _past(context, where)
    now = {name: number for name, value in told.items() if (number := _number(value)) is not None}
    added: md.Metadata = {}
    if past:
        last = past[-1]
        added["since_last"] = md.table(
            {
                "figure": md.readable(name),
                "now": now[name],
                "last": last.figures[name],
                "difference": _signed(now[name] - last.figures[name]),
            }
            for name in figures
            if name in now and name in last.figures
        )
        added |= md.texts(last=f"{last.label}, run {last.run_id[:8]}")
    points = {each.label: each.figures[trend] for each in past if trend in each.figures}
    if trend in now:
        # A day that is materialized again shows what it is now.
        points[label] = now[trend]
    if len(points) > 1:
        title = f"{md.readable(trend)}{f' of {where.store}' if where else ''}"
        days, values = zip(*list(points.items())[-LENGTH:], strict=True)
        plot = line_plot([Series(md.readable(trend), values)], labels=days, title=title, height=PLOT_HEIGHT)
        added |= md.picture(encode_within(plot, PLOT_BYTES), title, name="trend")
    return result._replace(metadata=told | added)


def _past(context: dg.AssetExecutionContext, where: LinePartition | None) -> list[Past]:
    """Earlier materializations, the last one last."""
    if where is None:
        events = context.instance.fetch_materializations(context.asset_key, limit=LENGTH)
        records = list(reversed(events.records))
        return [_told(record, _clock(record.timestamp)) for record in records]
    days = [where.day - timedelta(days=back) for back in range(LENGTH)]
    keys = {str(LinePartition(where.store, day).key): day for day in days}
    wanted = dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=list(keys))
    events = context.instance.fetch_materializations(wanted, limit=2 * LENGTH)
    newest: dict[date, Past] = {}
    for record in events.records:
        day = keys[str(record.partition_key)]
        newest.setdefault(day, _told(record, day.isoformat()))
    return [newest[day] for day in sorted(newest)]


def _told(record: dg.EventLogRecord, label: str) -> Past:
    materialization = record.asset_materialization
    assert materialization is not None
    numbers = {name: _number(value) for name, value in materialization.metadata.items()}
    return Past(
        label,
        record.run_id,
        {name: number for name, number in numbers.items() if number is not None},
    )


def _clock(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%m-%d %H:%M")


def _number(value: object) -> float | None:
    plain = value.value if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue) else None
    return None if plain is None else float(plain) if isinstance(plain, float) else int(plain)


def _signed(difference: float) -> str:
    if not difference:
        return "0"
    return f"{difference:+,.4g}" if isinstance(difference, float) else f"{difference:+,}"
