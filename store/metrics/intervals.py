"""Bootstrap intervals of means over queries (Efron 1979; percentile method)."""

from typing import Any, NamedTuple

import numpy as np

CHUNK = 4_000_000  # weights drawn at a time


class Interval(NamedTuple):
    """A mean and the ends of its bootstrap interval."""

    mean: float
    low: float
    high: float


def bootstrap(
    values: np.ndarray,
    *,
    groups: Any = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of the mean of `values` (m,).

    `groups` (m,) names what is drawn together, such as the captions of one image: values of a
    group are not independent, and drawn singly they would make the interval too narrow.
    """
    values = np.asarray(values, dtype=float)
    if values.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    if groups is None:
        sums, sizes = values, np.ones(values.size)
    else:
        _, inverse = np.unique(np.asarray(groups), return_inverse=True)
        sums, sizes = np.bincount(inverse, values), np.bincount(inverse).astype(float)
    rng = np.random.default_rng(seed)
    n = sums.size
    means = np.empty(resamples)
    step = max(1, CHUNK // n)
    for start in range(0, resamples, step):
        draws = min(step, resamples - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=draws)
        means[start : start + draws] = (weights @ sums) / (weights @ sizes)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(new: np.ndarray, old: np.ndarray, **options: Any) -> Interval:
    """Interval of the mean of new - old (m,) over the same queries; options as `bootstrap`."""
    return bootstrap(np.asarray(new, dtype=float) - np.asarray(old, dtype=float), **options)
