"""Compare the scores of matching pairs with those of unrelated pairs."""

from typing import Any

import numpy as np


def auc(matching: np.ndarray, unrelated: np.ndarray) -> float:
    """Area under the ROC curve (Hanley and McNeil 1982): the probability that a matching pair has a
    higher score than an unrelated one.

    Args:
        matching: (n,) scores of matching pairs.
        unrelated: (m,) scores of unrelated pairs.

    Returns:
        The probability, with ties counted as one half; NaN if either array is empty.
    """
    if not len(matching) or not len(unrelated):
        return float("nan")
    ordered = np.sort(unrelated)
    below = np.searchsorted(ordered, matching, "left")
    not_above = np.searchsorted(ordered, matching, "right")
    return float((below + not_above).mean() / (2 * len(ordered)))


def histograms(matching: np.ndarray, unrelated: np.ndarray, bins: int = 40) -> dict[str, Any]:
    """Histograms of both kinds of scores over the same bins of equal width, as JSON values.

    Returns:
        `low` and `high`, the ends of the first and the last bin; `matching` and `unrelated`, lists
        of `bins` counts; `auc`, the area under the ROC curve.
    """
    both = np.concatenate([matching, unrelated])
    edges = np.histogram_bin_edges(both, bins)
    return {
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "matching": np.histogram(matching, edges)[0].tolist(),
        "unrelated": np.histogram(unrelated, edges)[0].tolist(),
        "auc": auc(matching, unrelated),
    }
