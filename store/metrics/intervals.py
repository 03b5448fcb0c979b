"""Bootstrap intervals of means over queries (Efron 1979; percentile method)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

WEIGHTS_AT_ONCE = 250_000  # bootstrap weights that are held in memory: 2 MB stay in the cache


class Interval(NamedTuple):
    """A mean, and the lower and upper end of its bootstrap interval."""

    mean: float
    low: float
    high: float


def bootstrap_many(
    values: Mapping[str, np.ndarray],
    *,
    groups: Any = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of the means of several measures of the same m queries, on the same resamples.

    Args:
        values: (m,) values by name of the measure. NaN means that the measure has no value for a
            query; such queries are left out.
        groups: (m,) group of each query; a group is drawn as a unit. The values of a group, such as
            the captions of one image, are not independent: drawn one by one, they would make the
            interval too narrow.
        level: the share of resampled means inside the interval.
        resamples: number of resamples.
        seed: seed of the resamples.

    Returns:
        An interval by name; NaN in all fields for a measure without values.
    """
    table = {name: np.asarray(v, dtype=float) for name, v in values.items()}
    queries = max((v.size for v in table.values()), default=0)
    if queries == 0:
        return {name: _interval(v, v, level) for name, v in table.items()}
    group = np.arange(queries)
    if groups is not None:
        _, group = np.unique(np.asarray(groups), return_inverse=True)
    valid = {name: ~np.isnan(v) for name, v in table.items()}
    sums = [np.bincount(group, np.where(valid[name], v, 0)) for name, v in table.items()]
    sizes = [np.bincount(group, is_valid) for is_valid in valid.values()]
    summed = np.stack([*sums, *sizes], axis=1)
    rng = np.random.default_rng(seed)
    n = len(summed)
    means = np.empty((resamples, len(table)))
    step = max(1, WEIGHTS_AT_ONCE // n)
    for start in range(0, resamples, step):
        draws = min(step, resamples - start)
        # Counting drawn indices is several times faster than numpy's multinomial, with the same
        # distribution.
        drawn = rng.integers(0, n, (draws, n))
        drawn += n * np.arange(draws)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=draws * n).reshape(draws, n).astype(float)
        totals, counts = np.hsplit(weights @ summed, 2)
        with np.errstate(invalid="ignore"):  # 0 / 0 if no query of a resample has a value
            means[start : start + draws] = totals / counts
    return {
        name: _interval(v[valid[name]], means[:, i], level)
        for i, (name, v) in enumerate(table.items())
    }


def bootstrap(values: np.ndarray, **options: Any) -> Interval:
    """Interval of the mean of `values` (m,); options as for `bootstrap_many`."""
    return bootstrap_many({"": values}, **options)[""]


def paired_bootstrap(new: np.ndarray, old: np.ndarray, **options: Any) -> Interval:
    """Interval of the mean of new - old (m,), both of the same queries; options as for
    `bootstrap_many`."""
    return bootstrap(np.asarray(new, dtype=float) - np.asarray(old, dtype=float), **options)


def _interval(values: np.ndarray, means: np.ndarray, level: float) -> Interval:
    if values.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))
