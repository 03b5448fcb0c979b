"""How much an alignment trusts each of its pairs: the probability that it is no mismatch.

A head fits the pairs that it is learned from, right or wrong. So the pairs are split into folds,
and those of a fold are judged by heads that were learned from the other folds. Their corrected
similarities are a mixture of matching and mismatched pairs (`pipelines.pairs.mismatch`). NCR (Huang
et al. 2021) and CromSS (Liu et al. 2024) weigh pairs by such a mixture too, of the losses that the
network in training has on the same pairs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embedders.alignment.align import align
from embedders.alignment.groups import components, folds
from pipelines.pairs.mismatch import fit_mixture
from pipelines.pairs.signals import compare, union
from store.corrections.kernels.masks import IdIndex

_FOLDS = 5
_ROUNDS = 2  # in the second one, heads are learned with the weights of the first
_RANDOM_PARTNERS = 4  # of each pair
_BANK = 4_096  # rows that a pair is compared with
_QUICK = {"epochs": 1}  # the closed form is enough to judge a pair


def pair_weights(
    x: np.ndarray,
    y: Sequence[np.ndarray],
    *,
    groups: np.ndarray,
    two_sided: bool = False,
    seed: int = 0,
    **settings: Any,
) -> np.ndarray:
    """Estimate for each pair the probability that its rows belong together.

    Args:
        x, y, groups, two_sided, settings: see `embedders.alignment.align.align`.
        seed: of the folds.

    Returns:
        (n,) float32, 0 to 1; 1 for all if there are too few pairs to tell.

    Raises:
        InputError: as `align` does, for the pairs of all folds but one.
    """
    labels = components(groups, len(x))
    held = folds(labels, _FOLDS, seed)
    weights = np.ones(len(x), np.float32)
    for _ in range(_ROUNDS):
        own, of_random = _judge(x, y, labels, held, weights, two_sided, seed, settings)
        mixture = fit_mixture(own, of_random)
        if mixture is None:
            return np.ones(len(x), np.float32)
        weights = 1 - np.nan_to_num(mixture.probability(own), nan=0.0)
    return weights


def _judge(
    x: np.ndarray,
    y: Sequence[np.ndarray],
    labels: np.ndarray,
    held: Sequence[np.ndarray],
    weights: np.ndarray,
    two_sided: bool,
    seed: int,
    settings: Mapping[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Corrected similarities of all pairs, (n,), NaN without an anchor; and of random partners."""
    own = np.full(len(x), np.nan, np.float32)
    of_random = [own[:0]]
    for fold in held:
        judged, others = np.flatnonzero(fold), ~fold
        learned = align(
            x[others],
            [side[others] for side in y],
            groups=labels[others],
            weights=weights[others],
            two_sided=two_sided,
            **{**settings, **_QUICK},
        )
        a = learned.x(x[judged])
        b = learned.y(y[0][judged]) if learned.y is not None else _mean_anchor(y, judged)
        present = np.isfinite(b).all(axis=1)
        judged, a, b = judged[present], a[present], b[present]
        own[judged] = _corrected(a, b, labels[judged], labels[judged])
        order = np.random.default_rng(seed).permutation(len(judged))
        a, b, named = a[order], b[order], labels[judged][order]
        for shift in range(1, min(_RANDOM_PARTNERS + 1, len(judged))):
            partners = np.roll(named, shift)
            random = _corrected(a, np.roll(b, shift, axis=0), named, partners)
            of_random.append(random[named != partners])
    return own, np.concatenate(of_random)


def _mean_anchor(anchors: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """The unit mean of the anchors that are present, (n, d); NaN where none is."""
    units = [a[rows] / np.linalg.norm(a[rows], axis=1, keepdims=True) for a in anchors]
    total = np.nansum(units, axis=0)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.where(length > 0, length, 1), np.nan)


def _corrected(
    a: np.ndarray, b: np.ndarray, a_groups: np.ndarray, b_groups: np.ndarray
) -> np.ndarray:
    """Corrected cosines of the pairs, (n,), the mean of both directions. Rows of a pair's groups
    are left out of its banks."""
    bank = slice(_BANK)
    directions = ((a, b, b_groups), (b, a, a_groups))
    values = []
    for queries, items, item_groups in directions:
        index = IdIndex(item_groups[bank].astype(str))
        masked = union(*(index.pairs(groups.astype(str)) for groups in (a_groups, b_groups)))
        values.append(compare(queries, items, bank=items[bank], masked=masked).corrected)
    return np.mean(values, axis=0)
