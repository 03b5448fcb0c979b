"""The bins of a histogram, chosen from the range and the mean of the values."""

import math

import numpy as np

BINS = 48
# A column whose maximum is this many times its mean gets logarithmic bins. The maximum of 10^8
# values of an exponential distribution is about 20 times its mean.
_HEAVY_TAIL = 20
_DECADES = 6


def bins(low: float, high: float, positive: float, mean: float, whole: bool) -> np.ndarray:
    """Increasing edges (n + 1,) of bins for `numpy.histogram`; all values are within them.

    Integers get a bin each, or the same number of integers in each bin. Values with a heavy tail
    (at least 0, maximum above 20 times the mean) get logarithmic bins; values below the least of
    them share one bin.

    Args:
        low: the least value.
        high: the greatest value.
        positive: the least value above 0, or infinity.
        mean: of all values.
        whole: whether they are integers.
    """
    # Shares (at most 1), and integers with a bin each, are read on a linear axis.
    if low >= 0 and high > _HEAVY_TAIL * mean and high > (BINS if whole else 1):
        return _logarithmic(low, high, positive)
    if whole:
        width = math.ceil((high - low + 1) / BINS)
        return low - 0.5 + width * np.arange(math.ceil((high - low + 1) / width) + 1)
    if not high > low:
        around = max(abs(low) * 1e-3, 1e-3)
        return np.array([low - around, low + around])
    edges = np.linspace(low, high, BINS + 1)
    # One bin if there are too few floating-point numbers between the two.
    return edges if (np.diff(edges) > 0).all() else np.array([low, high])


def _logarithmic(low: float, high: float, positive: float) -> np.ndarray:
    least = max(positive, high * 10.0**-_DECADES)
    edges = np.geomspace(least, high, BINS + 1)
    edges[0], edges[-1] = least, high
    return edges if low >= least else np.concatenate([[low], edges])
