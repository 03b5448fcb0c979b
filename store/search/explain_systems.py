"""Explains what systems beyond one vector add to a hit: parts of its sample, and tokens."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from store.search.aggregate import counted_parts, learned_weights
from store.search.encode import EncodedQuery
from store.search.explanation import Explanation
from store.search.late import token_inputs
from store.search.late_matches import token_matches
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.ranked import gallery_searches


def with_systems(
    opened: OpenRelease,
    query: Query,
    parts: Sequence[EncodedQuery],
    explanation: Explanation,
    part_id: str,
    hit: dict[str, Any],
) -> Explanation:
    """An explanation with what learned weights and late interaction add to it.

    Args:
        opened: the release that was searched.
        query: of a batch, one query alone.
        parts: the query, encoded, or the parts of a compound query.
        explanation: of the hit.
        part_id: of the hit.
        hit: its row in the result.
    """
    weights = learned_weights(opened, query, [i for part in parts for i in part.inputs])
    if weights is not None:
        own_parts = frozenset().union(*(part.own_parts for part in parts))
        searches = gallery_searches(opened, query, parts)
        counted = counted_parts(searches, hit["id"], own_parts, weights)
        explanation = replace(explanation, counted=counted)
    if query.interaction is not None:
        (inputs,) = token_inputs(opened, query, parts)
        matched = token_matches(opened, query, inputs, part_id)
        explanation = replace(explanation, tokens=matched)
    return explanation
