"""The probability that the two parts of a pair do not belong together.

The corrected similarities of all pairs are a mixture of two components, of matching and of
mismatched pairs. NCR (Huang et al. 2021, "Learning with Noisy Correspondence for Cross-modal
Matching") and its successors, such as PC2 and CromSS (2024), fit two Gaussians by EM. Without
mismatches these split the matching pairs in two, and matching pairs are not normally distributed.

A mismatched pair is a pair of random partners, so its distribution f0 can be sampled. With f, the
distribution of all pairs, and p, the share of mismatches, the probability of a mismatch is
p f0(x) / f(x): the local false discovery rate of Efron 2008, "Microarrays, Empirical Bayes and the
Two-Groups Model". Both densities are kernel estimates. p is estimated after Storey 2002: below the
median of f0 there are few matching pairs, so f has p times the mass of f0 there.
"""

from dataclasses import dataclass

import numpy as np

LEAST_PAIRS = 50  # for a fit
_QUANTILES = (0.5, 0.6, 0.7)  # of f0, below which p is estimated
_POINTS = 512  # at which the densities are computed
_FLOOR = 1e-4  # of a kernel's width: above a cosine's rounding errors


@dataclass(frozen=True)
class Mixture:
    """Mismatched and matching pairs.

    Attributes:
        share: of mismatched pairs, 0 to 1.
        values: (k,) corrected similarities, ascending.
        probabilities: (k,) the probability of a mismatch at these, descending.
    """

    share: float
    values: np.ndarray
    probabilities: np.ndarray

    def probability(self, corrected: np.ndarray) -> np.ndarray:
        """The probability of a mismatch, float32 (n,), linear between `values`; NaN for NaN."""
        return np.interp(corrected, self.values, self.probabilities).astype(np.float32)


def fit_mixture(corrected: np.ndarray, of_random: np.ndarray) -> Mixture | None:
    """Fit the mixture.

    Args:
        corrected: (n,) of pairs of the corpus; NaN is left out.
        of_random: (m,) of pairs of random partners; NaN is left out.

    Returns:
        The mixture; None if one of the two has fewer than `LEAST_PAIRS` values.
    """
    values, random = (x[np.isfinite(x)].astype(np.float64) for x in (corrected, of_random))
    if min(len(values), len(random)) < LEAST_PAIRS:
        return None
    below = [np.mean(values < np.quantile(random, q)) / q for q in _QUANTILES]
    share = float(min(*below, 1))
    points = np.quantile(values, np.linspace(0, 1, min(len(values), _POINTS)))
    ratio = _density(random, points) / _density(values, points)
    # Imported here: it takes most of a second, and few corpora need it.
    from scipy.optimize import isotonic_regression

    # A pair that is nearer is never more likely a mismatch, whatever the tails of the estimates do.
    falling = isotonic_regression(share * ratio, increasing=False).x
    return Mixture(share, points, np.clip(falling, 0, 1))


def _density(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Kernel density estimate with Gaussians of Silverman's width (1986).

    Args:
        values: (n,) a sample.
        points: (k,).

    Returns:
        (k,) the density at the points.
    """
    low, high = np.quantile(values, [0.25, 0.75])
    spread = min(values.std(), (high - low) / 1.34) or values.std()
    width = max(0.9 * spread * len(values) ** -0.2, _FLOOR)
    kernels = np.exp(-0.5 * ((points[:, None] - values) / width) ** 2)
    return kernels.mean(axis=1) / (width * np.sqrt(2 * np.pi))
