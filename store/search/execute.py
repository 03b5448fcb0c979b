"""Runs a query on an open release: the one executor behind every client."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.arrow import as_matrix
from store.errors import DamagedTableError, NotFoundError, QueryTimeoutError
from store.search.aggregate import SCORE as AGGREGATED
from store.search.aggregate import aggregate, check_aggregate, learned_weights
from store.search.cards import Card, Item, read_cards
from store.search.encode import EncodedQuery, encode_queries
from store.search.expand import SCORE as EXPANDED
from store.search.expand import expand
from store.search.explain import explain
from store.search.explain_systems import with_systems
from store.search.explanation import Explanation
from store.search.gallery_search import SCORES, GalleryRows, search_together
from store.search.hybrid import SCORE, TEXT_SCORE, rank_by_both, window
from store.search.late import MAX_SIM, TokenInput, rerank_late, token_inputs
from store.search.late import SCORE as LATE
from store.search.moments import check_moments
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.query_options import AUTO
from store.search.ranked import Ranked, gallery_searches, rank_by_vectors
from store.search.rerank import collapse, first_of_each, spread
from store.search.result import Result
from store.search.router import routed_batch
from store.search.vector_layout import unfold
from store.tables.moments import SPAN_COLUMNS

_GROWTH = 4  # of the list that near-duplicates are taken out of, or a diverse list is taken from
_MOST_RERANKED = 2_000  # rows


def run_query(opened: OpenRelease, query: Query) -> Result:
    """Run a query.

    Args:
        opened: the release that the query searches, unless it names another one.
        query: to run.

    Raises:
        IsotropeError: see `store.search.search.Search.run`.
    """
    if query.seconds is None:
        return _run(opened, query)
    executor = ThreadPoolExecutor(1, thread_name_prefix="isotrope-query")
    try:
        return executor.submit(_run, opened, query).result(query.seconds)
    except FutureTimeoutError:
        raise QueryTimeoutError(f"the query did not end within {query.seconds:g} s") from None
    finally:
        # Lance cannot be interrupted: a scan that is too slow ends in the background.
        executor.shutdown(wait=False, cancel_futures=True)


def _run(opened: OpenRelease, query: Query) -> Result:
    opened = opened.at(query.number)
    searched = opened.searched(query.gallery)
    check_moments(opened, query)
    try:
        batch, queries, answers = _answers(opened, query)
    except (DamagedTableError, NotFoundError):
        if not opened.reopen_if_moved():
            raise
        batch, queries, answers = _answers(opened, query)
    rows = pa.concat_tables([answer.rows for answer in answers], promote_options="permissive")
    owners = np.repeat(np.arange(len(answers)), [answer.rows.num_rows for answer in answers])
    parts = rows["part_id"].to_pylist()
    part = ["part_id"] if query.gallery == "sample" else []
    columns = [c for c in dict.fromkeys([*part, *query.columns]) if c not in SCORES]
    calibrated = ["_calibrated"] if len(searched) > 1 else []
    fused = [SCORE, TEXT_SCORE] if query.full_text else []
    more = [EXPANDED] if query.expansion else []
    more += [AGGREGATED] if query.aggregation != "max" else []
    more += [LATE, MAX_SIM] if query.interaction else []
    more += [c for c in SPAN_COLUMNS if c in rows.schema.names and c not in columns]
    rows = rows.select([*SCORES, *calibrated, *fused, *more, *columns])
    if query.is_batch:
        rows = rows.add_column(0, "query", pa.array(owners.astype(np.int32)))

    def explain_row(row: int) -> Explanation:
        hit = rows.slice(row, 1).to_pylist()[0]
        number = owners[row]
        own = batch if query.compound else [batch[number]]
        of_one = replace(queries[number], gallery=hit["modality"])
        (search,) = gallery_searches(opened, of_one, own)
        explanation = explain(opened, search, parts[row], hit)
        one = query if query.compound else replace(query, inputs=(query.inputs[number],))
        return with_systems(opened, one, own, explanation, parts[row], hit)

    def cards(count: int) -> list[Card]:
        shown = zip(rows["modality"].to_pylist()[:count], parts[:count], strict=True)
        return read_cards(opened, [Item(*item) for item in shown])

    complete = all(answer.complete for answer in answers)
    notes = tuple(dict.fromkeys(note for answer in answers for note in answer.notes))
    recall = min(answer.recall for answer in answers)
    return Result(rows, complete, notes, recall, explain_row, cards)


def _answers(
    opened: OpenRelease, query: Query
) -> tuple[Sequence[EncodedQuery], list[Query], list[GalleryRows]]:
    """The encoded queries of a batch, each of them at its gallery, and the rows of each."""
    groups = [query.inputs] if query.compound else [(inputs,) for inputs in query.inputs]
    words = [query.full_text.words(g) if query.full_text else None for g in groups]
    batch = encode_queries(opened, query.inputs)
    parts = [batch] if query.compound else [[encoded] for encoded in batch]
    tokens: Sequence[list[TokenInput]] = [[] for _ in groups]
    if query.interaction is not None:
        tokens = token_inputs(opened, query, batch)
    queries, notes = routed_batch(opened, query, parts)
    each_of = zip(queries, parts, words, tokens, notes, strict=True)
    planned = [_Planned(opened, *each) for each in each_of]
    if len(planned) > 1 and query.gallery != AUTO:
        count = max(_depth(query, each.count) for each in planned)
        for searches in zip(*(each.searches for each in planned), strict=True):
            search_together(searches, window(count) if _has_window(query) else count)
    answers = [_answer(opened, *each) for each in zip(queries, planned, strict=True)]
    return batch, queries, answers


class _Planned:
    """One query of a batch, or a compound query, before it is searched.

    Attributes:
        searches: one for each gallery.
        own_parts: of the query, which are left out of the result.
        inputs: of the query, or of all parts of a compound one.
        words: that captions are searched for, if it is hybrid.
        tokens: of the inputs, for late interaction.
        notes: on how its gallery was chosen.
        wanted: how many rows are needed before they are cut.
        count: how many rows are fetched first.
    """

    def __init__(
        self,
        opened: OpenRelease,
        query: Query,
        parts: Sequence[EncodedQuery],
        words: str | None,
        tokens: Sequence[TokenInput],
        notes: tuple[str, ...],
    ):
        self.searches = gallery_searches(opened, query, parts)
        self.own_parts = frozenset().union(*(part.own_parts for part in parts))
        self.inputs = [each for part in parts for each in part.inputs]
        self.words = words
        self.tokens = tokens
        self.notes = notes
        self.wanted = first_count(query)
        self.count = self.wanted + len(self.own_parts)


def _has_window(query: Query) -> bool:
    """Whether the list of vectors is longer than the rows that are wanted."""
    return bool(query.full_text or query.expansion or query.aggregation != "max")


def _depth(query: Query, count: int) -> int:
    """How many rows are listed where `count` are needed: late interaction ranks more anew."""
    return count if query.interaction is None else max(count, query.interaction.depth)


def _ranked(opened: OpenRelease, query: Query, planned: _Planned, count: int) -> Ranked:
    """The best rows of one query over all galleries, `count` of each, in their last order."""
    ranked = _in_order(opened, query, planned, _depth(query, count))
    if query.interaction is None:
        return ranked
    return rerank_late(opened, query, planned.tokens, ranked)


def _in_order(opened: OpenRelease, query: Query, planned: _Planned, count: int) -> Ranked:
    """The best rows of one query over all galleries, `count` of each, without token vectors."""
    # A sample has at most one part in each gallery: the best rows of each have the best samples.
    most = count * (len(planned.searches) if query.gallery == "sample" else 1)
    if query.aggregation != "max":
        check_aggregate(query)
        weights = learned_weights(opened, query, planned.inputs)
        listed = _listed(query, planned, window(most), window(most))
        return aggregate(planned.searches, listed, planned.own_parts, count, weights)
    if query.expansion is None:
        return _listed(query, planned, count, most)
    listed = _listed(query, planned, window(most), window(most))
    return expand(opened, query, planned.searches, listed, planned.own_parts, most)


def _listed(query: Query, planned: _Planned, count: int, most: int) -> Ranked:
    """The list of vectors, fused with that of words if the query is hybrid."""
    searches, own_parts = planned.searches, planned.own_parts
    if query.full_text is None or planned.words is None:
        return rank_by_vectors(searches, own_parts, count, most)
    return rank_by_both(searches, own_parts, planned.words, query.full_text, most)


def _answer(opened: OpenRelease, query: Query, planned: _Planned) -> GalleryRows:
    """The rows of one query: ranked, reranked if the query says so, and cut."""
    last, wanted, count = query.start + query.count, planned.wanted, planned.count
    while True:
        ranked = _ranked(opened, query, planned, count)
        rows, is_all = ranked.answer.rows, ranked.is_all
        if query.floor is not None:
            is_all = is_all or bool(rows.num_rows and rows[ranked.score][-1].as_py() < query.floor)
            rows = rows.filter(pc.greater_equal(rows[ranked.score], query.floor))
        if query.gallery == "sample":
            rows = rows.take(pa.array(first_of_each(rows["id"])))
        if query.duplicate is not None:
            rows = rows.take(pa.array(collapse(_units(opened, rows), query.duplicate)))
        if query.duplicate is None or rows.num_rows >= wanted or is_all:
            break
        if count >= _MOST_RERANKED:
            break
        count = min(_GROWTH * count, _MOST_RERANKED)
    complete, notes = ranked.answer.complete, (*planned.notes, *ranked.answer.notes)
    if query.relevance is not None:
        score = rows[ranked.score].to_numpy()
        scaled = (score - score.min(initial=0)) / (np.ptp(score) or 1) if len(score) else score
        order = spread(_units(opened, rows), scaled, query.relevance, last)
        notes = (*notes, f"diverse: chosen from the best {rows.num_rows} rows")
        rows, complete = rows.take(pa.array(order)), False
    rows = rows.slice(query.start, query.count)
    rank = pa.array(np.arange(rows.num_rows, dtype=np.int32) + query.start + 1)
    return GalleryRows(rows.append_column("rank", rank), complete, notes, ranked.answer.recall)


def first_count(query: Query) -> int:
    """How many rows are ranked at first, beside the query's own parts."""
    last = query.start + query.count
    return last if query.relevance is None else min(_GROWTH * last, _MOST_RERANKED)


def _units(opened: OpenRelease, rows: pa.Table) -> np.ndarray:
    """The unit vectors (n, d) of rows."""
    return unfold(as_matrix(rows["vector"]), opened.release.dim)
