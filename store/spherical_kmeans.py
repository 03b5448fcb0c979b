"""Spherical k-means: unit rows dealt out to the nearest of some centroids, by angle."""

import numpy as np

SAMPLE = 64  # rows a centroid to train on
_ROUNDS = 4
_ROWS = 2048  # of a block of a product


def train(sample: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """(count, d) float32 centroids of unit rows (n, d), or n of them where there are fewer rows.
    The same rows in the same order give the same centroids."""
    rng = np.random.default_rng(seed)
    centroids = sample[rng.permutation(len(sample))[:count]]
    for _ in range(_ROUNDS):
        cell = nearest(sample, centroids)[0]
        sums = np.zeros_like(centroids)
        np.add.at(sums, cell, sample)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centroids = np.where(length > 0, sums / np.maximum(length, 1e-12), centroids)
    return centroids


def nearest(vectors: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of the nearest centroid of each row, (n,) int64, and the angle to it in radians;
    of several as near, the first."""
    cell, angle = np.empty(len(vectors), np.int64), np.empty(len(vectors))
    for start in range(0, len(vectors), _ROWS):
        to = angles(vectors[start : start + _ROWS] @ centroids.T)
        cell[start : start + _ROWS] = to.argmin(axis=1)
        angle[start : start + _ROWS] = to.min(axis=1)
    return cell, angle


def angles(cosine: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip(cosine, -1, 1))
