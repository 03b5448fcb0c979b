"""Settings in which a correction could do harm, for the benchmark of the gain."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from feature_sets import Pairs, unit


class Case(NamedTuple):
    """One setting of one split.

    Attributes:
        pairs: arguments of `select` other than the banks.
        banks: the banks with their ids.
        queries, query_clusters: of the test.
        gallery, gallery_clusters: that is searched in the test.
    """

    pairs: dict[str, Any]
    banks: dict[str, Any]
    queries: np.ndarray
    query_clusters: np.ndarray
    gallery: np.ndarray
    gallery_clusters: np.ndarray


Setting = Callable[[Pairs, Pairs, np.random.Generator], Case]


def case(
    train: Pairs,
    test: Pairs,
    bank: Pairs | None = None,
    own_bank: bool = True,
    gallery: np.ndarray | None = None,
    gallery_clusters: np.ndarray | None = None,
) -> Case:
    """A case whose banks are `bank` (by default the training half) and whose gallery is that of
    the test, if none is given."""
    bank = train if bank is None else bank
    relevant = [np.flatnonzero(train.clusters == c) for c in train.clusters]
    pairs = {
        "gallery": train.gallery, "gallery_ids": train.clusters, "queries": train.queries,
        "relevant": relevant, "own_bank": own_bank,
    }  # fmt: skip
    banks = {
        "query_bank": bank.queries, "gallery_bank": bank.gallery,
        "query_bank_ids": bank.clusters, "gallery_bank_ids": bank.clusters,
    }  # fmt: skip
    return Case(
        pairs, banks, test.queries, test.clusters,
        test.gallery if gallery is None else gallery,
        test.clusters if gallery_clusters is None else gallery_clusters,
    )  # fmt: skip


def small_bank(train: Pairs, test: Pairs, rng: np.random.Generator, rows: int) -> Case:
    return case(train, test, train.take(rng.permutation(len(train.clusters))[:rows]))


def foreign(train: Pairs, test: Pairs, rng: np.random.Generator) -> Case:
    """Vectors with the statistics of the real ones but permuted dimensions, as of another space."""
    order = rng.permutation(train.queries.shape[1])
    ids = -1 - np.arange(len(train.clusters))
    bank = Pairs("", train.queries[:, order], train.gallery[:, order], ids)
    return case(train, test, bank, own_bank=False)


def random_bank(train: Pairs, test: Pairs, rng: np.random.Generator) -> Case:
    rows = [unit(rng.normal(size=train.queries.shape)) for _ in range(2)]
    ids = -1 - np.arange(len(train.clusters))
    return case(train, test, Pairs("", rows[0], rows[1], ids), own_bank=False)


def lacking(train: Pairs, test: Pairs, rng: np.random.Generator) -> Case:
    """Banks and pairs are from one half of the space, the test from the other."""
    axis = np.subtract(*train.gallery[rng.permutation(len(train.gallery))[:2]])
    edge = np.median(train.gallery @ axis)
    return case(
        train.take(np.flatnonzero(train.gallery @ axis > edge)),
        test.take(np.flatnonzero(test.gallery @ axis <= edge)),
    )


def duplicates(train: Pairs, test: Pairs, rng: np.random.Generator) -> Case:
    """One test item in ten has five near copies in the gallery."""
    copied = np.repeat(rng.permutation(len(test.gallery))[: len(test.gallery) // 10], 5)
    copies = unit(test.gallery[copied] + 0.1 * unit(rng.normal(size=test.gallery[copied].shape)))
    return case(
        train, test, gallery=np.concatenate([test.gallery, copies]),
        gallery_clusters=np.concatenate([test.clusters, test.clusters[copied]]),
    )  # fmt: skip


def jittered(rows: np.ndarray, times: int, rng: np.random.Generator) -> np.ndarray:
    copies = rows[rng.integers(0, len(rows), times)]
    return unit(copies + 0.5 * unit(rng.normal(size=copies.shape)))


def with_others(clusters: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The clusters of items, then a cluster of its own for each of the others."""
    return np.concatenate([clusters, -1 - np.arange(len(others))])


def distractors(train: Pairs, test: Pairs, rng: np.random.Generator) -> Case:
    """20 times more items that are right for no query: real rows, jittered."""
    others = jittered(train.gallery, 20 * len(test.gallery), rng)
    return case(
        train, test, gallery=np.concatenate([test.gallery, others]),
        gallery_clusters=with_others(test.clusters, others),
    )  # fmt: skip


def known_distractors(train: Pairs, test: Pairs, rng: np.random.Generator) -> Case:
    """The same, if the choice is made on a gallery that has them too, as it is in a release. They
    are like one half of the bank, and the pairs are of the other half."""
    like, pairs = train.halves(int(rng.integers(2**31)))
    hidden = distractors(like, test, rng)
    known = jittered(like.gallery, 20 * len(pairs.gallery), rng)
    return case(train, test)._replace(
        pairs={
            "gallery": np.concatenate([train.gallery, known]),
            "gallery_ids": with_others(train.clusters, known),
            "queries": pairs.queries,
            "relevant": [np.flatnonzero(train.clusters == c) for c in pairs.clusters],
            "own_bank": True,
        },
        gallery=hidden.gallery, gallery_clusters=hidden.gallery_clusters,
    )  # fmt: skip


def wrong_pairs(train: Pairs, test: Pairs, rng: np.random.Generator) -> Case:
    """One pair in ten has the query of another pair."""
    queries = train.queries.copy()
    wrong = rng.choice(len(queries), len(queries) // 10, replace=False)
    queries[wrong] = queries[np.roll(wrong, 1)]
    return case(Pairs("", queries, train.gallery, train.clusters), test)


SETTINGS: dict[str, Setting] = {
    **{f"banks of {rows} rows": partial(small_bank, rows=rows) for rows in (8, 16, 50)},
    "banks of another space": foreign,
    "random vectors as banks": random_bank,
    "banks and pairs lack the test's half of the space": lacking,
    "near copies of items in the gallery": duplicates,
    "20 times more distractors, unknown to the choice": distractors,
    "20 times more distractors": known_distractors,
    "10% wrong pairs": wrong_pairs,
}
