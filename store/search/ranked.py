"""Ranks the rows of all galleries that a query searches in one list."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from store.search.column_plan import WeightedInput
from store.search.compound_search import CompoundSearch
from store.search.cross_route import cross
from store.search.encode import EncodedQuery
from store.search.gallery_search import GalleryRows, GallerySearch
from store.search.moments import gallery_search_of
from store.search.opened import OpenRelease
from store.search.query import Query


class Ranked(NamedTuple):
    """Rows over all galleries, the column that ranks them, and whether there are no more."""

    answer: GalleryRows
    score: str
    is_all: bool


def gallery_searches(
    opened: OpenRelease, query: Query, parts: Sequence[EncodedQuery]
) -> list[GallerySearch]:
    """The searches of a query, one for each gallery.

    Args:
        opened: the release.
        query: one query, compound or not.
        parts: the query, or the parts of a compound query.
    """
    searches = [
        [gallery_search(opened, query, part.inputs, modality) for part in parts]
        for modality in opened.searched(query.gallery)
    ]
    if query.compound is None:
        return [search for (search,) in searches]
    return [CompoundSearch(query.compound, each) for each in searches]


def gallery_search(
    opened: OpenRelease, query: Query, inputs: Sequence[WeightedInput], modality: str
) -> GallerySearch:
    """The search of one gallery by one query, which is not compound, on its route."""
    if query.path == "cross":
        inputs = cross(opened, inputs, modality)
    return gallery_search_of(opened, query, inputs, modality)


def rank_by_vectors(
    searches: Sequence[GallerySearch], own_parts: frozenset[str], count: int, most: int
) -> Ranked:
    """The best rows by the scores of vectors, best first, without the query's own parts.

    Args:
        searches: of the query, one for each gallery.
        own_parts: of the query, which are left out.
        count: how many rows are taken from each gallery.
        most: how many rows of the merged list are returned.
    """
    if len(searches) > 1:
        for search in searches:
            search.check_comparable()
    results = [search.best(count) for search in searches]
    is_all = all(r.rows.num_rows < count for r in results)
    rows = pa.concat_tables([r.rows for r in results], promote_options="permissive")
    score = "_score"
    if len(results) > 1:
        score = "_calibrated"
        rows = rows.take(pc.sort_indices(rows, [(score, "descending")])).slice(0, most)
    rows = without(rows, own_parts)
    complete = all(r.complete for r in results)
    notes = tuple(note for r in results for note in r.notes)
    recall = min(r.recall for r in results)
    return Ranked(GalleryRows(rows, complete, notes, recall), score, is_all)


def without(rows: pa.Table, parts: frozenset[str]) -> pa.Table:
    """The rows of other parts than these."""
    if not parts:
        return rows
    own = pa.array(sorted(parts))
    return rows.filter(pc.invert(pc.is_in(rows["part_id"], value_set=own)))
