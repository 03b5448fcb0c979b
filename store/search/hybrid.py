"""Hybrid search: a list ranked by vectors and a full-text list of captions, fused by their ranks.

Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009, "Reciprocal rank fusion outperforms
Condorcet and individual rank learning methods", SIGIR): the score of a row is the sum of
weight / (60 + rank) over the lists that it is in. Rows with equal scores have equal ranks.

The list of vectors has 100 rows, or more if more are wanted; what is behind them counts as not in
the list. The full-text list has all rows that match, up to 20,000.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from store.search.gallery_search import GallerySearch
from store.search.ranked import Ranked, rank_by_vectors, without

SCORE, TEXT_SCORE = "_fused", "_text_score"
K = 60
_WINDOWS = (100, 1_000, 20_000)  # rows of the list of vectors
_MOST_MATCHES = 20_000
_MOST_TIED = 2_000  # rows with equal full-text scores that are compared by their vectors


@dataclass(frozen=True)
class _Matches:
    """The full-text list: parts, the search that each comes from, row ids, scores and ranks."""

    parts: list[str]
    origin: np.ndarray
    row_ids: np.ndarray
    scores: np.ndarray
    ranks: np.ndarray
    is_cut: bool


def window(count: int) -> int:
    """How many rows the list of vectors has, if so many fused rows are wanted."""
    return next((rows for rows in _WINDOWS if rows >= count), count)


def rank_by_both(
    searches: Sequence[GallerySearch],
    own_parts: frozenset[str],
    words: str,
    weight: float,
    count: int,
) -> Ranked:
    """The `count` best rows by the ranks in both lists, best first.

    Args:
        searches: of the query, one for each gallery.
        own_parts: of the query, which are left out.
        words: to look for in captions.
        weight: of the full-text list, from 0 to 1. The list of vectors has the rest.
        count: the largest number of rows.

    Raises:
        InputError: the query's correction is not compiled into the release.
    """
    for search in searches:
        search.check_compiled()
    listed_rows = window(count)
    vectors = rank_by_vectors(searches, own_parts, listed_rows, listed_rows)
    matches = _matches(searches, own_parts, words)
    listed = vectors.found.rows
    known = set(listed["part_id"].to_pylist())
    others = np.array([n for n, part in enumerate(matches.parts) if part not in known], np.int64)
    needed = others
    if len(others) > count:
        last = matches.ranks[others[count - 1]]
        needed = others[matches.ranks[others] <= last][: count + _MOST_TIED]
        is_tied = bool((matches.ranks[others] <= last).sum() > len(needed))
    else:
        is_tied = False
    more = [
        search.rows(matches.row_ids[rows].tolist())
        for number, search in enumerate(searches)
        if len(rows := needed[matches.origin[needed] == number])
    ]
    vector_ranks = _ranks(listed[vectors.score].to_numpy())
    rows = pa.concat_tables([listed, *more], promote_options="permissive")
    fused = np.zeros(rows.num_rows)
    fused[: len(vector_ranks)] = (1 - weight) / (K + vector_ranks)
    position = {part: n for n, part in enumerate(matches.parts)}
    text = np.array([position.get(part, -1) for part in rows["part_id"].to_pylist()], np.int64)
    is_match = text >= 0
    fused[is_match] += weight / (K + matches.ranks[text[is_match]])
    scores = pa.array(matches.scores[text] if len(matches.parts) else fused, mask=~is_match)
    rows = rows.append_column(SCORE, pa.array(fused)).append_column(TEXT_SCORE, scores)
    order = np.lexsort((-rows[vectors.score].to_numpy(), -fused))[:count]
    notes = vectors.found.notes
    if matches.is_cut:
        notes += (f"hybrid: more than {_MOST_MATCHES:,} captions match; the best were ranked",)
    complete = vectors.found.complete and not matches.is_cut and not is_tied
    found = replace(vectors.found, rows=rows.take(pa.array(order)), complete=complete, notes=notes)
    return Ranked(found, SCORE, vectors.is_all)


def _matches(searches: Sequence[GallerySearch], own_parts: frozenset[str], words: str) -> _Matches:
    """The full-text list over all galleries."""
    tables = [s.gallery.match_captions(words, _MOST_MATCHES, s.where) for s in searches]
    is_cut = any(table.num_rows == _MOST_MATCHES for table in tables)
    tables = [without(table, own_parts) for table in tables]
    origin = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    table = pa.concat_tables(tables)
    scores = table["_score"].to_numpy()
    order = np.lexsort((table["_rowid"].to_numpy(), origin, -scores))
    parts = table["part_id"].take(pa.array(order)).to_pylist()
    row_ids = table["_rowid"].to_numpy()[order]
    ordered = scores[order]
    return _Matches(parts, origin[order], row_ids, ordered, _ranks(ordered), is_cut)


def _ranks(scores: np.ndarray) -> np.ndarray:
    """The ranks, from 1, of scores that do not grow. Equal scores have equal ranks."""
    if not len(scores):
        return np.zeros(0, np.int64)
    is_new = np.concatenate([[True], np.diff(scores) < 0])
    return np.maximum.accumulate(np.where(is_new, np.arange(1, len(scores) + 1), 0))
