"""Filters, queries and grouping in the words of `qdrant_edge`."""

from collections.abc import Collection, Iterator, Sequence
from math import ceil
from typing import Any

import qdrant_edge as engine

from fashion_pipeline.index.points import as_uuid
from fashion_pipeline.index.types import GROUP_FIELD, Payload, PointHit, SearchFilter, Taste, Vector

#: Variants share pictures and so crowd the top together; most searches find their groups in one fetch. A further one
#: expects groups half as large again as those that were found.
_OVERFETCH, _CROWD = 4, 1.5


def conditions_of(asked: SearchFilter | None) -> tuple[list[Any], list[Any]]:
    """What a point must be and must not be."""
    must: list[Any] = []
    must_not: list[Any] = []
    if asked is None:
        return must, must_not
    for key, values in asked.matches().items():
        must.append(_match(key, values))
    if asked.price_min is not None or asked.price_max is not None:
        prices = engine.RangeFloat(gte=asked.price_min, lte=asked.price_max)
        must.append(engine.FieldCondition("price", range=prices))
    if asked.exclude_ids:
        must_not.append(engine.HasIdCondition(set(asked.exclude_ids)))
    if asked.exclude_groups:
        must_not.append(_match(GROUP_FIELD, asked.exclude_groups))
    return must, must_not


def filter_of(asked: SearchFilter | None) -> engine.Filter | None:
    """The engine's filter; None when every point passes."""
    return _filter(*conditions_of(asked))


def run_query(
    shard: engine.EdgeShard,
    query: Vector | Taste,
    *,
    limit: int,
    asked: SearchFilter | None,
    fields: Sequence[str] | None,
    exact: bool,
) -> list[PointHit]:
    """The `limit` best points, best first."""
    found = _fetch(shard, _scoring(query), limit, filter_of(asked), fields, exact)
    return [_hit(point, fields) for point in found]


def run_grouped_query(
    shard: engine.EdgeShard,
    query: Vector | Taste,
    group_by: str,
    *,
    limit: int,
    asked: SearchFilter | None,
    fields: Sequence[str] | None,
    exact: bool,
) -> list[PointHit]:
    """The best point of each of the `limit` best groups, best first.

    Fetches more points than asked and, while groups are missing, again without those found. Every
    fetch finds new groups, sees points without one for the first time, or is the last: a group larger than
    a fetch costs rounds, never results.
    """
    scoring = _scoring(query)
    best: dict[str, PointHit] = {}
    without_group = False
    fetched = 0
    while len(best) < limit:
        must, must_not = conditions_of(asked)
        if without_group:  # asked only when some were seen: on every search it would double the time
            must_not.append(engine.IsEmptyCondition(group_by))
        if best:
            must_not.append(_match(group_by, best))
        expected = max(_OVERFETCH, _CROWD * fetched / max(1, len(best)))
        size = ceil((limit - len(best)) * expected)
        found = _fetch(shard, scoring, size, _filter(must, must_not), (), exact)
        fetched += len(found)
        for start in range(0, size, limit):
            for group, hit in _read(shard, found[start : start + limit], group_by, fields):
                if group is None:
                    without_group = True
                else:
                    best.setdefault(group, hit)
            if len(best) >= limit:
                break
        if len(found) < size:
            break
    # An approximate search may find in a later fetch what it missed in an earlier one.
    return sorted(best.values(), key=lambda hit: -hit.score)[:limit]


def _read(
    shard: engine.EdgeShard,
    found: list[engine.ScoredPoint],
    group_by: str,
    fields: Sequence[str] | None,
) -> Iterator[tuple[str | None, PointHit]]:
    """Group and hit of each point; payloads are read here because most fetched ones are never needed."""
    selector = payload_selector(None if fields is None else [*fields, group_by])
    records = shard.retrieve([point.id for point in found], selector, False)
    payloads = {record.id: record.payload or {} for record in records}
    for point in found:
        payload = payloads[point.id]
        group = payload.get(group_by)
        yield group, PointHit(as_uuid(point.id), float(point.score), _narrowed(payload, fields))


def _match(key: str, values: Collection[str]) -> engine.FieldCondition:
    return engine.FieldCondition(key, match=engine.MatchAny(list(values)))


def _filter(must: list[Any], must_not: list[Any]) -> engine.Filter | None:
    return engine.Filter(must=must or None, must_not=must_not or None) if must or must_not else None


def _scoring(query: Vector | Taste) -> engine.Query:
    # The engine takes arrays as they are; its stubs know only lists.
    if isinstance(query, Taste):
        like: list[Any] = list(query.like)
        unlike: list[Any] = list(query.unlike)
        return engine.Query.RecommendBestScore(engine.RecommendQuery(positives=like, negatives=unlike))
    vector: Any = query
    return engine.Query.Nearest(vector)


def _fetch(
    shard: engine.EdgeShard,
    scoring: engine.Query,
    limit: int,
    filter_: engine.Filter | None,
    fields: Sequence[str] | None,
    exact: bool,
) -> list[engine.ScoredPoint]:
    return shard.query(
        engine.QueryRequest(
            limit=limit,
            query=scoring,
            filter=filter_,
            with_payload=payload_selector(fields),
            params=engine.SearchParams(exact=True) if exact else None,
        )
    )


def payload_selector(fields: Sequence[str] | None) -> bool | list[str]:
    """Everything for None, nothing for an empty sequence."""
    return True if fields is None else list(fields) or False


def _hit(point: engine.ScoredPoint, fields: Sequence[str] | None) -> PointHit:
    return PointHit(as_uuid(point.id), float(point.score), _narrowed(point.payload or {}, fields))


def _narrowed(payload: Payload, fields: Sequence[str] | None) -> Payload:
    return payload if fields is None else {key: payload[key] for key in fields if key in payload}
