"""Searches one gallery of a release with one query, by the query's correction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from store.corrections.recipe import recipe
from store.errors import InputError
from store.search.column_plan import ColumnPlan, WeightedInput, plan_columns
from store.search.combine import search_combined
from store.search.corrected_search import raw_scores, score_rows, search_corrected, search_many
from store.search.open_gallery import OpenGallery
from store.search.opened import OpenRelease
from store.search.query import Query
from store.search.rescoring import rescore_candidates
from store.tables.direction import Direction
from store.tables.lance_tables import quote

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


class GallerySearch:
    """A query on one gallery of a release.

    Args:
        opened: the release.
        query: its correction, condition and columns are used.
        inputs: of the query.
        modality: of the gallery.

    Attributes:
        gallery: that is searched.
        where: the condition, as Lance takes it.
        columns: that are returned.
        inputs: of the query.

    Raises:
        NotFoundError: a column does not exist.
        InputError: the condition cannot be used.
    """

    def __init__(
        self, opened: OpenRelease, query: Query, inputs: Sequence[WeightedInput], modality: str
    ):
        self._opened = opened
        self._query = query
        self._found: tuple[int, GalleryRows] | None = None
        self.inputs = list(inputs)
        self.gallery = self._open(opened, modality)
        selected = (c for c in query.columns if c not in SCORES)
        self.columns = list(dict.fromkeys([*self.own_columns, *selected]))
        self.gallery.check_columns(self.columns)
        if query.duplicate is not None or query.relevance is not None:
            self.columns.append("vector")
        if query.interaction is not None:
            self.columns.append("cluster")
        names = {i.modality: f"{i.modality}->{modality}" for i in inputs}
        self._directions = {m: opened.release.directions.get(name) for m, name in names.items()}
        self.where: str | None = None
        if query.condition is not None:
            from store.search.condition import compile_condition  # the parser takes long to import

            self.where = compile_condition(query.condition, self.gallery.filter_columns)

    def _open(self, opened: OpenRelease, modality: str) -> OpenGallery:
        """The table that is searched."""
        return opened.open_gallery(modality)

    @property
    def own_columns(self) -> list[str]:
        """The columns that are returned whatever the query selects."""
        return ["id", "part_id"]

    def first_fetch(self, count: int) -> int:
        """How many rows are fetched at first for a list of `count`."""
        return count

    def row(self, part_id: str, hit: dict[str, Any]) -> pa.Table:
        """The row of the table that a hit is, with all columns.

        Args:
            part_id: of the hit.
            hit: its row in the result.
        """
        return self.gallery.table.to_table(filter=f"part_id = {quote(part_id)}")

    @property
    def members(self) -> "list[GallerySearch]":
        """The searches of the parts of a compound query; this search alone if it is none."""
        return [self]

    def raw(self) -> "GallerySearch":
        """The same search without corrections."""
        query = replace(self._query, method="none", params=())
        return type(self)(self._opened, query, self.inputs, self.gallery.modality)

    def best(self, count: int) -> GalleryRows:
        """The `count` best rows.

        Raises:
            InputError: the condition's types do not fit, or there is no bank for the correction.
        """
        if self._found is not None and count <= self._found[0]:
            return replace(self._found[1], rows=self._found[1].rows.slice(0, count))
        notes: tuple[str, ...] = ()
        combination = self._combination
        if combination != "sum":
            if not self._is_compiled:
                raise InputError('combine() needs correct("auto") or correct("none")')
            ranked = search_combined(
                self.gallery,
                self.inputs,
                self._compiled,
                self.columns,
                self.where,
                count,
                combination,
            )
            notes = (f"combine: {combination} of {len(self.inputs)} inputs",)
        elif self._is_compiled:
            ranked = search_corrected(
                self.gallery, self.inputs, self._compiled, self.columns, self.where, count
            )
        else:
            method = self._query.method
            ranked = rescore_candidates(
                self._opened,
                self.gallery,
                self.inputs,
                (method, dict(self._query.params)),
                self.columns,
                self.where,
                count,
            )
            notes = (
                f"{method} is not compiled into this release: the best {ranked.fetched} raw"
                " candidates were rescored",
            )
        return GalleryRows(self._named(ranked.rows), ranked.complete, notes, ranked.recall)

    def rows(self, row_ids: Sequence[int]) -> pa.Table:
        """Rows by Lance's ids, with the columns of `GalleryRows.rows`.

        Raises:
            InputError: the correction is not compiled into the release.
        """
        self.check_compiled()
        scored = score_rows(
            self.gallery, self.inputs, self._compiled, self.columns, self.where, row_ids
        )
        return self._named(scored)

    @property
    def adopts_words(self) -> bool:
        """Whether the release adopted the words of the gallery's items for hybrid search."""
        direction = self._opened.release.directions.get(f"text->{self.gallery.modality}")
        return direction is not None and direction.words

    def check_comparable(self) -> None:
        """Raise InputError if the scores cannot be compared with those of other searches."""
        if self._combination != "sum":
            raise InputError(
                f"combine({self._combination!r}) ranks one gallery by vectors: it cannot be joined"
                " with compound queries, hybrid(), expand() or several galleries"
            )

    def check_compiled(self) -> None:
        """Raise InputError if the correction is not compiled into the release."""
        self.check_comparable()
        if not self._is_compiled:
            raise InputError(
                f"correct({self._query.method!r}) only rescores a list of candidates; this search"
                ' scores other rows too: use correct("auto") or correct("none")'
            )

    @property
    def _combination(self) -> str:
        """How the inputs are combined. One input has no other combination than its score."""
        return self._query.combination if len(self.inputs) > 1 else "sum"

    @property
    def _compiled(self) -> dict[str, Direction]:
        """The corrections to search by, by modality of inputs."""
        if self._query.method == "none":
            return {}
        return {m: d for m, d in self._directions.items() if d and d.method != "none"}

    @property
    def compiled_directions(self) -> dict[str, Direction] | None:
        """The corrections to search by, by modality of inputs. None: candidates are rescored."""
        return self._compiled if self._is_compiled else None

    @property
    def _is_compiled(self) -> bool:
        return _is_compiled(self._query, self._directions.values())

    @cached_property
    def plan(self) -> ColumnPlan:
        """The searches of columns that the query needs, if its correction is compiled."""
        (plan,) = plan_columns(self.gallery, [self.inputs], self._compiled, self.where)
        return plan

    def scores(self, rows: pa.Table) -> np.ndarray:
        """The corrected scores (n,) of rows that have all vector columns."""
        return self.plan.scores(rows)

    def raw_scores(self, rows: pa.Table) -> np.ndarray:
        """The scores (n,) of rows without corrections."""
        return raw_scores(rows, self.inputs)

    def calibrated(self, scores: np.ndarray) -> np.ndarray:
        """Scores on the calibrated scale."""
        zero, unit = self.scale
        return (scores - zero) / unit

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The scores that are 0 on the calibrated scale, and 1 above it."""
        # A negative input lowers the mean score, but does not make the scores vary less.
        scales = [(i.weight, d) for i in self.inputs if (d := self._directions[i.modality])]
        zero = sum(weight * d.zero for weight, d in scales)
        return zero, sum(abs(weight) * d.unit for weight, d in scales) or 1.0

    def scale_of(self, modality: str) -> tuple[float, float]:
        """`scale` of one input of a modality with the weight 1."""
        direction = self._directions[modality]
        return (direction.zero, direction.unit) if direction else (0.0, 1.0)

    def with_modality(self, rows: pa.Table) -> pa.Table:
        """Rows with the modality of their parts."""
        modality = pa.array([self.gallery.modality] * rows.num_rows, pa.string())
        return rows.append_column("modality", modality)

    def _named(self, rows: pa.Table) -> pa.Table:
        """Rows with their modality and calibrated score."""
        calibrated = self.calibrated(rows["_score"].to_numpy())
        return self.with_modality(rows).append_column("_calibrated", pa.array(calibrated))


def search_together(searches: Sequence[GallerySearch], count: int) -> None:
    """Search one gallery for all queries of a batch; `best` then returns the rows found here.

    Queries that scan the gallery scan it together.

    Args:
        searches: of the queries, all with the same options.
        count: the largest number of rows for each query.
    """
    first = searches[0]
    if not all(search._is_compiled and search._combination == "sum" for search in searches):
        return
    directions = {m: d for search in searches for m, d in search._compiled.items()}
    batch = [search.inputs for search in searches]
    count = first.first_fetch(count)
    lists = search_many(first.gallery, batch, directions, first.columns, first.where, count)
    for search, ranked in zip(searches, lists, strict=True):
        rows = search._named(ranked.rows)
        search._found = count, GalleryRows(rows, ranked.complete, (), ranked.recall)


def _is_compiled(query: Query, directions: Iterable[Direction | None]) -> bool:
    """Whether the gallery's stored values give the requested correction for every input."""
    method, params = query.method, dict(query.params)
    return method in ("auto", "none") or all(
        d is not None
        and d.method == method
        and (not params or recipe(method, params).params == d.params)
        for d in directions
    )
