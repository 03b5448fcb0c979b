"""The recall of an index for all numbers of rows that are ranked anew, from one search of queries.

An index finds `refine` times the requested rows by the scores of its codes, and ranks these anew by
their exact scores. So one search for the largest number of candidates, in the order of their codes'
scores and without the exact ones, tells which of the best rows each smaller number would contain.
Queries that Lance searches together cost a third of single searches.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from pipelines.index.exact_scores import BestRows
from store.search.open_gallery import OpenGallery

_TOGETHER = 16  # queries that are searched at once
_ROUNDING = 1e-5  # scores of a scan and of an index differ in their last digits


class Candidates:
    """Searches of one column for queries whose best rows are known.

    Args:
        gallery: with its index.
        column: that is searched.
        queries: (m, width).
        best: the best rows of each query.
        depth: recall@depth is measured.
        refines: ascending; so many times `depth` rows are ranked anew.
    """

    def __init__(
        self,
        gallery: OpenGallery,
        column: str,
        queries: np.ndarray,
        best: BestRows,
        depth: int,
        refines: Sequence[int],
    ) -> None:
        self.gallery, self.column, self.queries = gallery, column, queries
        self.depth, self.refines = depth, list(refines)
        least = best.scores[:, min(depth, best.scores.shape[1]) - 1] - _ROUNDING
        is_right = best.scores >= least[:, None]  # rows that are as good as the last one count too
        self._right = [ids[right] for ids, right in zip(best.ids, is_right, strict=True)]

    def recalls(self, nprobes: int, aim: float = 0.0) -> dict[int, float]:
        """The recall by number of rows ranked anew.

        Once the largest number cannot reach `aim` any more, whatever the other queries give, they
        are left out, and the recalls are the largest that were possible.

        Args:
            nprobes: partitions that are searched.
            aim: the smallest recall of interest.
        """
        recall = np.ones(len(self.refines))
        ends = self.depth * np.array(self.refines)
        for start in range(0, len(self.queries), _TOGETHER):
            own = slice(start, start + _TOGETHER)
            rows = self._ids(self.queries[own], nprobes, int(ends[-1]))
            for ids, right in zip(rows, self._right[own], strict=True):
                hits = np.concatenate([[0], np.cumsum(np.isin(ids, right))])
                share = np.minimum(1.0, hits[np.minimum(ends, len(ids))] / self.depth)
                recall -= (1.0 - share) / len(self.queries)
            if recall[-1] < aim:
                break
        return dict(zip(self.refines, recall.tolist(), strict=True))

    def _ids(self, queries: np.ndarray, nprobes: int, count: int) -> Iterator[np.ndarray]:
        """Row ids of each query in the order of the index, the best first."""
        nearest = {
            "column": self.column,
            "q": queries,
            "k": count,
            "minimum_nprobes": nprobes,
            "maximum_nprobes": nprobes,
        }
        scanner = self.gallery.table.scanner(
            columns=["_distance"], nearest=nearest, with_row_id=True
        )
        rows = scanner.to_table()
        number, ids = rows["query_index"].to_numpy(), rows["_rowid"].to_numpy()
        order = np.lexsort((rows["_distance"].to_numpy(), number))
        ends = np.cumsum(np.bincount(number, minlength=len(queries)))
        yield from np.split(ids[order], ends[:-1])
