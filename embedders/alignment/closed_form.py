"""Projections without a training loop: a linear system, solved once.

Where pairs are few (hundreds to some thousands), these are hard to beat by gradient descent, and
they have one answer.
"""

from collections.abc import Iterator

import numpy as np
import torch

from embedders.projection import Projection
from store.errors import InputError

_FLOOR = 1e-2  # of the mean variance; a direction with next to none would be blown up to noise


def whitened(
    rows: np.ndarray, dim: int, *, power: float = 0.5, weights: np.ndarray | None = None
) -> Projection:
    """The `dim` strongest principal components of float32 (n, d) rows, made more alike in strength.

    Component i is divided by its variance to the power/2: 0 is plain PCA, 1 is whitening. Between
    them, what sets related texts apart counts for more, and noise for not much more.

    Args:
        weights: (n,) how much each row counts.

    Raises InputError where there are fewer than `dim` components.
    """
    if dim > min(rows.shape[1], len(rows) - 1):
        raise InputError(f"{len(rows)} rows of {rows.shape[1]} have no {dim} principal components")
    weight = _shares(weights, len(rows))
    mean = weight @ rows
    centred = (rows - mean) * np.sqrt(weight)[:, None]
    variance, axes = np.linalg.eigh(centred.T @ centred)
    variance, axes = variance[::-1][:dim], axes[:, ::-1][:, :dim]
    scaled = axes * (variance + _FLOOR * variance.mean()) ** (-power / 2)
    return _linear(scaled, -mean @ scaled)


def ridge(
    x: np.ndarray, y: np.ndarray, *, penalty: float, weights: np.ndarray | None = None
) -> Projection:
    """The linear map from x (n, d_x) to unit rows y (n, d_y) with the least squared error, plus
    `penalty` times the squares of its weights on standardised features.

    Args:
        penalty: in units of one pair's mean weight; about the number of pairs is a good start.
        weights: (n,) how much each pair counts.
    """
    weight = _shares(weights, len(x)) * len(x)
    share = weight / len(x)
    mean, target_mean = share @ x, share @ y
    deviation = np.sqrt(share @ (x - mean) ** 2)
    scale = 1 / (deviation + 1e-3 * deviation.max() + 1e-12)
    centred = ((x - mean) * scale).astype(np.float64)
    weighted = centred * weight[:, None]
    system = centred.T @ weighted + penalty * np.eye(x.shape[1])
    found = np.linalg.solve(system, weighted.T @ (y - target_mean))
    # Without the target's mean, which all pictures share and which makes hubs.
    return _linear(found * scale[:, None], -(mean * scale) @ found)


def _shares(weights: np.ndarray | None, rows: int) -> np.ndarray:
    found = np.ones(rows) if weights is None else np.asarray(weights, np.float64)
    return found / found.sum()


def _linear(weight: np.ndarray, bias: np.ndarray) -> Projection:
    return Projection({"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)})


PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of standardised features, whose variance is one


def ridge_path(x: torch.Tensor, y: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Weights (d_y, d_x) and offsets (d_y,) for each of PENALTIES; x has columns of mean zero."""
    gram, mean = x.T @ x / len(x), y.mean(0)
    cross = x.T @ (y - mean) / len(x)
    values, vectors = torch.linalg.eigh(gram)
    turned = vectors.T @ cross
    for penalty in PENALTIES:
        yield (vectors @ (turned / (values[:, None] + penalty))).T, mean


def canonical(
    x: torch.Tensor, y: torch.Tensor, dim: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Weights (k, d_x) and (k, d_y) for each of PENALTIES, k at most `dim`; both have columns of
    mean zero."""
    cross = x.T @ y / len(x)
    grams = [torch.linalg.eigh(rows.T @ rows / len(rows)) for rows in (x, y)]
    for penalty in PENALTIES:
        left, right = (
            vectors * (values + penalty).rsqrt() @ vectors.T for values, vectors in grams
        )
        u, s, vh = torch.linalg.svd(left @ cross @ right, full_matrices=False)
        k = min(dim, len(s))
        root = s[:k].sqrt()[:, None]
        yield root * (left @ u[:, :k]).T, root * (right @ vh[:k].T).T
