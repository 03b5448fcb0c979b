"""How far the scores of matching pairs stand out from those of unrelated ones."""

from typing import Any

import numpy as np


def auc(matching: np.ndarray, unrelated: np.ndarray) -> float:
    """The chance that a matching pair scores above an unrelated one, ties counting half: the area
    under the ROC curve (Hanley and McNeil 1982). NaN where there are none of either."""
    if not len(matching) or not len(unrelated):
        return float("nan")
    ordered = np.sort(unrelated)
    below = np.searchsorted(ordered, matching, "left")
    not_above = np.searchsorted(ordered, matching, "right")
    return float((below + not_above).mean() / (2 * len(ordered)))


def histograms(matching: np.ndarray, unrelated: np.ndarray, bins: int = 40) -> dict[str, Any]:
    """Scores of pairs as counts in bins of equal width, as JSON values.

    `low` and `high` are the ends of the first and the last bin; `matching` and `unrelated` are
    `bins` counts each; `auc` is how well the two are told apart.
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
