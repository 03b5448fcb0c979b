"""Clusters of a map's points, named by the words that their captions have more than the others'."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from store.search.caption_words import words_of
from store.spherical_kmeans import best_clusters

MOST = 7  # as many as there are colours that colour-blind people can tell apart
_LEAST = 10  # points of a cluster, on average
_STARTS = 4  # of k-means
_WORDS = 3  # of a name


def cluster(vectors: np.ndarray) -> np.ndarray:
    """Cluster unit vectors (n, d) by spherical k-means; equal vectors give equal clusters.

    Returns:
        The number of each row's cluster, (n,) int64. Cluster 0 is the largest one.
    """
    count = min(MOST, max(1, len(vectors) // _LEAST))
    cell = best_clusters(vectors, count, _STARTS)
    by_size = np.argsort(-np.bincount(cell, minlength=count), kind="stable")
    return np.argsort(by_size)[cell]


def drawn_rows(clusters: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most `most` rows of each cluster, at random and always the same ones."""
    order = np.random.default_rng(0).permutation(len(clusters))
    chosen = [order[clusters[order] == number][:most] for number in np.unique(clusters)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))


def names(clusters: np.ndarray, captions: Sequence[str | None]) -> list[str]:
    """A name for each cluster: the words that its captions have more often than the others do.

    Args:
        clusters: (n,) numbers of clusters, from 0.
        captions: (n) of the same rows.

    Returns:
        Such as "chess, white, pawn"; empty where no word is more frequent.
    """
    sizes = np.bincount(clusters).tolist() if len(clusters) else []
    counts = [Counter[str]() for _ in sizes]
    for number, caption in zip(clusters.tolist(), captions, strict=True):
        counts[number].update(words_of(caption or ""))
    total = sum(counts, Counter[str]())
    return [
        ", ".join(_distinctive(own, total, size, len(clusters)))
        for own, size in zip(counts, sizes, strict=True)
    ]


def _distinctive(own: Counter[str], total: Counter[str], size: int, rows: int) -> list[str]:
    """Words by what they add to the divergence of this cluster's captions from the others'.

    A word of more captions than the cluster has, such as "the", names no cluster, and neither does
    one that is not twice as frequent as among the others.
    """
    others = max(rows - size, 1)
    gain = {}
    for word, n in own.items():
        share, elsewhere = n / size, (total[word] - n + 0.5) / (others + 1)
        if n > 1 and total[word] <= size and share >= 2 * elsewhere:
            gain[word] = share * math.log(share / elsewhere)
    return sorted(gain, key=lambda word: (-gain[word], word))[:_WORDS]
