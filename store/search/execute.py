"""Runs a query on an open release: the one executor behind every client."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.arrow import as_matrix
from store.errors import DamagedTableError, InputError, NotFoundError, QueryTimeoutError
from store.search.cards import Card, Item, read_cards
from store.search.encode import EncodedQuery, encode_queries
from store.search.explain import Explanation, explain
from store.search.gallery_search import SCORES, GalleryRows, search_gallery
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.rerank import collapse, spread
from store.search.result import Result
from store.search.vector_layout import unfold

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
    present = opened.release.modalities
    if query.gallery != "any" and query.gallery not in present:
        raise InputError(
            f"among({query.gallery!r}): release {opened.release.number} has no {query.gallery}"
            f" gallery, it has {', '.join(present)}"
        )
    try:
        batch, answers = _answers(opened, query)
    except (DamagedTableError, NotFoundError):
        if not opened.reopen_if_moved():
            raise
        batch, answers = _answers(opened, query)
    rows = pa.concat_tables([answer.rows for answer in answers], promote_options="permissive")
    owners = np.repeat(np.arange(len(batch)), [answer.rows.num_rows for answer in answers])
    parts = rows["part_id"].to_pylist()
    columns = [c for c in dict.fromkeys(query.columns) if c not in SCORES]
    calibrated = ["_calibrated"] if query.gallery == "any" and len(present) > 1 else []
    rows = rows.select([*SCORES, *calibrated, *columns])
    if query.is_batch:
        rows = rows.add_column(0, "query", pa.array(owners.astype(np.int32)))

    def explain_row(row: int) -> Explanation:
        hit = rows.slice(row, 1).to_pylist()[0]
        inputs = batch[owners[row]].inputs
        return explain(opened, inputs, query.condition, hit["modality"], parts[row], hit)

    def cards(count: int) -> list[Card]:
        shown = zip(rows["modality"].to_pylist()[:count], parts[:count], strict=True)
        return read_cards(opened, [Item(*item) for item in shown])

    complete = all(answer.complete for answer in answers)
    notes = tuple(dict.fromkeys(note for answer in answers for note in answer.notes))
    recall = min(answer.recall for answer in answers)
    return Result(rows, complete, notes, recall, explain_row, cards)


def _answers(opened: OpenRelease, query: Query) -> tuple[Sequence[EncodedQuery], list[GalleryRows]]:
    """The encoded queries of a batch, and the rows of each."""
    batch = encode_queries(opened, query.inputs)
    return batch, [_answer(opened, query, encoded) for encoded in batch]


def _answer(opened: OpenRelease, query: Query, encoded: EncodedQuery) -> GalleryRows:
    """The rows of one query of a batch: ranked, reranked if the query says so, and cut."""
    last = query.start + query.count
    wanted = last if query.relevance is None else min(_GROWTH * last, _MOST_RERANKED)
    count = wanted + len(encoded.own_parts)
    while True:
        ranked = _ranked(opened, query, encoded, count)
        rows = ranked.found.rows
        if query.duplicate is not None:
            rows = rows.take(pa.array(collapse(_units(opened, rows), query.duplicate)))
        if query.duplicate is None or rows.num_rows >= wanted or ranked.is_all:
            break
        if count >= _MOST_RERANKED:
            break
        count = min(_GROWTH * count, _MOST_RERANKED)
    complete, notes = ranked.found.complete, ranked.found.notes
    if query.relevance is not None:
        score = rows[ranked.score].to_numpy()
        scaled = (score - score.min(initial=0)) / (np.ptp(score) or 1) if len(score) else score
        order = spread(_units(opened, rows), scaled, query.relevance, last)
        notes = (*notes, f"diverse: chosen from the best {rows.num_rows} rows")
        rows, complete = rows.take(pa.array(order)), False
    rows = rows.slice(query.start, query.count)
    rank = pa.array(np.arange(rows.num_rows, dtype=np.int32) + query.start + 1)
    return GalleryRows(rows.append_column("rank", rank), complete, notes, ranked.found.recall)


class _Ranked(NamedTuple):
    """Rows over all galleries, the column that ranks them, and whether there are no more."""

    found: GalleryRows
    score: str
    is_all: bool


def _ranked(opened: OpenRelease, query: Query, encoded: EncodedQuery, count: int) -> _Ranked:
    """The best rows of all galleries that a query searches, best first."""
    searched = opened.release.modalities if query.gallery == "any" else [query.gallery]
    results = [search_gallery(opened, query, encoded.inputs, m, count) for m in searched]
    is_all = all(r.rows.num_rows < count for r in results)
    rows = pa.concat_tables([r.rows for r in results], promote_options="permissive")
    score = "_score"
    if len(results) > 1:
        score = "_calibrated"
        rows = rows.take(pc.sort_indices(rows, [(score, "descending")])).slice(0, count)
    if encoded.own_parts:
        own = pa.array(sorted(encoded.own_parts))
        rows = rows.filter(pc.invert(pc.is_in(rows["part_id"], value_set=own)))
    if query.floor is not None:
        is_all = is_all or bool(rows.num_rows and rows[score][-1].as_py() < query.floor)
        rows = rows.filter(pc.greater_equal(rows[score], query.floor))
    complete = all(r.complete for r in results)
    notes = tuple(note for r in results for note in r.notes)
    recall = min(r.recall for r in results)
    return _Ranked(GalleryRows(rows, complete, notes, recall), score, is_all)


def _units(opened: OpenRelease, rows: pa.Table) -> np.ndarray:
    """The unit vectors (n, d) of rows."""
    return unfold(as_matrix(rows["vector"]), opened.release.dim)
