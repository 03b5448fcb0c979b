"""Predict from cheap signals whether the rules of an expensive scorer would reject a sample.

A logistic regression on the ranks of the signals gives a probability; how good it is decides only
how much is saved. The risk is set by split-conformal thresholds (Vovk, Gammerman and Shafer 2005;
by class as in Vovk 2012): half of the sample is learned from, and the thresholds are quantiles of
the other half. If samples are exchangeable within a drop, at most `loss` of those that the rules
would keep are above the upper threshold, and at most `loss` of those that they would reject are
below the lower one, on average over draws of the sample.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

KEEP, UNCERTAIN, REJECT = 1, 0, -1
_KNOTS = 33  # of the empirical distribution of a signal
_PENALTY = 1.0  # of the squared weights
_STEPS = 30  # of Newton's method
_CONVERGED = 1e-8

Columns = Mapping[str, pa.Array | pa.ChunkedArray]


@dataclass(frozen=True)
class Predictor:
    """A fitted predictor of one scorer; picklable.

    Attributes:
        ranks: for each signal, values and their ranks from -1 to 1, both ascending.
        weights: (1 + 3 * signals,) float64.
        keep_below: samples with a smaller probability of being rejected are kept.
        reject_above: samples with a larger one are rejected.
    """

    ranks: Mapping[str, tuple[np.ndarray, np.ndarray]]
    weights: np.ndarray
    keep_below: float
    reject_above: float

    def outcomes(self, columns: Columns) -> np.ndarray:
        """KEEP, REJECT or UNCERTAIN for each row, (n,) int8."""
        p = _probability(_features(self.ranks, columns), self.weights)
        keep_below, reject_above = self.keep_below, self.reject_above
        if keep_below > reject_above:  # the classes are well separated: both risks become smaller
            keep_below = reject_above = (keep_below + reject_above) / 2
        outcomes = np.select([p < keep_below, p > reject_above], [KEEP, REJECT], UNCERTAIN)
        return outcomes.astype(np.int8)


def fit_predictor(
    columns: Columns, signals: Sequence[str], broken: np.ndarray, loss: float
) -> Predictor | None:
    """Learn from a random sample that the expensive scorer measured.

    Args:
        columns: of the sample, in random order (by id).
        signals: the names of the numeric columns to predict from.
        broken: (n,) bool, whether the scorer's rules reject the row.
        loss: see the module.

    Returns:
        None if the half that is learned from has one outcome only.
    """
    learn = np.arange(len(broken)) % 2 == 0
    halves = [
        {name: columns[name].filter(pa.array(half)) for name in signals} for half in (learn, ~learn)
    ]
    if broken[learn].all() or not broken[learn].any():
        return None
    ranks = {name: _ranks(column) for name, column in halves[0].items()}
    weights = _logistic(_features(ranks, halves[0]), broken[learn])
    p, rejected = _probability(_features(ranks, halves[1]), weights), broken[~learn]
    return Predictor(ranks, weights, _lower(p[rejected], loss), _upper(p[~rejected], loss))


def _upper(values: np.ndarray, loss: float) -> float:
    """A threshold that a further value exceeds with a probability of at most `loss`."""
    rank = math.ceil((len(values) + 1) * (1 - loss) - 1e-9)
    return float(np.sort(values)[rank - 1]) if 0 < rank <= len(values) else math.inf


def _lower(values: np.ndarray, loss: float) -> float:
    """A threshold that a further value falls below with a probability of at most `loss`."""
    rank = math.floor((len(values) + 1) * loss + 1e-9)
    return float(np.sort(values)[rank - 1]) if rank else -math.inf


def _numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Values as float64, NaN for null and for what is not finite."""
    values = pc.fill_null(column.cast(pa.float64()), math.nan).to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(values), values, np.nan)


def _ranks(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    values = _numbers(column)
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        return np.zeros(1), np.zeros(1)
    knots = np.unique(np.quantile(values, np.linspace(0, 1, _KNOTS)))
    ends = [np.searchsorted(values, knots, side) for side in ("left", "right")]
    return knots, (ends[0] + ends[1]) / len(values) - 1


def _features(ranks: Mapping[str, tuple[np.ndarray, np.ndarray]], columns: Columns) -> np.ndarray:
    """For each signal its rank, the square of it, and whether it is null; first a one."""
    features = []
    for name, (knots, positions) in ranks.items():
        values = _numbers(columns[name])
        absent = np.isnan(values)
        rank = np.where(absent, 0, np.interp(np.where(absent, 0, values), knots, positions))
        features += [rank, rank**2, absent.astype(np.float64)]
    return np.stack([np.ones(len(features[0])), *features], axis=1)


def _probability(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(features @ weights, -50, 50)))


def _logistic(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logistic regression with a quadratic penalty, by Newton's method."""
    weights = np.zeros(features.shape[1])
    penalty = np.full(len(weights), _PENALTY)
    penalty[0] = 1e-6  # not of the constant
    for _ in range(_STEPS):
        p = _probability(features, weights)
        slope = features.T @ (p - labels) + penalty * weights
        curvature = (features * (p * (1 - p))[:, None]).T @ features + np.diag(penalty)
        change = np.linalg.solve(curvature, slope)
        weights = weights - np.clip(change, -5, 5)
        if np.abs(change).max() < _CONVERGED:
            break
    return weights
