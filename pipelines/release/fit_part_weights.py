"""Fits the weights of a sample's parts by a ranking loss, which is convex.

The score of a sample is linear in the weights (`store.tables.part_weights`). The loss of a query is
-log softmax of the score of its right sample among the candidates, as in ListNet with one right
answer (Cao et al. 2007). An offset between 0 and `MOST_OFFSET` keeps this form: with u, v >= 0,

    u * c + v * (c - MOST_OFFSET) = (u + v) * (c - MOST_OFFSET * v / (u + v))
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

FOLDS = 5
MOST_OFFSET = 3.0  # of a calibrated score: above it, unrelated items are rare
_RIDGE = 1e-3


class FittedWeights(NamedTuple):
    """The weight of the best part, and weights (p,) and offsets (p,) of the parts. With a part of
    each kind, the weights sum to 1."""

    best: float
    weights: np.ndarray
    offsets: np.ndarray


def fit_part_weights(scores: np.ndarray) -> FittedWeights:
    """Fit the weights of p kinds of parts to q queries with c candidate samples each.

    Args:
        scores: (q, c, p) calibrated scores of the candidates' parts. NaN: the sample has no such
            part; without any part, there is no candidate. The first candidate is the right one.
    """
    features, is_present = _features(scores)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total = np.where(is_present, features @ weights, -np.inf)
        normaliser = logsumexp(total, axis=1)
        shares = np.exp(total - normaliser[:, None])
        gradient = np.einsum("qc,qcf->f", shares, features) - features[:, 0].sum(0)
        value = (normaliser - total[:, 0]).sum()
        ridge = _RIDGE * len(features)
        return value + ridge * weights @ weights, gradient + 2 * ridge * weights

    count = features.shape[2]
    start = np.eye(count)[0]  # the best part alone
    solution = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * count).x
    best, low, high = solution[0], solution[1::2], solution[2::2]
    weights = low + high
    total = best + weights.sum()
    if total <= 0:  # no part tells the right sample from others
        return FittedWeights(1.0, np.zeros(len(weights)), np.zeros(len(weights)))
    offsets = MOST_OFFSET * np.divide(high, weights, out=np.zeros_like(high), where=weights > 0)
    return FittedWeights(float(best / total), weights / total, offsets)


def held_out_ranks(scores: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reciprocal ranks (q,) of the right candidates by the best part alone, and by weights that
    were fitted on the queries of other folds.

    Args:
        scores: see `fit_part_weights`.
        folds: (q,) the fold of each query.
    """
    features, is_present = _features(scores)
    best = _reciprocal_ranks(features[:, :, 0], is_present)
    learned = np.empty(len(scores))
    for fold in np.unique(folds):
        fitted, own = fit_part_weights(scores[folds != fold]), folds == fold
        parts = fitted.weights * (scores[own] - fitted.offsets)
        total = fitted.best * features[own, :, 0] + np.nansum(parts, axis=2)
        learned[own] = _reciprocal_ranks(total, is_present[own])
    return best, learned


def _reciprocal_ranks(scores: np.ndarray, is_present: np.ndarray) -> np.ndarray:
    """1 / rank (q,) of the first of the candidates (q, c); of equal ones it is the middle one."""
    right, others = scores[:, :1], scores[:, 1:]
    above = ((others > right) & is_present[:, 1:]).sum(1)
    equal = ((others == right) & is_present[:, 1:]).sum(1)
    return 1 / (1 + above + equal / 2)


def _features(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The features (q, c, 1 + 2 p) that the weights multiply, and which candidates (q, c) exist."""
    has_part = ~np.isnan(scores)
    is_present = has_part.any(axis=2)
    best = np.where(has_part, scores, -np.inf).max(axis=2, initial=-np.inf)
    given = np.where(has_part, scores, 0.0)
    lowered = np.where(has_part, scores - MOST_OFFSET, 0.0)
    pairs = np.stack([given, lowered], axis=3).reshape(*is_present.shape, -1)
    first = np.where(is_present, best, 0.0)[:, :, None]
    return np.concatenate([first, pairs], axis=2), is_present
