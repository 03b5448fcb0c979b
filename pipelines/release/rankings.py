"""Evaluations of a direction's rankings, from the tallies of a scan."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.release.known_items import KnownItems
from pipelines.release.query_sets import (
    CORRECTED,
    RAW,
    UNBIASED,
    K,
    QuerySet,
    item_keys,
)
from store.corrections import Evaluation
from store.corrections.evaluate import UNRELATED_ITEMS
from store.corrections.rank_tally import RankedItems, Tally
from store.metrics.retrieval import first_ranks


@dataclass(frozen=True)
class Ranking:
    """A ranking of a gallery by each query of a set.

    Attributes:
        queries: the set.
        corrected: whether it is the ranking of the direction's correction.
        items: the right answers with their scores.
        tally: of the whole gallery.
    """

    queries: QuerySet
    corrected: bool
    items: RankedItems
    tally: Tally

    @property
    def first(self) -> np.ndarray:
        """(m,) the rank of the best right answer of each query."""
        return first_ranks(self.tally.ahead + 1.0, self.items.relevant)

    def evaluation(self, known: KnownItems, groups: np.ndarray) -> Evaluation:
        """The figures of the ranking.

        Args:
            known: the items that were read ahead of the scan.
            groups: (m,) the group of each query.
        """
        keys = self.tally.keys[self.tally.top > -np.inf]
        _, occurrence = np.unique(keys, return_counts=True)
        counts = np.zeros(known.searched, np.int64)  # of items in any order
        counts[: len(occurrence)] = occurrence
        return Evaluation(
            self.first,
            self.tally.ahead + 1.0,
            self.items.relevant,
            counts,
            min(K, known.searched),
            self.items.scores,
            self._unrelated(known),
            groups,
        )

    def _unrelated(self, known: KnownItems) -> np.ndarray:
        """Scores of queries with random items that are not relevant for them, flat."""
        rows = np.flatnonzero(known.is_random)
        c = known.correction
        keys = item_keys(pa.array(known.gallery.parts))[rows]
        m = len(self.queries.vectors)
        drawn = np.random.default_rng(0).integers(0, len(rows), (m, UNRELATED_ITEMS))
        vectors = c.vectors if self.corrected else known.gallery.vectors
        queries = self.queries.vectors
        scores = np.stack(
            [np.einsum("md,md->m", queries, vectors[rows[column]]) for column in drawn.T], axis=1
        )
        if self.corrected:
            # The top item of the whole gallery decides, not that of the sample.
            is_biased = slice(None) if c.flag is None else self.tally.flags[:, 0]
            scores[is_biased] -= c.bias[rows[drawn[is_biased]]]
        others = keys[drawn]
        is_related = others == self.items.excluded[:, None]
        for query, key in zip(self.items.relevant.query, self.items.keys, strict=True):
            is_related[query] |= others[query] == key
        return scores[~is_related]


def ranking(queries: QuerySet, tallies: list[dict[str, Tally]]) -> dict[str, Ranking]:
    """The raw ranking of a set of queries, and the corrected one if the direction is corrected.

    Args:
        queries: the set.
        tallies: of its parts (`QuerySet.parts`).
    """
    joined = {name: Tally.join([t[name] for t in tallies]).cut(K) for name in queries.items}
    raw, items = joined[RAW], queries.items[RAW]
    rankings = {RAW: Ranking(queries, False, items, raw)}
    if CORRECTED not in joined:
        return rankings | {CORRECTED: rankings[RAW]}
    tally, items = joined[CORRECTED], queries.items[CORRECTED]
    if queries.direction.recipe.dynamic:
        plain = UNBIASED if UNBIASED in joined else RAW
        tally, items = _dynamic(queries, joined[plain], queries.items[plain], tally, items)
    return rankings | {CORRECTED: Ranking(queries, True, items, tally)}


def _dynamic(
    queries: QuerySet, plain: Tally, plain_items: RankedItems, full: Tally, full_items: RankedItems
) -> tuple[Tally, RankedItems]:
    """The bias is subtracted only for queries whose top item without it is a hub."""
    is_hub = plain.flags[:, 0]
    of_item = is_hub[full_items.relevant.query]
    tally = Tally(
        np.where(of_item, full.ahead, plain.ahead),
        np.where(is_hub[:, None], full.top, plain.top),
        np.where(is_hub[:, None], full.keys, plain.keys),
        np.repeat(is_hub[:, None], full.flags.shape[1], axis=1),
        np.where(is_hub, full.complete, plain.complete),
    )
    scores = np.where(of_item, full_items.scores, plain_items.scores)
    items = RankedItems(full_items.relevant, scores, full_items.keys, full_items.excluded)
    return tally, items
