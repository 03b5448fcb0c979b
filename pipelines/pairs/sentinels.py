"""How much of a hub a part is for queries of the corpus itself: a guard against planted hubs.

After HubScan (Habler et al. 2026): sentinel queries are asked at ingest, and items that answer an
unusual share of them are quarantined by a rule of the policy, before banks and galleries are made.
Natural hubs are among the answers of a few queries in a hundred.
"""

import numpy as np

from store.corrections.kernels.topk import TopK

K = 10
ITEMS = 65_536  # random parts that a part is compared with
_ROUNDING = 1e-6  # matrix products of other shapes differ in their last digits
_TILE = 8192
# The modality of the sentinel queries, by that of the items: the first that the corpus has.
ASKED_BY = {"image": ("text", "audio"), "audio": ("text", "image"), "text": ("image", "audio")}


class Sentinels:
    """Sentinel queries, and for each the score that an item needs to be in its top list.

    Args:
        queries: (m, d) unit rows, one or more, of random parts of another modality.
        floors: (m,) the scores.
    """

    def __init__(self, queries: np.ndarray, floors: np.ndarray):
        self._queries = queries
        self._floors = floors

    def hubness(self, vectors: np.ndarray) -> np.ndarray:
        """The share of the sentinel queries to which an item is nearer than the K-th nearest of the
        random items.

        Args:
            vectors: (n, d) unit rows of items.

        Returns:
            (n,) float32, from 0 to 1. An item's own pair can be among the queries.
        """
        scores = vectors @ self._queries.T
        return (scores >= self._floors).mean(axis=1, dtype=np.float32)


def nearest_floors(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The score of each query's K-th nearest item, less a rounding error; float32 (m,).

    Args:
        queries: (m, d) unit rows.
        items: (s, d) unit rows, one or more, of random parts of the modality of the items.
    """
    first = queries @ items[:_TILE].T
    top = TopK(first, min(K, len(items)))
    top.add(first, 0)
    for start in range(_TILE, len(items), _TILE):
        top.add(queries @ items[start : start + _TILE].T, start)
    return np.asarray(top.result()[0]).min(axis=1) - _ROUNDING
