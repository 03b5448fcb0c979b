"""Cross-fitting: measure many corrections on pairs that the banks have not seen.

An honest trial treats the right item of a query and its competitors alike. If the competitors'
own captions are in the query bank and those of the right item are not, the bank lowers the right
item for its competitors and never the other way round, and every correction looks worse than it is.
So a trial ranks only gallery rows whose sample is not in the banks. If the pairs are apart from the
banks, one fit is enough. If they overlap, the pairs are halved at random several times: one half
stays in the banks, the other is judged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from store.arrays import lookup
from store.corrections.correction import Correction
from store.corrections.evaluate import correct_and_count
from store.corrections.fit import Spec, fit_many
from store.corrections.kernels.threads import spans
from store.corrections.trial_samples import Samples, group_queries
from store.metrics.hubness import skewness
from store.metrics.retrieval import Relevant, first_ranks, reciprocal_rank, relevant_ranks

K = 10  # length of the result lists that k-occurrence is counted in
HALVINGS = 3
SCORES_AT_ONCE = 500_000  # 2 MB of float32: they stay in the cache


@dataclass(frozen=True)
class Trial:
    """Results of every candidate on m judged queries.

    Attributes:
        reciprocal_ranks: (candidates, m) reciprocal rank of the best relevant item; the mean over
            the rounds in which the query was judged.
        recalled: (candidates, m) share of the rounds in which a relevant item was first.
        k_skewness: (candidates,) skewness of the k-occurrence, the mean over rounds.
        groups: (m,) group of each query; a bootstrap draws a group as a unit.
    """

    reciprocal_ranks: np.ndarray
    recalled: np.ndarray
    k_skewness: np.ndarray
    groups: np.ndarray

    def join(self, other: "Trial") -> "Trial":
        """Both trials, of the same rounds."""
        return Trial(
            np.concatenate([self.reciprocal_ranks, other.reciprocal_ranks]),
            np.concatenate([self.recalled, other.recalled]),
            np.concatenate([self.k_skewness, other.k_skewness]),
            self.groups,
        )

    def first(self, candidates: int) -> "Trial":
        """The results of the first candidates."""
        keep = slice(candidates)
        return Trial(
            self.reciprocal_ranks[keep], self.recalled[keep], self.k_skewness[keep], self.groups
        )


class Round(NamedTuple):
    """One fit: the judged queries, and bool arrays of the bank rows and gallery rows that stay."""

    queries: np.ndarray
    query_bank: np.ndarray
    gallery_bank: np.ndarray
    gallery: np.ndarray


def cross_fit(specs: Sequence[Spec], samples: Samples, rounds: Sequence[Round]) -> Trial:
    """Fit every candidate on the banks of each round, and measure it on the round's queries."""
    groups = group_queries(samples.relevant, samples.gallery_ids)
    total = np.zeros((2, len(specs), len(groups)))
    judged = np.zeros(len(groups))
    skews = np.zeros(len(specs))
    for one in rounds:
        items = np.flatnonzero(one.gallery)
        relevant = _of_queries(samples.relevant, one.queries, items)
        exclude = None
        if samples.exclude is not None:
            exclude = lookup(items, samples.exclude[one.queries])
        fitted = _fit(specs, samples, one)
        queries = samples.queries[one.queries]
        for i, ranks, skew in _measure(fitted, queries, relevant, exclude):
            total[:, i, one.queries] += reciprocal_rank(ranks), ranks == 1
            skews[i] += skew / len(rounds)
        judged[one.queries] += 1
    index = np.flatnonzero(judged)
    reciprocal_ranks, recalled = total[:, :, index] / judged[index]
    return Trial(reciprocal_ranks, recalled, skews, groups[index])


def _measure(
    fitted: Sequence[Correction],
    queries: np.ndarray,
    relevant: Relevant,
    exclude: np.ndarray | None,
) -> Iterator[tuple[int, np.ndarray, float]]:
    """The first ranks (m,) and the k-skewness of each correction, as `evaluate` measures them.

    Corrections that rank by the same vectors share the product with the queries, so they are
    measured one after another.

    Yields:
        The number of a correction, its ranks and its skewness.
    """
    last, product = None, np.empty((0, 0), np.float32)
    for number in sorted(range(len(fitted)), key=lambda i: id(fitted[i].vectors)):
        correction = fitted[number]
        if correction.vectors is not last:
            last, product = correction.vectors, queries @ correction.vectors.T
            if exclude is not None:
                rows = np.flatnonzero(exclude >= 0)
                product[rows, exclude[rows]] = -np.inf
        items = product.shape[1]
        counts, ranks = np.zeros(items, np.int64), [np.empty(0)]
        for start, stop in spans(len(product), max(1, SCORES_AT_ONCE // max(items, 1))):
            scores = product[start:stop].copy()
            counts += correct_and_count(scores, correction.bias, correction.flag, min(K, items))
            ranks.append(relevant_ranks(scores, relevant.part(start, stop)))
        yield number, first_ranks(np.concatenate(ranks), relevant), skewness(counts)


def draw_rounds(samples: Samples, rng: np.random.Generator) -> Iterator[Round]:
    """One round if at least half of the pairs are apart from the banks, else random halvings."""
    groups = group_queries(samples.relevant, samples.gallery_ids)
    everything = [np.ones(len(b), bool) for b in (samples.query_bank, samples.gallery_bank)]
    in_banks = _in_banks(samples, everything)
    shared = np.zeros(len(groups), bool)
    shared[samples.relevant.query[in_banks[samples.relevant.rows]]] = True
    if shared.mean() <= 0.5:
        yield Round(np.flatnonzero(~shared), everything[0], everything[1], ~in_banks)
        return
    names = np.unique(groups)
    for _ in range(HALVINGS):
        first = np.isin(groups, rng.permutation(names)[: names.size // 2])
        for side in (first, ~first):
            queries = np.flatnonzero(side)
            keep = [
                ~_shares_sample(ids, samples, queries, len(bank))
                for ids, bank in (
                    (samples.query_bank_ids, samples.query_bank),
                    (samples.gallery_bank_ids, samples.gallery_bank),
                )
            ]
            if queries.size and all(rows.any() for rows in keep):
                yield Round(queries, keep[0], keep[1], ~_in_banks(samples, keep))


def _in_banks(samples: Samples, keep: list[np.ndarray]) -> np.ndarray:
    """(n,) bool, True for a gallery row whose sample is in a bank, of its rows that stay."""
    inside = np.zeros(len(samples.gallery), bool)
    for ids, rows in zip((samples.query_bank_ids, samples.gallery_bank_ids), keep, strict=True):
        if ids is not None and samples.gallery_ids is not None:
            inside |= np.isin(samples.gallery_ids, ids[rows])
    return inside


def assign_folds(groups: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """(m,) fold of each query. Groups are assigned to the folds in turn, in random order."""
    names, inverse = np.unique(groups, return_inverse=True)
    return (rng.permutation(names.size) % folds)[inverse]


def _shares_sample(ids: Any, samples: Samples, queries: np.ndarray, rows: int) -> np.ndarray:
    """(rows,) bool, True for a bank row of the same sample as a relevant item of these queries."""
    if ids is None or samples.gallery_ids is None:
        return np.zeros(rows, dtype=bool)
    of_queries = np.isin(samples.relevant.query, queries)
    return np.isin(ids, samples.gallery_ids[samples.relevant.rows[of_queries]])


def _of_queries(relevant: Relevant, queries: np.ndarray, items: np.ndarray) -> Relevant:
    """The relevant rows of some queries among some items (both ascending), renumbered from 0."""
    selected = np.isin(relevant.query, queries) & np.isin(relevant.rows, items)
    query = np.searchsorted(queries, relevant.query[selected])
    rows = np.searchsorted(items, relevant.rows[selected])
    return Relevant(query, rows, np.bincount(query, minlength=queries.size))


def _fit(specs: Sequence[Spec], samples: Samples, one: Round) -> list[Correction]:
    def kept(ids: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
        return None if ids is None else ids[rows]

    return fit_many(
        specs,
        gallery=samples.gallery[one.gallery],
        query_bank=samples.query_bank[one.query_bank],
        gallery_bank=samples.gallery_bank[one.gallery_bank],
        gallery_ids=kept(samples.gallery_ids, one.gallery),
        query_bank_ids=kept(samples.query_bank_ids, one.query_bank),
        gallery_bank_ids=kept(samples.gallery_bank_ids, one.gallery_bank),
    )
