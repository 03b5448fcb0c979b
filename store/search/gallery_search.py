"""Searches one gallery of a release with one query, by the query's correction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from store.corrections.recipe import recipe
from store.search.condition import compile_condition
from store.search.corrected_search import WeightedInput, search_corrected
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.rescoring import rescore_candidates
from store.tables.releases import Direction

SCORES = ("id", "modality", "_score", "_raw_score", "_bias", "rank")


@dataclass(frozen=True)
class GalleryRows:
    """The best rows of one gallery.

    Attributes:
        rows: `part_id`, the scores, `_calibrated`, then the query's columns. Best first.
        complete: whether they are proven to be the best.
        notes: remarks on how they were found.
        recall: of the index that was searched; 1 without one.
    """

    rows: pa.Table
    complete: bool
    notes: tuple[str, ...]
    recall: float


def search_gallery(
    opened: OpenRelease,
    query: Query,
    inputs: Sequence[WeightedInput],
    modality: str,
    count: int,
) -> GalleryRows:
    """Find the `count` best rows of a gallery.

    Args:
        opened: the release.
        query: its correction, condition and columns are used.
        inputs: of the query.
        modality: of the gallery.
        count: the largest number of rows.

    Raises:
        NotFoundError: a column does not exist.
        InputError: the condition cannot be used, or there is no bank for the correction.
    """
    release, gallery = opened.release, opened.open_gallery(modality)
    columns = list(dict.fromkeys(["id", "part_id", *(c for c in query.columns if c not in SCORES)]))
    gallery.check_columns(columns)
    if query.duplicate is not None or query.relevance is not None:
        columns.append("vector")
    directions = {i.modality: release.directions.get(f"{i.modality}->{modality}") for i in inputs}
    where = None
    if query.condition is not None:
        where = compile_condition(query.condition, gallery.filter_columns)
    notes: tuple[str, ...] = ()
    if _is_compiled(query, directions.values()):
        compiled = {m: d for m, d in directions.items() if d and d.method != "none"}
        active = {} if query.method == "none" else compiled
        ranked = search_corrected(gallery, list(inputs), active, columns, where, count)
    else:
        ranked = rescore_candidates(
            opened,
            gallery,
            list(inputs),
            (query.method, dict(query.params)),
            columns,
            where,
            count,
        )
        notes = (
            f"{query.method} is not compiled into this release: the best {ranked.fetched} raw"
            " candidates were rescored",
        )
    rows = ranked.rows
    rows = rows.append_column("modality", pa.array([modality] * rows.num_rows, pa.string()))
    # A negative input lowers the mean score, but does not make the scores vary less.
    scales = [(i.weight, d) for i in inputs if (d := directions[i.modality])]
    zero = sum(weight * d.zero for weight, d in scales)
    unit = sum(abs(weight) * d.unit for weight, d in scales) or 1.0
    calibrated = pa.array((rows["_score"].to_numpy() - zero) / unit)
    rows = rows.append_column("_calibrated", calibrated)
    return GalleryRows(rows, ranked.complete, notes, ranked.recall)


def _is_compiled(query: Query, directions: Iterable[Direction | None]) -> bool:
    """Whether the gallery's stored values give the requested correction for every input."""
    method, params = query.method, dict(query.params)
    return method in ("auto", "none") or all(
        d is not None
        and d.method == method
        and (not params or recipe(method, params).params == d.params)
        for d in directions
    )
