"""Spherical k-means: clusters unit vectors by the angle to the nearest centroid."""

import numpy as np

ROWS_PER_CENTROID = 64  # rows to train on, for each centroid
_ROUNDS = 4
_BLOCK_ROWS = 2048  # of one matrix product


def train_centroids(sample: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Train centroids. The same rows in the same order give the same centroids.

    Args:
        sample: unit rows (n, d) float32.
        count: how many centroids.
        seed: of the choice of initial centroids.

    Returns:
        (min(count, n), d) float32 centroids.
    """
    rng = np.random.default_rng(seed)
    centroids = sample[rng.permutation(len(sample))[:count]]
    for _ in range(_ROUNDS):
        cell = nearest_centroids(sample, centroids)[0]
        sums = np.zeros_like(centroids)
        np.add.at(sums, cell, sample)
        norm = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = np.where(norm > 0, sums / np.maximum(norm, 1e-12), centroids)
    return centroids


def best_clusters(vectors: np.ndarray, count: int, starts: int) -> np.ndarray:
    """Cluster rows by the centroids with the smallest sum of angles, of several starts.

    Args:
        vectors: unit rows (n, d) float32.
        count: how many clusters.
        starts: how many choices of initial centroids are tried.

    Returns:
        The number of each row's cluster, (n,) int64.
    """
    trained = (train_centroids(vectors, count, seed) for seed in range(starts))
    fitted = (nearest_centroids(vectors, centroids) for centroids in trained)
    return min(fitted, key=lambda each: each[1].sum())[0]


def nearest_centroids(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest centroid of each row. Ties go to the first.

    Args:
        vectors: unit rows (n, d).
        centroids: unit rows (k, d).

    Returns:
        The index of the centroid (n,) int64, and the angle to it in radians (n,) float64.
    """
    cell, angle = np.empty(len(vectors), np.int64), np.empty(len(vectors))
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        block_angles = angles(vectors[block] @ centroids.T)
        cell[block] = block_angles.argmin(axis=1)
        angle[block] = block_angles.min(axis=1)
    return cell, angle


def angles(cosine: np.ndarray) -> np.ndarray:
    """Angles in radians for cosines, which may exceed [-1, 1] by rounding."""
    return np.arccos(np.clip(cosine, -1, 1))
