"""Linear maps in closed form: principal components, ridge regression and canonical correlation.

With few pairs (hundreds to some thousands), a linear system that is solved once is hard to beat
by gradient descent, and its solution is unique.

- `whitened_projection` and `ridge_projection` take numpy arrays and return finished projections.
- `ridge_solutions` and `cca_solutions` take torch tensors and yield one solution for each of
  `PENALTIES`; `embedders.alignment.training` starts from the best of them.
"""

from collections.abc import Iterator

import numpy as np
import torch

from embedders.projection import Projection
from store.errors import InputError

# Of standardised features, whose variance is 1.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
# Added to each component's variance, as a share of the mean variance. Without it, a direction
# with almost no variance would be scaled up to noise.
_VARIANCE_FLOOR = 1e-2
_NO_VARIANCE = 1e-10  # as a share of the largest: rounding errors of float64


def whitened_projection(
    rows: np.ndarray, dim: int, *, power: float = 0.5, weights: np.ndarray | None = None
) -> Projection:
    """Learn the projection on the `dim` strongest principal components, partly whitened.

    Component i is divided by its variance to the power/2: 0 is plain PCA, 1 is whitening. Between
    the two, directions that separate related texts count for more, and noise for little more.

    Args:
        rows: float32 (n, d).
        dim: the number of components.
        power: 0 to 1.
        weights: (n,) the weight of each row; None is equal weights.

    Raises:
        InputError: the rows have fewer than `dim` components.
    """
    if dim > min(rows.shape[1], len(rows) - 1):
        raise InputError(
            f"{len(rows)} rows of {rows.shape[1]} numbers do not have {dim} principal components"
        )
    share = _shares(weights, len(rows))
    mean = share @ rows
    centred = (rows - mean) * np.sqrt(share)[:, None]
    variance, axes = np.linalg.eigh(centred.T @ centred)
    variance, axes = variance[::-1][:dim], axes[:, ::-1][:, :dim]
    scaled = axes * (variance + _VARIANCE_FLOOR * variance.mean()) ** (-power / 2)
    return _linear_projection(scaled, -mean @ scaled)


def ridge_projection(
    x: np.ndarray, y: np.ndarray, *, penalty: float, weights: np.ndarray | None = None
) -> Projection:
    """Learn the linear map from x to y by ridge regression on standardised features.

    It minimises the squared error plus `penalty` times the squared weights.

    Args:
        x: (n, d_x) features.
        y: (n, d_y) unit rows.
        penalty: in units of a pair's mean weight; about the number of pairs is a good start.
        weights: (n,) the weight of each pair; None is equal weights.
    """
    share = _shares(weights, len(x))
    weight = share * len(x)
    x_mean, y_mean = share @ x, share @ y
    deviation = np.sqrt(share @ (x - x_mean) ** 2)
    scale = 1 / (deviation + 1e-3 * deviation.max() + 1e-12)
    standardised = ((x - x_mean) * scale).astype(np.float64)
    weighted = standardised * weight[:, None]
    system = standardised.T @ weighted + penalty * np.eye(x.shape[1])
    solution = np.linalg.solve(system, weighted.T @ (y - y_mean))
    # The mean of y is left out of the bias: all images would share it, which makes hubs.
    return _linear_projection(solution * scale[:, None], -(x_mean * scale) @ solution)


def ridge_solutions(
    x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Solve the ridge regression from x to y for each of `PENALTIES`.

    Args:
        x: (n, d_x), columns of mean zero.
        y: (n, d_y).
        weights: (n,) of the pairs, 0 to 1, not all 0.

    Yields:
        Weights (d_y, d_x) and offsets (d_y,).
    """
    kind = x.dtype
    x, y, weights = x.double(), y.double(), weights.double()
    share = (weights / weights.sum())[:, None]
    y_mean = (share * y).sum(0)
    # With fewer pairs than features, the solution lies in the span of the pairs.
    variance, axes = _principal_axes(x * (share * len(x)).sqrt())
    for solution in ridge_by_penalty(variance, axes, x.T @ (share * (y - y_mean))):
        yield solution.T.to(kind), y_mean.to(kind)


def ridge_by_penalty(
    variance: torch.Tensor, axes: torch.Tensor, cross: torch.Tensor
) -> Iterator[torch.Tensor]:
    """(V + penalty I)^-1 C for each of `PENALTIES`, (d_x, d_y).

    Args:
        variance, axes: (r,) and (d_x, r), of V, the mean of x'x.
        cross: C (d_x, d_y), the mean of x'y.
    """
    rotated = axes.T @ cross
    for penalty in PENALTIES:
        yield axes @ (rotated / (variance[:, None] + penalty))


def cca_solutions(
    x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor, dim: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Solve the regularised canonical correlation of x and y for each of `PENALTIES`.

    Args:
        x: (n, d_x), columns of mean zero.
        y: (n, d_y), columns of mean zero.
        weights: (n,) of the pairs, 0 to 1, not all 0.
        dim: the largest number of components.

    Yields:
        Weights (k, d_x) of x and (k, d_y) of y, k at most `dim`. Each component is scaled by the
        square root of its correlation.
    """
    kind = x.dtype
    x, y, weights = x.double(), y.double(), weights.double()  # in float32 the SVD can fail
    share = (weights / weights.sum())[:, None]
    # Each side alone is as reliable in a mismatched pair as in a matching one.
    solutions = cca_by_penalty(_principal_axes(x), _principal_axes(y), x.T @ (share * y), dim)
    for of_x, of_y in solutions:
        yield of_x.T.to(kind), of_y.T.to(kind)


def cca_by_penalty(
    x: tuple[torch.Tensor, torch.Tensor],
    y: tuple[torch.Tensor, torch.Tensor],
    cross: torch.Tensor,
    dim: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Canonical directions of x (d_x, k) and y (d_y, k) for each of `PENALTIES`.

    Args:
        x, y: variance (r,) and axes (d, r) of the mean of x'x, and of y'y.
        cross: (d_x, d_y), the mean of x'y.
        dim: the largest k.
    """
    (x_variance, x_axes), (y_variance, y_axes) = x, y
    rotated = x_axes.T @ cross @ y_axes
    for penalty in PENALTIES:
        left, right = (x_variance + penalty).rsqrt(), (y_variance + penalty).rsqrt()
        u, s, vh = torch.linalg.svd(left[:, None] * rotated * right, full_matrices=False)
        k = min(dim, len(s))
        root = s[:k].sqrt()
        of_x, of_y = x_axes @ (left[:, None] * u[:, :k]), y_axes @ (right[:, None] * vh[:k].T)
        yield of_x * root, of_y * root


def principal_axes_of(second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The eigenvalues (r,) and axes (d, r) of a mean of squares (d, d), without its null space."""
    return _present(*torch.linalg.eigh(second))


def _principal_axes(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean squares (r,) of n rows along their principal axes (d, r), r at most n and d."""
    count, width = rows.shape
    if count >= width:
        variance, axes = torch.linalg.eigh(rows.T @ rows / count)
    else:  # the smaller matrix has the same eigenvalues
        variance, left = torch.linalg.eigh(rows @ rows.T / count)
        axes = rows.T @ left / (variance.clamp_min(0) * count).sqrt().clamp_min(1e-300)
    return _present(variance, axes)


def _present(variance: torch.Tensor, axes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    present = variance > variance.max() * _NO_VARIANCE
    return variance[present], axes[:, present]


def _shares(weights: np.ndarray | None, rows: int) -> np.ndarray:
    """Weights as float64 (n,) that sum to one."""
    weights = np.ones(rows) if weights is None else np.asarray(weights, np.float64)
    return weights / weights.sum()


def _linear_projection(weight: np.ndarray, bias: np.ndarray) -> Projection:
    return Projection({"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)})
