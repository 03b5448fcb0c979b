"""Chooses the gallery of a query, and whether its parts or their moments: `among("auto")`.

UniversalRAG (Yeo et al. 2025, arXiv 2504.20734) routes a query to one modality and granularity:
one list of all favours the items of the query's own modality. Its router is a language model or a
trained classifier; here nothing is trained. The best corrected score of a query says little by
itself: it is higher where there are more rows, as among moments. So it is compared with the best
scores of the queries of the release's bank in the same table, where rows of their own cluster do
not count. These are scores of queries whose answer is not there. The gap of a table is

    (best score - mean of the bank's) / their standard deviation,

and the table with the largest gap is searched. For several inputs, means and deviations are
weighted sums. The bank's scores are measured once for an open release.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from store.errors import InputError
from store.search.column_plan import WeightedInput
from store.search.corrected_search import search_many
from store.search.encode import EncodedQuery
from store.search.gallery_search import GallerySearch
from store.search.moments import conflict
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.query_options import AUTO
from store.search.ranked import gallery_search, rank_by_vectors

BANK = 256  # queries of the bank whose best scores are measured
_DEPTH = 64  # rows among which the best one of another cluster is looked for
_LEAST = 8  # such scores; a table with fewer has the scale of its direction


class Route(NamedTuple):
    """A table that a query can search: its modality, whether of moments, and the gap."""

    modality: str
    in_moments: bool
    gap: float

    def __str__(self) -> str:
        return f"{self.modality}{' moments' if self.in_moments else ''} {self.gap:.2f}"


def routed(opened: OpenRelease, query: Query, part: EncodedQuery) -> tuple[Query, str]:
    """A query of `among("auto")` at the gallery and the level with the largest gap.

    Args:
        opened: the release.
        query: its options.
        part: its inputs, encoded.

    Returns:
        The query at that gallery, and a note on the gaps.

    Raises:
        InputError: the correction is not compiled into the release.
    """
    candidates = routes(opened, query, part)
    best = candidates[0]
    note = f"auto: by gaps {', '.join(map(str, candidates))}"
    return replace(query, gallery=best.modality, in_moments=best.in_moments), note


def check_route(query: Query) -> None:
    """Raise InputError for a query that cannot be routed."""
    if query.gallery == AUTO and query.compound is not None:
        raise InputError(
            f'among("{AUTO}") chooses a gallery for one query: a compound query has'
            ' several, so name a gallery or "any"'
        )


def routes(opened: OpenRelease, query: Query, part: EncodedQuery) -> list[Route]:
    """The tables that a query can search, by falling gap. Those without any row come last."""
    candidates = []
    for modality in opened.release.modalities:
        for in_moments in (False, True):
            if in_moments and (opened.open_moments(modality) is None or conflict(query)):
                continue
            own = replace(query, gallery=modality, in_moments=in_moments)
            search = gallery_search(opened, own, part.inputs, modality)
            search.check_compiled()
            count = 1 + len(part.own_parts)
            rows = rank_by_vectors([search], part.own_parts, count, count).answer.rows
            gap = -np.inf
            if rows.num_rows:
                mean, deviation = _scale(opened, search, in_moments)
                gap = (rows["_score"][0].as_py() - mean) / deviation
            candidates.append(Route(modality, in_moments, float(gap)))
    return sorted(candidates, key=lambda route: -route.gap)


def _scale(opened: OpenRelease, search: GallerySearch, in_moments: bool) -> tuple[float, float]:
    """Mean and standard deviation of the best scores of queries whose answer is not there."""
    mean, deviation = 0.0, 0.0
    for i in search.inputs:
        is_corrected = i.modality in (search.compiled_directions or {})
        key = i.modality, search.gallery.modality, in_moments, is_corrected
        if key not in opened.best_scores:
            scores = best_scores(opened, search, i.modality)
            own = (float(scores.mean()), float(scores.std())) if len(scores) >= _LEAST else None
            opened.best_scores[key] = own
        measured = opened.best_scores[key] or search.scale_of(i.modality)
        mean += i.weight * measured[0]
        deviation += abs(i.weight) * measured[1]
    return mean, deviation or 1.0


def best_scores(opened: OpenRelease, search: GallerySearch, modality: str) -> np.ndarray:
    """(b,) the best corrected scores of the bank's queries among rows of other clusters.

    Args:
        opened: the release.
        search: of the table; its corrections are used.
        modality: of the queries.
    """
    bank = opened.banks.queries(modality)
    queries = [[WeightedInput(modality, vector, 1.0)] for vector in bank.vectors[:BANK]]
    directions = search.compiled_directions or {}
    if not queries:
        return np.zeros(0, np.float32)
    ranked = search_many(search.gallery, queries, directions, ["cluster"], None, _DEPTH)
    best: list[float] = []
    for rows, cluster in zip((each.rows for each in ranked), bank.clusters, strict=False):
        clusters = np.asarray(rows["cluster"].to_pylist())
        others = np.flatnonzero(clusters != cluster)
        best += [rows["_score"][int(others[0])].as_py()] if len(others) else []
    return np.array(best, np.float32)


def routed_batch(
    opened: OpenRelease, query: Query, parts: Sequence[Sequence[EncodedQuery]]
) -> tuple[list[Query], list[tuple[str, ...]]]:
    """Each query of a batch at its gallery, and its notes: the query itself if it names one."""
    if query.gallery != AUTO:
        return [query] * len(parts), [()] * len(parts)
    check_route(query)
    made = [routed(opened, query, each[0]) for each in parts]
    return [own for own, _ in made], [(note,) for _, note in made]
