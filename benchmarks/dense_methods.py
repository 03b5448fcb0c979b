"""Hubness reductions of the literature that need the whole query-by-gallery matrix.

They are references: most cannot be compiled into a gallery. Each takes similarities of unit
vectors, `S` (m queries, n items), and returns scores of the same shape. Statistics of an item come
from `T` (b queries, n items): with the queries of a bank, the method is inductive; with `T = S` it
is as published, and transductive.
"""

import numpy as np

NEIGHBOURS = 10
BETA = 20.0
ITERATIONS = 10


def sinkhorn(S: np.ndarray, beta: float = BETA, iterations: int = ITERATIONS) -> np.ndarray:
    """Sinkhorn normalisation of the matrix itself: log of exp(beta S) with balanced sums."""
    return beta * S + item_potentials(S, beta, iterations)


def dual_bank_sinkhorn(
    S: np.ndarray, query_bank: np.ndarray, gallery_bank: np.ndarray, gallery: np.ndarray
) -> np.ndarray:
    """DBSN (Pan, Wang, Wu, Zhang and Bu 2025, "Hubness reduction with dual bank Sinkhorn
    normalization for cross-modal retrieval", ACM MM): the query bank is balanced against the
    gallery together with the gallery bank, and the items keep their potentials."""
    targets = np.concatenate([gallery, gallery_bank])
    potentials = item_potentials(query_bank @ targets.T)
    return BETA * S + potentials[: len(gallery)]


def item_potentials(S: np.ndarray, beta: float = BETA, iterations: int = ITERATIONS) -> np.ndarray:
    """(n,) logs of the scales of the columns, so that each column gets the same sum."""
    K = np.exp(beta * (S - S.max()), dtype=np.float64)
    column = np.ones(K.shape[1])
    for _ in range(iterations):
        row = 1 / (K @ column)
        column = 1 / (row @ K)
    return np.log(column)


def mutual_proximity(S: np.ndarray, T: np.ndarray) -> np.ndarray:
    """Empirical mutual proximity (Schnitzer, Flexer, Schedl and Widmer 2012, JMLR 13), between two
    sets: the share of items farther from q, times the share of queries farther from g."""
    of_query = S.argsort(axis=1).argsort(axis=1) / S.shape[1]
    ordered = np.sort(T, axis=0)
    columns = [np.searchsorted(t, s) for t, s in zip(ordered.T, S.T, strict=True)]
    return of_query * np.stack(columns, axis=1) / len(T) + 1e-6 * S  # ties: by similarity


def nicdm(S: np.ndarray, T: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Non-iterative contextual dissimilarity measure (Jegou, Harzallah and Schmid 2007, CVPR):
    the distance divided by the root of the mean distances to the k nearest of either side."""
    of_query = np.sort(distances(S), axis=1)[:, :k].mean(axis=1)
    of_item = np.sort(distances(T), axis=0)[:k].mean(axis=0)
    return -distances(S) / np.sqrt(of_query[:, None] * of_item)


def dis_sim_local(
    S: np.ndarray, T: np.ndarray, queries: np.ndarray, gallery: np.ndarray, k: int = NEIGHBOURS
) -> np.ndarray:
    """DisSim local (Hara, Suzuki, Kobayashi, Fukumizu and Radovanovic 2016, AAAI): the squared
    distance, less those of query and item from the centroids of their k nearest. `queries` are
    those of T."""
    near = np.argpartition(-T, k, axis=0)[:k]  # (k, n) queries
    centroids = queries[near].mean(axis=0)
    # What depends on the query alone does not change its ranking.
    return -(distances(S) ** 2) + ((gallery - centroids) ** 2).sum(axis=1)


def distances(S: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2 - 2 * S, 0))
