"""Filters, queries and answers in the words of `qdrant_client`."""

from collections.abc import Sequence
from typing import Any

from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from fashion_pipeline.index.points import as_uuid
from fashion_pipeline.index.types import GROUP_FIELD, PointHit, SearchFilter, Taste, Vector


def filter_of(asked: SearchFilter | None) -> models.Filter | None:
    """The server's filter; None when every point passes."""
    if asked is None:
        return None
    must: list[models.Condition] = [
        models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))
        for key, values in asked.matches().items()
    ]
    if asked.price_min is not None or asked.price_max is not None:
        prices = models.Range(gte=asked.price_min, lte=asked.price_max)
        must.append(models.FieldCondition(key="price", range=prices))
    must_not: list[models.Condition] = []
    if asked.exclude_ids:
        must_not.append(models.HasIdCondition(has_id=[str(id_) for id_ in asked.exclude_ids]))
    if asked.exclude_groups:
        groups = models.MatchAny(any=sorted(asked.exclude_groups))
        must_not.append(models.FieldCondition(key=GROUP_FIELD, match=groups))
    return models.Filter(must=must or None, must_not=must_not or None) if must or must_not else None


def payload_selector(fields: Sequence[str] | None) -> bool | list[str]:
    """Everything for None, nothing for an empty sequence."""
    return True if fields is None else list(fields) or False


def query_arguments(
    query: Vector | Taste,
    *,
    limit: int,
    asked: SearchFilter | None,
    group_by: str | None,
    fields: Sequence[str] | None,
    params: models.SearchParams | None,
) -> dict[str, Any]:
    """Keyword arguments of `query_points`, or of `query_points_groups` with `group_by`."""
    scoring: list[float] | models.RecommendQuery
    if isinstance(query, Taste):
        scoring = models.RecommendQuery(
            recommend=models.RecommendInput(
                positive=[vector.tolist() for vector in query.like],
                negative=[vector.tolist() for vector in query.unlike],
                strategy=models.RecommendStrategy.BEST_SCORE,
            )
        )
    else:
        scoring = query.tolist()
    arguments: dict[str, Any] = {
        "query": scoring,
        "limit": limit,
        "query_filter": filter_of(asked),
        "with_payload": payload_selector(fields),
    }
    if params is not None:
        arguments["search_params"] = params
    if group_by is not None:
        arguments |= {"group_by": group_by, "group_size": 1}
    return arguments


def hits_of(answer: QueryResponse | models.GroupsResult) -> list[PointHit]:
    """The found points, best first; of a grouped answer the best of each group."""
    points = (
        [group.hits[0] for group in answer.groups if group.hits]
        if isinstance(answer, models.GroupsResult)
        else answer.points
    )
    return [PointHit(as_uuid(point.id), float(point.score), point.payload or {}) for point in points]
