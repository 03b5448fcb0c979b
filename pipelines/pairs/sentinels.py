"""How much of a hub a part is for queries of the corpus itself: a guard against planted hubs.

After HubScan (Habler et al. 2026): sentinel queries are asked at ingest, and items that answer an
unusual share of them are quarantined by a rule of the policy, before banks and galleries are made.
Natural hubs are among the answers of a few queries in a hundred.
"""

from collections.abc import Callable

import numpy as np

from store.corrections.kernels.topk import TopK

K = 10
ITEMS = 65_536  # random parts that a part is compared with
_ROUNDING = 1e-6  # matrix products of other shapes differ in their last digits
_TILE = 8192
# The modality of the sentinel queries, by that of the items: the first that the corpus has.
ASKED_BY = {"image": ("text", "audio"), "audio": ("text", "image"), "text": ("image", "audio")}


def draw_sentinels(draw: Callable[[str, int], np.ndarray], count: int) -> "dict[str, Sentinels]":
    """The sentinel queries for the items of each modality that can be asked for.

    Args:
        draw: gives unit rows of up to a number of random parts of a modality.
        count: of the queries of each modality.
    """
    drawn = {}
    for modality, others in ASKED_BY.items():
        items = draw(modality, ITEMS)
        queries = next((rows for m in others if len(rows := draw(m, count))), None)
        if len(items) and queries is not None:
            drawn[modality] = Sentinels(queries, items)
    return drawn


class Sentinels:
    """Sentinel queries, and for each the score that an item needs to be in its top list.

    Args:
        queries: (m, d) unit rows, one or more, of random parts of another modality.
        items: (s, d) unit rows, one or more, of random parts of the modality of the items.
    """

    def __init__(self, queries: np.ndarray, items: np.ndarray):
        self._queries = queries
        first = queries @ items[:_TILE].T
        top = TopK(first, min(K, len(items)))
        top.add(first, 0)
        for start in range(_TILE, len(items), _TILE):
            top.add(queries @ items[start : start + _TILE].T, start)
        self._floors = np.asarray(top.result()[0]).min(axis=1) - _ROUNDING

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
