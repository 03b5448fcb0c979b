"""Where the bins of a histogram lie: of one width, or, where the tail is heavy, of one ratio."""

import math

import numpy as np

BINS = 48
_HEAVY = 20  # times the mean: an exponential distribution of 10^8 values ends here
_DECADES = 6


def bins(low: float, high: float, positive: float, mean: float, whole: bool) -> np.ndarray:
    """Edges (n + 1,), increasing, as `numpy.histogram` takes them; all values lie within.

    Whole numbers get a bin each, or as many to each bin. Values from 0 on whose greatest is 20
    times their mean get bins of one ratio, and those below the least of these one bin together.

    Args:
        low, high: the least and the greatest value.
        positive: the least value above 0, or infinity.
        mean: of all values.
        whole: whether they are whole numbers.
    """
    # Shares are read on a line, and so are counts of which each has its bin.
    if low >= 0 and high > _HEAVY * mean and high > (BINS if whole else 1):
        return _of_one_ratio(low, high, positive)
    if whole:
        width = math.ceil((high - low + 1) / BINS)
        return low - 0.5 + width * np.arange(math.ceil((high - low + 1) / width) + 1)
    if not high > low:
        around = max(abs(low) * 1e-3, 1e-3)
        return np.array([low - around, low + around])
    edges = np.linspace(low, high, BINS + 1)
    # So near to each other that there are not as many numbers in between.
    return edges if (np.diff(edges) > 0).all() else np.array([low, high])


def _of_one_ratio(low: float, high: float, positive: float) -> np.ndarray:
    least = max(positive, high * 10.0**-_DECADES)
    edges = np.geomspace(least, high, BINS + 1)
    edges[0], edges[-1] = least, high
    return edges if low >= least else np.concatenate([[low], edges])
