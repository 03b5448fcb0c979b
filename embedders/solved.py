"""Where training begins: the best linear maps that can be solved for, which some hundred pairs
suffice for.

One-sided this is ridge regression (Hoerl and Kennard 1970) from x to the anchors; two-sided it is
regularised canonical correlation (Hotelling 1936; Vinod 1976), each direction scaled by the root of
its correlation.
"""

from collections.abc import Iterator

import torch

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of standardised features, whose variance is one


def ridge(x: torch.Tensor, y: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
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
