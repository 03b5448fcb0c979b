"""Corrections that are not compiled into the release, applied to the best raw candidates.

The method is fitted on the release's banks and applied to the candidates' vectors. Items outside
the candidates are not scored, so the result is not proven to be the best.
"""

from typing import Any

import numpy as np

from store.arrow import as_matrix
from store.corrections import prepare_many
from store.corrections.prepared import Prepared
from store.errors import InputError
from store.search.column_plan import WeightedInput, raw_query
from store.search.corrected_search import RankedRows, rank_rows
from store.search.open_gallery import OpenGallery
from store.search.opened import OpenRelease
from store.search.vector_layout import unfold

_MIN_CANDIDATES = 1_000
_CANDIDATES_PER_ROW = 20
_MOST_CANDIDATES = 100_000  # whose vectors are read, unless more rows are requested
_MOST_PREPARED = 16  # that an open release keeps in memory


def rescore_candidates(
    opened: OpenRelease,
    gallery: OpenGallery,
    inputs: list[WeightedInput],
    correction: tuple[str, dict[str, Any]],
    columns: list[str],
    where: str | None,
    limit: int,
) -> RankedRows:
    """Rescore the best raw candidates by a method.

    Args:
        opened: the release that is searched.
        gallery: to search.
        inputs: the query.
        correction: the method and its parameters. Without parameters, the best that were tried when
            the release was made are used.
        columns: the gallery's columns to return.
        where: an SQL condition on the gallery's columns.
        limit: the largest number of rows to return.

    Returns:
        The `limit` best rows. They are complete only if every row that satisfies `where` was a
        candidate.

    Raises:
        InputError: the release has no bank for one of the inputs.
    """
    count = candidate_count(limit)
    read = list(dict.fromkeys([*columns, "vector", "cluster"]))
    rows, exact, recall = gallery.fetch(raw_query(gallery, inputs), count, read, where)
    items = unfold(as_matrix(rows["vector"]), opened.release.dim)
    clusters = rows["cluster"].to_numpy(zero_copy_only=False)
    score = np.zeros(rows.num_rows, np.float32)
    for given in inputs:
        name = f"{given.modality}->{gallery.modality}"
        applied = _prepared(opened, name, correction).apply(items, clusters)[0]
        raw = items @ given.vector
        corrected = applied.vectors @ given.vector - applied.bias
        # A dynamic method corrects only queries whose top item is a hub.
        is_corrected = applied.flag is None or (rows.num_rows and applied.flag[int(np.argmax(raw))])
        score += np.float32(given.weight) * (corrected if is_corrected else raw)
    best = rank_rows(rows, score, rows["_column_score"].to_numpy(), columns, limit)
    return RankedRows(best, exact and rows.num_rows < count, rows.num_rows, recall)


def candidate_count(limit: int) -> int:
    """How many raw candidates are rescored for a list of `limit` rows."""
    return max(_MIN_CANDIDATES, limit, min(_CANDIDATES_PER_ROW * limit, _MOST_CANDIDATES))


def _prepared(opened: OpenRelease, name: str, correction: tuple[str, dict[str, Any]]) -> Prepared:
    """A method, fitted on the banks of the direction `name`. Fitted once for an open release."""
    method, params = correction
    key = name, method, tuple(sorted(params.items()))
    if key not in opened.prepared:
        if len(opened.prepared) >= _MOST_PREPARED:
            opened.prepared.clear()
        opened.prepared[key] = _fit(opened, name, method, params)
    return opened.prepared[key]


def _fit(opened: OpenRelease, name: str, method: str, params: dict[str, Any]) -> Prepared:
    release = opened.release
    query, _, searched = name.partition("->")
    queries, items = opened.banks.queries(query), opened.banks.items(searched)
    if not len(queries.parts) or not len(items.parts):
        raise InputError(
            f"correct({method!r}): release {release.number} has no bank of {query} queries for the"
            f' {searched} gallery; use correct("none")'
        )
    if not params and (direction := release.directions.get(name)):
        params = _best_params(direction.tried, method)
    return prepare_many(
        [(method, params)],
        query_bank=queries.vectors,
        gallery_bank=items.vectors,
        query_bank_ids=queries.clusters,
        gallery_bank_ids=items.clusters,
    )


def _best_params(tried: list[dict[str, Any]], method: str) -> dict[str, Any]:
    """A method's parameters with the best MRR in the release's selection. Empty (the defaults) if
    the method was not tried."""
    trials = [t for t in tried if t["method"] == method and t.get("mrr") is not None]
    return dict(max(trials, key=lambda t: t["mrr"])["params"]) if trials else {}
