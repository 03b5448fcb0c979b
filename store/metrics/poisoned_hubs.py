"""Items that turn up for so many unrelated queries that they may have been planted.

After HubScan (Habler et al. 2026): robust z-scores of the k-occurrence, with a budget of alerts.
Natural hubs are among the answers of a few queries in a hundred; an item that is made to answer
everything is far outside of that distribution.
"""

import math

import numpy as np

Z_SCORE = 6.0  # robust standard deviations above the median
LEAST_SHARE = 0.05  # of the queries
BUDGET = 0.002  # of the items
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution


def suspects(occurrence: np.ndarray, queries: int, budget: float = BUDGET) -> np.ndarray:
    """The items that may be planted hubs, the worst first.

    Args:
        occurrence: (n,) in how many result lists of the queries each item is.
        queries: how many there are.
        budget: the largest share of the items that is returned.

    Returns:
        (s,) indices of items, at most budget · n, rounded up.
    """
    if not len(occurrence) or not queries:
        return np.empty(0, np.int64)
    scores = robust_z(occurrence)
    order = np.argsort(-scores, kind="stable")[: math.ceil(budget * len(occurrence))]
    is_suspect = (scores[order] >= Z_SCORE) & (occurrence[order] >= LEAST_SHARE * queries)
    return order[is_suspect]


def robust_z(values: np.ndarray) -> np.ndarray:
    """(n,) distances from the median in robust standard deviations, at least one count each.

    Most items are in no list at all, so the median absolute deviation can be zero: the deviation is
    then that of a Poisson distribution with the same mean.
    """
    values = values.astype(np.float64)
    median = np.median(values)
    deviation = _MAD_TO_DEVIATION * np.median(np.abs(values - median))
    return (values - median) / max(deviation, math.sqrt(values.mean()), 1.0)
