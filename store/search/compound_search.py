"""Searches one gallery with a compound query.

The score of a row joins its calibrated scores by each part of the query, and does not fall when one
of the wanted parts grows. So over an index, the threshold algorithm finds the best rows by searches
of the wanted parts; the score by the others can only be lower than without them.

The lowest of several scores is at most their mean. Where the parts of `all_of` are compared with
one column, their mean is one search of it, which reaches the best rows sooner than a search of each
part: a row that one part ranks high and another one low is not near their mean.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from store.search.column_plan import ColumnPlan
from store.search.column_query import ColumnQuery
from store.search.compound import Compound
from store.search.corrected_search import rank_rows
from store.search.gallery_search import GalleryRows, GallerySearch
from store.search.threshold import search_columns

_MOST_CLAUSES = 16  # that are searched by their means
Bound = Callable[[Sequence[float]], float]


class CompoundSearch(GallerySearch):
    """A compound query on one gallery of a release.

    Args:
        compound: how the parts are joined.
        parts: the searches of the parts, on the same gallery.
    """

    def __init__(self, compound: Compound, parts: Sequence[GallerySearch]):
        self.gallery, self.where, self.columns = parts[0].gallery, parts[0].where, parts[0].columns
        self._compound = compound
        self._parts = parts

    @property
    def members(self) -> list[GallerySearch]:
        """The searches of the parts."""
        return list(self._parts)

    def raw(self) -> "CompoundSearch":
        """The same search without corrections."""
        return CompoundSearch(self._compound, [part.raw() for part in self._parts])

    def best(self, count: int) -> GalleryRows:
        """The `count` best rows. See `GallerySearch.best`.

        Raises:
            InputError: the condition's types do not fit, or the correction is not compiled into the
                release.
        """
        self.check_compiled()
        plans = [part.plan for part in self._parts]
        queries, bound = self._by_means(plans) or self._by_parts(plans)
        fetched = search_columns(
            self.gallery,
            queries,
            lambda rows: self._scores(rows, plans),
            [query.column for plan in plans for query in plan.queries],
            bound,
            self._read(plans),
            self.where,
            count,
        )
        exact = fetched.complete and all(plan.exact for plan in plans)
        return GalleryRows(self._ranked(fetched.rows, plans, count), exact, (), fetched.recall)

    def _by_means(self, plans: Sequence[ColumnPlan]) -> tuple[list[ColumnQuery], Bound] | None:
        """A search for each clause, by the mean of its parts' scores, and the highest score of a
        row that scores no higher than given numbers in any search.

        None: there are many clauses, or the parts of one are compared with several columns.
        """
        clauses = self._compound.clauses()
        if len(clauses) > _MOST_CLAUSES:
            return None
        means = []
        for clause in clauses:
            queries = [query for part in clause for query in plans[part].queries]
            if len({query.column for query in queries}) > 1:
                return None
            vector, offset = np.zeros_like(queries[0].vector), 0.0
            for part, query in zip(clause, queries, strict=True):
                zero, unit = self._parts[part].scale
                vector += query.vector / np.float32(unit * len(clause))
                offset += (query.offset - zero) / (unit * len(clause))
            probes = sorted({name for query in queries for name in query.probes})
            means.append(ColumnQuery(queries[0].column, vector, offset, tuple(probes)))
        return means, max

    def _by_parts(self, plans: Sequence[ColumnPlan]) -> tuple[list[ColumnQuery], Bound]:
        """The searches of the wanted parts, and the bound as above."""
        wanted = sorted(self._compound.wanted())

        def bound(lowest: Sequence[float]) -> float:
            left = iter(lowest)
            scores = [np.full(1, -np.inf, np.float32) for _ in plans]
            for part in wanted:
                total = np.float32(sum(next(left) for _ in plans[part].queries))
                scores[part] = self._parts[part].calibrated(np.array([total]))
            return float(self._compound.scores(scores)[0])

        return [query for part in wanted for query in plans[part].queries], bound

    def rows(self, row_ids: Sequence[int]) -> pa.Table:
        """Rows by Lance's ids. See `GallerySearch.rows`."""
        self.check_compiled()
        plans = [part.plan for part in self._parts]
        return self._ranked(self.gallery.take(row_ids, self._read(plans)), plans, len(row_ids))

    def check_comparable(self) -> None:
        """Raise InputError if the scores cannot be compared with those of other searches."""
        for part in self._parts:
            part.check_comparable()

    def check_compiled(self) -> None:
        """Raise InputError if the correction is not compiled into the release."""
        for part in self._parts:
            part.check_compiled()

    def _read(self, plans: Sequence[ColumnPlan]) -> list[str]:
        """The columns to read."""
        searched = (query.column for plan in plans for query in plan.queries)
        return list(dict.fromkeys([*self.columns, "vector", *searched]))

    def _scores(self, rows: pa.Table, plans: Sequence[ColumnPlan]) -> np.ndarray:
        each = zip(self._parts, plans, strict=True)
        return self._compound.scores([part.calibrated(plan.scores(rows)) for part, plan in each])

    def _ranked(self, rows: pa.Table, plans: Sequence[ColumnPlan], count: int) -> pa.Table:
        raw = [part.calibrated(part.raw_scores(rows)) for part in self._parts]
        score = self._scores(rows, plans)
        best = rank_rows(rows, score, self._compound.scores(raw), self.columns, count)
        return self.with_modality(best).append_column("_calibrated", best["_score"])
