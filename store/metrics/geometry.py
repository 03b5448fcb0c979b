"""Measures of the geometry of a space: closeness of pairs, spread of points, modality gap."""

import numpy as np

_BLOCK = 256  # rows whose distances are computed at a time: they stay in the cache


def alignment(x: np.ndarray, y: np.ndarray, power: float = 2.0) -> float:
    """Mean of |x - y|^power over matching rows; 0 is perfect (Wang and Isola 2020).

    Args:
        x: (n, d) rows of unit length.
        y: (n, d) rows of unit length; row i matches row i of `x`.
        power: exponent of the distance.
    """
    return float((np.linalg.norm(x - y, axis=1) ** power).mean())


def uniformity(x: np.ndarray, t: float = 2.0, rows: int = 4096, seed: int = 0) -> float:
    """Logarithm of the mean of exp(-t |x - y|^2) over pairs of distinct rows (Wang and Isola 2020).

    The lower the value, the more evenly the rows are spread.

    Args:
        x: (n, d) rows of unit length.
        t: factor of the squared distance.
        rows: largest number of rows used; a random sample is drawn if there are more.
        seed: seed of the sample.

    Returns:
        The uniformity; NaN for fewer than two rows.
    """
    if len(x) > rows:
        x = x[np.random.default_rng(seed).choice(len(x), rows, replace=False)]
    n = len(x)
    if n < 2:
        return float("nan")
    squared = (x * x).sum(axis=1)
    total = 0.0
    for start in range(0, n, _BLOCK):
        block, later = slice(start, start + _BLOCK), slice(start, None)
        potential = x[block] @ x[later].T
        potential *= 2
        np.subtract(squared[block, None] + squared[later], potential, out=potential)  # |x - y|^2
        np.maximum(potential, 0, out=potential)
        potential *= -t
        np.exp(potential, out=potential)
        own = potential[:, : len(potential)]  # each pair of this block twice, of later rows once
        total += 2 * float(potential.sum(dtype=np.float64)) - float(own.sum(dtype=np.float64))
        total -= float(np.trace(own, dtype=np.float64))
    return float(np.log(max(total, 1e-300) / (n * (n - 1))))


def modality_gap(x: np.ndarray, y: np.ndarray) -> float:
    """Distance between the mean vectors of two modalities (n, d), (m, d) (Liang et al. 2022)."""
    return float(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)))


def mean_rank_variance(ranks: np.ndarray) -> float:
    """Variance across languages of an item's rank, averaged over items.

    Source: Nie et al. 2024, "Improving the consistency in cross-lingual cross-modal retrieval".

    Args:
        ranks: (languages, items); NaN if there is no query for an item in a language. Infinite
            ranks must be clipped by the caller, who knows the length of the result lists.

    Returns:
        The mean variance in squared ranks; 0 if all languages find every item equally well. Items
        with a rank in fewer than two languages are left out; NaN if none remains.
    """
    table = np.asarray(ranks, dtype=float)
    compared = table[:, (~np.isnan(table)).sum(axis=0) >= 2]
    return float(np.nanvar(compared, axis=0).mean()) if compared.size else float("nan")
