"""Measures of hubness: how unevenly result lists are distributed over the items of a gallery.

All are computed from the k-occurrence N_k: in how many result lists of length k an item occurs
(Radovanovic, Nanopoulos and Ivanovic 2010, "Hubs in space", JMLR 11). An item with a large N_k is a
hub; an item that occurs in no list is an anti-hub.
"""

import numpy as np


def k_occurrence(lists: np.ndarray, items: int) -> np.ndarray:
    """(items,) number of result lists in which each gallery row occurs.

    Args:
        lists: (m, k) gallery rows of each query's result list; -1 is padding.
        items: number of gallery rows.
    """
    rows = np.asarray(lists).ravel()
    return np.bincount(rows[rows >= 0], minlength=items)


def skewness(counts: np.ndarray) -> float:
    """Third standardised moment of the k-occurrence (n,); 0 if all items occur equally often."""
    centred = counts - counts.mean()
    squared = centred * centred
    deviation = np.sqrt(squared.mean())
    squared *= centred  # a cube as a power takes ten times as long
    return float(squared.mean() / deviation**3) if deviation > 0 else 0.0


def robin_hood(counts: np.ndarray) -> float:
    """Robin Hood index of the k-occurrence (n,), 0 to 1 (Feldbauer, Leodolter, Plant and Flexer
    2018): the share of list entries that would have to move to other items for all items to occur
    equally often."""
    total = counts.sum()
    return float(np.abs(counts - counts.mean()).sum() / (2 * total)) if total else 0.0


def hub_share(counts: np.ndarray, times: float = 2.0) -> float:
    """Share of list entries that are hubs: items that occur at least `times` the mean."""
    total = counts.sum()
    return float(counts[counts >= times * counts.mean()].sum() / total) if total else 0.0


def anti_hub_share(counts: np.ndarray) -> float:
    """Share of items that occur in no list."""
    return float((counts == 0).mean())
