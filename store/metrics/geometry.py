"""The shape of a space: how near pairs are, how evenly points spread, how far modalities part."""

import numpy as np


def alignment(x: np.ndarray, y: np.ndarray, power: float = 2.0) -> float:
    """Mean of |x - y|^power over matching unit rows (n, d); 0 is perfect (Wang and Isola 2020)."""
    return float((np.linalg.norm(x - y, axis=1) ** power).mean())


def uniformity(x: np.ndarray, t: float = 2.0, rows: int = 4096, seed: int = 0) -> float:
    """log of the mean of exp(-t |x - y|^2) over pairs of distinct unit rows (n, d): the lower,
    the more evenly spread (Wang and Isola 2020). On a sample of `rows` rows where there are more.

    NaN for fewer than two rows.
    """
    if len(x) > rows:
        x = x[np.random.default_rng(seed).choice(len(x), rows, replace=False)]
    n = len(x)
    if n < 2:
        return float("nan")
    squared = (x * x).sum(axis=1)
    total = 0.0
    for start in range(0, n, 1024):
        part = slice(start, start + 1024)
        distance = squared[part, None] + squared - 2 * (x[part] @ x.T)
        potential = np.exp(-t * np.maximum(distance, 0))
        total += float(potential.sum(dtype=np.float64)) - np.trace(potential, offset=start)
    return float(np.log(max(total, 1e-300) / (n * (n - 1))))


def modality_gap(x: np.ndarray, y: np.ndarray) -> float:
    """Distance between the mean vectors of two modalities (n, d), (m, d) (Liang et al. 2022)."""
    return float(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)))


def mean_rank_variance(ranks: np.ndarray) -> float:
    """Variance across languages of the rank of one item's right answer, averaged over items
    (Nie et al. 2024, "Improving the consistency in cross-lingual cross-modal retrieval").

    `ranks` (languages, items), NaN where an item is not told of in a language; items told of in
    fewer than two are left out, and NaN is the answer where none is left. 0 where every language
    finds every item equally well; in squared ranks. Infinite ranks must be clipped by the caller,
    who knows how long the lists were.
    """
    table = np.asarray(ranks, dtype=float)
    compared = table[:, (~np.isnan(table)).sum(axis=0) >= 2]
    return float(np.nanvar(compared, axis=0).mean()) if compared.size else float("nan")
