"""Hubs: how unevenly the places in result lists fall on the items of a gallery.

All from the k-occurrence N_k (Radovanovic, Nanopoulos and Ivanovic 2010, "Hubs in space", JMLR
11): how many result lists of length k an item stands in.
"""

import numpy as np


def k_occurrence(lists: np.ndarray, items: int) -> np.ndarray:
    """(items,) how often each gallery row stands in result lists (m, k); -1 is padding."""
    rows = np.asarray(lists).ravel()
    return np.bincount(rows[rows >= 0], minlength=items)


def skewness(counts: np.ndarray) -> float:
    """Third standardised moment of the k-occurrence; 0 where all items occur equally often."""
    centred = counts - counts.mean()
    deviation = np.sqrt((centred**2).mean())
    return float((centred**3).mean() / deviation**3) if deviation > 0 else 0.0


def robin_hood(counts: np.ndarray) -> float:
    """Share of list places to be moved for all items to occur equally often, 0 to 1
    (Feldbauer, Leodolter, Plant and Flexer 2018)."""
    total = counts.sum()
    return float(np.abs(counts - counts.mean()).sum() / (2 * total)) if total else 0.0


def hub_share(counts: np.ndarray, times: float = 2.0) -> float:
    """Share of list places held by hubs: items that occur at least `times` the mean."""
    total = counts.sum()
    return float(counts[counts >= times * counts.mean()].sum() / total) if total else 0.0


def anti_hub_share(counts: np.ndarray) -> float:
    """Share of items that stand in no list at all."""
    return float((counts == 0).mean())
