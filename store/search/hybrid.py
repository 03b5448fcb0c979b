"""Hybrid search: a list ranked by vectors and full-text lists, fused by their ranks.

One full-text list ranks captions. Another one ranks the words that items were given
(`store.tables.words`), if the query or the release says so.

Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009, "Reciprocal rank fusion outperforms
Condorcet and individual rank learning methods", SIGIR): the score of a row is the sum of
weight / (60 + rank) over the lists that it is in. Rows with equal scores have equal ranks.

The list of vectors has 100 rows, or more if more are wanted; what is behind them counts as not in
the list. A full-text list has all rows that match, up to 20,000.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from store.errors import InputError
from store.search.full_text import FullText
from store.search.gallery_search import GallerySearch
from store.search.ranked import Ranked, rank_by_vectors, without
from store.tables.words import WORDS_TEXT

SCORE, TEXT_SCORE = "_fused", "_text_score"
K = 60
_WINDOWS = (100, 1_000, 20_000)  # rows of the list of vectors
_MOST_MATCHES = 20_000
_MOST_TIED = 2_000  # rows with equal full-text scores that are compared by their vectors


@dataclass(frozen=True)
class _Matches:
    """The rows of the full-text lists, in the order of what these add to their fused scores.

    Attributes:
        parts: their part ids.
        origin: (n,) the search that each comes from.
        row_ids: (n,) of the gallery.
        scores: (n,) float64, of the caption; not a number if only other lists have the row.
        added: (n,) float64, what the lists add to the fused score. It does not grow.
        is_cut: whether more rows match than were read.
    """

    parts: list[str]
    origin: np.ndarray
    row_ids: np.ndarray
    scores: np.ndarray
    added: np.ndarray
    is_cut: bool


def window(count: int) -> int:
    """How many rows the list of vectors has, if so many fused rows are wanted."""
    return next((rows for rows in _WINDOWS if rows >= count), count)


def rank_by_both(
    searches: Sequence[GallerySearch],
    own_parts: frozenset[str],
    words: str,
    full_text: FullText,
    count: int,
) -> Ranked:
    """The `count` best rows by the ranks in all lists, best first.

    Args:
        searches: of the query, one for each gallery.
        own_parts: of the query, which are left out.
        words: to look for in captions and in the words of items.
        full_text: the weight of each full-text list, and whether the words of items are one.
        count: the largest number of rows.

    Raises:
        InputError: the query's correction is not compiled into the release, or the items of a
            gallery have no words, and the query asks for them.
    """
    for search in searches:
        search.check_compiled()
    listed_rows = window(count)
    vectors = rank_by_vectors(searches, own_parts, listed_rows, listed_rows)
    weight = full_text.weight
    matches = _matches(searches, own_parts, words, full_text)
    listed = vectors.answer.rows
    known = set(listed["part_id"].to_pylist())
    others = np.array([n for n, part in enumerate(matches.parts) if part not in known], np.int64)
    needed = others
    if len(others) > count:
        last = matches.added[others[count - 1]]
        needed = others[matches.added[others] >= last][: count + _MOST_TIED]
        is_tied = bool((matches.added[others] >= last).sum() > len(needed))
    else:
        is_tied = False
    more = [
        search.rows(matches.row_ids[rows].tolist())
        for number, search in enumerate(searches)
        if len(rows := needed[matches.origin[needed] == number])
    ]
    vector_ranks = competition_ranks(listed[vectors.score].to_numpy())
    rows = pa.concat_tables([listed, *more], promote_options="permissive")
    fused = np.zeros(rows.num_rows)
    fused[: len(vector_ranks)] = (1 - weight) / (K + vector_ranks)
    position = {part: n for n, part in enumerate(matches.parts)}
    text = np.array([position.get(part, -1) for part in rows["part_id"].to_pylist()], np.int64)
    is_match = text >= 0
    fused[is_match] += matches.added[text[is_match]]
    scores = np.where(is_match, matches.scores[text] if len(matches.parts) else np.nan, np.nan)
    scores = pa.array(scores, mask=np.isnan(scores))
    rows = rows.append_column(SCORE, pa.array(fused)).append_column(TEXT_SCORE, scores)
    order = np.lexsort((-rows[vectors.score].to_numpy(), -fused))[:count]
    notes = vectors.answer.notes
    if matches.is_cut:
        notes += (f"hybrid: more than {_MOST_MATCHES:,} captions match; the best were ranked",)
    complete = vectors.answer.complete and not matches.is_cut and not is_tied
    answer = replace(
        vectors.answer, rows=rows.take(pa.array(order)), complete=complete, notes=notes
    )
    return Ranked(answer, SCORE, vectors.is_all)


def _matches(
    searches: Sequence[GallerySearch],
    own_parts: frozenset[str],
    words: str,
    full_text: FullText,
) -> _Matches:
    """The full-text lists over all galleries, joined."""
    captions = _list(searches, list(range(len(searches))), own_parts, words, "caption")
    lists = [captions]
    if with_words := _with_words(searches, full_text):
        lists.append(_list(searches, with_words, own_parts, words, WORDS_TEXT))
    table = pa.concat_tables([each for each, _ in lists])
    added = [
        full_text.weight / (K + competition_ranks(each["_score"].to_numpy())) for each, _ in lists
    ]
    scores = table["_score"].to_numpy().astype(float)
    scores[captions[0].num_rows :] = np.nan
    parts = table["part_id"].to_numpy(zero_copy_only=False).astype(str)
    _, first, number = np.unique(parts, return_index=True, return_inverse=True)
    total = np.bincount(number, np.concatenate(added), minlength=len(first))
    origin, row_ids = (table[name].to_numpy()[first] for name in ("origin", "_rowid"))
    order = np.lexsort((row_ids, origin, -total))
    return _Matches(
        parts[first][order].tolist(),
        origin[order],
        row_ids[order],
        scores[first][order],
        total[order],
        any(is_cut for _, is_cut in lists),
    )


def _with_words(searches: Sequence[GallerySearch], full_text: FullText) -> list[int]:
    """The numbers of the searches whose galleries are searched by the words of items."""
    if full_text.item_words is False:
        return []
    has = [WORDS_TEXT in search.gallery.table.schema.names for search in searches]
    if full_text.item_words:
        if not any(has):
            raise InputError(
                "hybrid(words=True): items have no words in this release: add `words: {}` to"
                " corpus.yaml, and run `isotrope run`"
            )
        return np.flatnonzero(has).tolist()
    return [n for n, search in enumerate(searches) if has[n] and search.members[0].adopts_words]


def _list(
    searches: Sequence[GallerySearch],
    numbers: Sequence[int],
    own_parts: frozenset[str],
    words: str,
    column: str,
) -> tuple[pa.Table, bool]:
    """One full-text list over some galleries, best first, and whether it was cut.

    Its columns are part_id, _score, _rowid, and `origin`, the number of the search.
    """
    tables = []
    for number in numbers:
        search = searches[number]
        rows = search.gallery.match_text(words, _MOST_MATCHES, search.where, column)
        tables.append(rows.append_column("origin", pa.array(np.full(rows.num_rows, number))))
    is_cut = any(table.num_rows == _MOST_MATCHES for table in tables)
    table = pa.concat_tables([without(each, own_parts) for each in tables])
    return table.take(pa.array(np.argsort(-table["_score"].to_numpy(), kind="stable"))), is_cut


def competition_ranks(scores: np.ndarray) -> np.ndarray:
    """The ranks, from 1, of scores that do not grow. Equal scores have equal ranks."""
    if not len(scores):
        return np.zeros(0, np.int64)
    is_new = np.concatenate([[True], np.diff(scores) < 0])
    return np.maximum.accumulate(np.where(is_new, np.arange(1, len(scores) + 1), 0))
