"""Calibration: where the scores of one direction lie, so that lists of several can be merged."""

from store.bank import Bank
from store.corrections import Prepared
from store.corrections.evaluation import corrected

_MOST = 1_000


def calibrate(queries: Bank, items: Bank, prepared: Prepared | None) -> tuple[float, float]:
    """Mean and deviation of the (corrected) scores of bank pairs that do not belong together;
    0 and 1 where there are none."""
    asks, found = queries.vectors[:_MOST], items.vectors[:_MOST]
    of_asks, of_items = queries.clusters[:_MOST], items.clusters[:_MOST]
    if not len(asks) or not len(found):
        return 0.0, 1.0
    if prepared is None:
        scores = asks @ found.T
    else:
        applied = prepared.apply(found, of_items)[0]
        scores = asks @ applied.vectors.T
        corrected(scores, applied.bias, applied.flag)
    apart = scores[of_asks[:, None] != of_items[None, :]]
    return (float(apart.mean()), float(apart.std()) or 1.0) if apart.size else (0.0, 1.0)
