"""Correction on request: a method that the release has not compiled, over the best candidates.

The method is measured on the release's banks and applied to the candidates alone, which needs
their vectors and no more. What lies outside the candidates is not seen.
"""

from typing import Any

import lancedb
import numpy as np

from store.arrays import as_matrix
from store.corrections import Applied, prepare_many
from store.errors import InputError
from store.search.corrected_search import ColumnQuery, RankedRows, Weighted, combine, fetch, ranked
from store.search.vector_layout import query_vector, unfold
from store.tables.banks import ReleaseBanks
from store.tables.releases import Release

_CANDIDATES = 1_000
_PER_ROW = 20


def candidates(
    banks: ReleaseBanks,
    release: Release,
    table: lancedb.table.Table,
    modality: str,
    inputs: list[Weighted],
    spec: tuple[str, dict[str, Any]],
    columns: list[str],
    where: str | None,
    limit: int,
) -> RankedRows:
    """The `limit` best of the raw candidates, rescored by a method with its parameters; without
    any, with those that did best when the release was selected.

    Raises:
        InputError: the release has no bank for one of the inputs.
    """
    count = max(_CANDIDATES, _PER_ROW * limit)
    read = list(dict.fromkeys([*columns, "vector", "cluster"]))
    rows = fetch(
        table, ColumnQuery("vector", query_vector(combine(inputs), {}), 0.0), count, read, where
    )
    gallery = unfold(as_matrix(rows["vector"]), release.dim)
    clusters = rows["cluster"].to_numpy(zero_copy_only=False)
    score = np.zeros(rows.num_rows, np.float32)
    for given in inputs:
        name = f"{given.modality}->{modality}"
        applied = apply(banks, release, name, spec, gallery, clusters)
        raw = gallery @ given.vector
        fixed = applied.vectors @ given.vector - applied.bias
        hub = applied.flag is None or (rows.num_rows and applied.flag[int(np.argmax(raw))])
        score += np.float32(given.weight) * (fixed if hub else raw)
    found = ranked(rows, score, rows["_lane"].to_numpy(), columns, limit)
    return RankedRows(found, rows.num_rows < count, rows.num_rows)


def apply(
    banks: ReleaseBanks,
    release: Release,
    name: str,
    spec: tuple[str, dict[str, Any]],
    gallery: np.ndarray,
    clusters: np.ndarray,
) -> Applied:
    """A method measured on the banks of a direction of the release, applied to gallery rows."""
    query, _, searched = name.partition("->")
    asks, items = banks.queries(query), banks.items(searched)
    if not len(asks.parts) or not len(items.parts):
        raise InputError(
            f"correct({spec[0]!r}): release {release.number} has no bank of {query} queries for the"
            f" {searched} gallery; use none"
        )
    method, params = spec
    if not params and (direction := release.directions.get(name)):
        params = _params(direction.tried, method)
    prepared = prepare_many(
        [(method, params)],
        query_bank=asks.vectors,
        gallery_bank=items.vectors,
        query_bank_ids=asks.clusters,
        gallery_bank_ids=items.clusters,
    )
    return prepared.apply(gallery, clusters)[0]


def _params(tried: list[dict[str, Any]], method: str) -> dict[str, Any]:
    """The best setting that the release's selection found for a method, else its defaults."""
    of_method = [t for t in tried if t["method"] == method and t.get("mrr") is not None]
    return dict(max(of_method, key=lambda t: t["mrr"])["params"]) if of_method else {}
