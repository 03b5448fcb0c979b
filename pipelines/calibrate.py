"""Calibration: what a score of one direction is worth, so that lists of several can be merged.

Modalities lie apart (Liang, Zhang, Kwon, Yeung and Zou 2022, "Mind the gap", NeurIPS): two texts
are nearer than a text and its picture, so by plain scores a query's own modality fills the list. A
direction's scale has its 0 at the mean score of bank pairs that do not belong together, and its 1
where a bank query's best strangers stand: at the mean over queries of their score at the 98th
percentile. Both ends matter: placed by mean and deviation alone, directions with heavier tails win.
"""

import numpy as np

from store.bank import Bank
from store.corrections import Prepared
from store.corrections.evaluation import corrected

MOST = 1_000
QUANTILE = 0.98


def calibrate(queries: Bank, items: Bank, prepared: Prepared | None) -> tuple[float, float]:
    """Zero and unit of a direction's (corrected) scores; 0 and 1 where the banks cannot tell."""
    asks, found = queries.vectors[:MOST], items.vectors[:MOST]
    if not len(asks) or not len(found):
        return 0.0, 1.0
    if prepared is None:
        scores = asks @ found.T
    else:
        applied = prepared.apply(found, items.clusters[:MOST])[0]
        scores = asks @ applied.vectors.T
        corrected(scores, applied.bias, applied.flag)
    apart = queries.clusters[:MOST, None] != items.clusters[None, :MOST]
    strangers = [row[there] for row, there in zip(scores, apart, strict=True) if there.any()]
    if not strangers:
        return 0.0, 1.0
    zero = float(np.mean([s.mean() for s in strangers]))
    unit = float(np.mean([np.quantile(s, QUANTILE) for s in strangers])) - zero
    return zero, unit if unit > 0 else 1.0
