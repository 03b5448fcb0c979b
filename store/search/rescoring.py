"""Corrections that are not compiled into the release, applied to the best raw candidates.

The method is fitted on the release's banks and applied to the candidates' vectors. Items outside
the candidates are not scored, so the result is not proven to be the best.
"""

from typing import Any

import numpy as np

from store.arrow import as_matrix
from store.corrections import Applied, prepare_many
from store.errors import InputError
from store.search.corrected_search import (
    RankedRows,
    WeightedInput,
    rank_rows,
    raw_query,
)
from store.search.open_gallery import OpenGallery
from store.search.vector_layout import unfold
from store.tables.banks import Banks
from store.tables.releases import Release

_MIN_CANDIDATES = 1_000
_CANDIDATES_PER_ROW = 20


def rescore_candidates(
    banks: Banks,
    release: Release,
    gallery: OpenGallery,
    inputs: list[WeightedInput],
    correction: tuple[str, dict[str, Any]],
    columns: list[str],
    where: str | None,
    limit: int,
) -> RankedRows:
    """Rescore the best raw candidates by a method.

    Args:
        banks: of the release.
        release: the release that is searched.
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
    count = max(_MIN_CANDIDATES, _CANDIDATES_PER_ROW * limit)
    read = list(dict.fromkeys([*columns, "vector", "cluster"]))
    rows, exact, recall = gallery.fetch(raw_query(gallery, inputs), count, read, where)
    items = unfold(as_matrix(rows["vector"]), release.dim)
    clusters = rows["cluster"].to_numpy(zero_copy_only=False)
    score = np.zeros(rows.num_rows, np.float32)
    for given in inputs:
        name = f"{given.modality}->{gallery.modality}"
        applied = _apply(banks, release, name, correction, items, clusters)
        raw = items @ given.vector
        corrected = applied.vectors @ given.vector - applied.bias
        # A dynamic method corrects only queries whose top item is a hub.
        is_corrected = applied.flag is None or (rows.num_rows and applied.flag[int(np.argmax(raw))])
        score += np.float32(given.weight) * (corrected if is_corrected else raw)
    best = rank_rows(rows, score, rows["_column_score"].to_numpy(), columns, limit)
    return RankedRows(best, exact and rows.num_rows < count, rows.num_rows, recall)


def _apply(
    banks: Banks,
    release: Release,
    name: str,
    correction: tuple[str, dict[str, Any]],
    gallery: np.ndarray,
    clusters: np.ndarray,
) -> Applied:
    """Fit a method on the banks of the direction `name` and apply it to gallery rows."""
    query, _, searched = name.partition("->")
    queries, items = banks.queries(query), banks.items(searched)
    method, params = correction
    if not len(queries.parts) or not len(items.parts):
        raise InputError(
            f"correct({method!r}): release {release.number} has no bank of {query} queries for the"
            f' {searched} gallery; use correct("none")'
        )
    if not params and (direction := release.directions.get(name)):
        params = _best_params(direction.tried, method)
    prepared = prepare_many(
        [(method, params)],
        query_bank=queries.vectors,
        gallery_bank=items.vectors,
        query_bank_ids=queries.clusters,
        gallery_bank_ids=items.clusters,
    )
    return prepared.apply(gallery, clusters)[0]


def _best_params(tried: list[dict[str, Any]], method: str) -> dict[str, Any]:
    """A method's parameters with the best MRR in the release's selection. Empty (the defaults) if
    the method was not tried."""
    trials = [t for t in tried if t["method"] == method and t.get("mrr") is not None]
    return dict(max(trials, key=lambda t: t["mrr"])["params"]) if trials else {}
