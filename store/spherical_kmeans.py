"""Spherical k-means: cluster unit vectors by angle."""

import numpy as np

SAMPLE = 64  # training rows per centroid
_ROUNDS = 4
_BLOCK = 2048  # rows of one matrix product


def train(sample: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Train centroids; the same rows in the same order give the same centroids.

    Args:
        sample: (n, d) rows of unit length.
        count: number of centroids.
        seed: seed of the initial centroids.

    Returns:
        (count, d) float32 centroids, or n of them if there are fewer rows.
    """
    rng = np.random.default_rng(seed)
    centroids = sample[rng.permutation(len(sample))[:count]]
    for _ in range(_ROUNDS):
        cell = nearest(sample, centroids)[0]
        sums = np.zeros_like(centroids)
        np.add.at(sums, cell, sample)
        norm = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = np.where(norm > 0, sums / np.maximum(norm, 1e-12), centroids)
    return centroids


def nearest(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each row; of several at the same angle, the first.

    Args:
        vectors: (n, d) rows of unit length.
        centroids: (c, d) rows of unit length.

    Returns:
        The index of the centroid (n,) int64, and the angle to it (n,) in radians.
    """
    cell, angle = np.empty(len(vectors), np.int64), np.empty(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        block = angles(vectors[start : start + _BLOCK] @ centroids.T)
        cell[start : start + _BLOCK] = block.argmin(axis=1)
        angle[start : start + _BLOCK] = block.min(axis=1)
    return cell, angle


def angles(cosine: np.ndarray) -> np.ndarray:
    """Angles in radians of cosines, which rounding may have moved outside -1 to 1."""
    return np.arccos(np.clip(cosine, -1, 1))
