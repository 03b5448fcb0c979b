"""Bootstrap intervals of means over queries (Efron 1979; percentile method)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

CHUNK = 4_000_000  # weights drawn at a time


class Interval(NamedTuple):
    """A mean and the ends of its bootstrap interval."""

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

    Each of `values` is (m,); NaN stands for a query that the measure does not know, and is left
    out. `groups` (m,) names what is drawn together, such as the captions of one image: values of a
    group are not independent, and drawn singly they would make the interval too narrow.
    """
    table = {name: np.asarray(v, dtype=float) for name, v in values.items()}
    queries = max((v.size for v in table.values()), default=0)
    if queries == 0:
        return {name: _interval(v, v, level) for name, v in table.items()}
    group = np.arange(queries)
    if groups is not None:
        _, group = np.unique(np.asarray(groups), return_inverse=True)
    known = {name: ~np.isnan(v) for name, v in table.items()}
    sums = [np.bincount(group, np.where(known[name], v, 0)) for name, v in table.items()]
    sizes = [np.bincount(group, there) for there in known.values()]
    rng = np.random.default_rng(seed)
    n = len(sums[0])
    means = np.empty((resamples, len(table)))
    step = max(1, CHUNK // n)
    for start in range(0, resamples, step):
        draws = min(step, resamples - start)
        # Numbers counted are several times faster than numpy's multinomial, and the same draw.
        drawn = rng.integers(0, n, (draws, n))
        weights = np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(float)
        for i, (total, size) in enumerate(zip(sums, sizes, strict=True)):
            counted = weights @ size
            with np.errstate(invalid="ignore"):  # 0 / 0 where no query of the draw is known
                means[start : start + draws, i] = (weights @ total) / counted
    return {
        name: _interval(v[known[name]], means[:, i], level)
        for i, (name, v) in enumerate(table.items())
    }


def bootstrap(values: np.ndarray, **options: Any) -> Interval:
    """Interval of the mean of `values` (m,); options as `bootstrap_many`."""
    return bootstrap_many({"": values}, **options)[""]


def paired_bootstrap(new: np.ndarray, old: np.ndarray, **options: Any) -> Interval:
    """Interval of the mean of new - old (m,) over the same queries; options as `bootstrap`."""
    return bootstrap(np.asarray(new, dtype=float) - np.asarray(old, dtype=float), **options)


def _interval(values: np.ndarray, means: np.ndarray, level: float) -> Interval:
    if values.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))
