"""Personalised PageRank on a small weighted graph (Page et al. 1999; Haveliwala 2002, WWW).

r = (1 - alpha) p + alpha P^T r,   P = D^-1 (W + W^T)

A walker starts at a node by the probabilities p. In each step it follows an edge with the
probability alpha, and starts again otherwise. Nodes without edges only start again.
"""

from math import ceil, log

import numpy as np

_PRECISION = 1e-10  # of the sum of errors


def personalised_page_rank(
    start: np.ndarray, end: np.ndarray, weight: np.ndarray, restart: np.ndarray, alpha: float
) -> np.ndarray:
    """The stationary probabilities of the walker.

    Args:
        start: (e,) the node that an edge comes from. Edges can be followed both ways.
        end: (e,) the node that it leads to.
        weight: (e,) positive. Weights of equal edges add up.
        restart: (n,) probabilities, which sum to one.
        alpha: from 0 to below 1.

    Returns:
        (n,) float64, which sum to one.
    """
    nodes = len(restart)
    start, end = np.concatenate([start, end]), np.concatenate([end, start])
    weight = np.concatenate([weight, weight]).astype(np.float64)
    degree = np.bincount(start, weight, nodes)
    share = weight / degree[start]
    is_alone = degree == 0
    rank = restart
    # Each step divides the error, which is at most 2, by 1 / alpha.
    steps = 1 if not alpha else ceil(log(_PRECISION / 2) / log(alpha))
    for _ in range(steps):
        flow = np.bincount(end, share * rank[start], nodes) + rank[is_alone].sum() * restart
        rank = (1 - alpha) * restart + alpha * flow
    return rank
