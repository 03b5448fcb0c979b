"""Random pairs that the pairs of the corpus are compared with."""

from typing import NamedTuple

import numpy as np

from pipelines.pairs.mismatch import Mixture, fit_mixture
from pipelines.pairs.signals import compare, cosine, union
from store.corrections.kernels.masks import IdIndex

_RANDOM_PARTNERS = 4  # of each pair of a bank


class Parts(NamedTuple):
    """Embedded parts of one modality.

    Attributes:
        ids: (n,) strings.
        vectors: unit rows (n, d) float32.
    """

    ids: np.ndarray
    vectors: np.ndarray


class ReferenceBank:
    """Random other partners for pairs of two modalities, a and b.

    Args:
        a, b: the parts of m random pairs, in random order.

    Attributes:
        a, b: the same.
        mixture: of mismatched and matching pairs; None until `fit` is called, or if there are too
            few pairs.
        matching: vectors (k, d) of both parts of the bank's pairs that are probably no mismatches;
            None as long as `mixture` is.
    """

    def __init__(self, a: Parts, b: Parts):
        self.a, self.b = a, b
        self.mixture: Mixture | None = None
        self.matching: tuple[np.ndarray, np.ndarray] | None = None
        self._indexes = IdIndex(a.ids), IdIndex(b.ids)

    def fit(self) -> None:
        """Fit the mixture on the bank's own pairs, and on random partners among them."""
        a, b = self.a, self.b
        own = self.compare(a, b)["corrected"]
        of_random = [own[:0]]
        for shift in range(1, min(_RANDOM_PARTNERS + 1, len(b.ids))):
            others = Parts(np.roll(b.ids, shift), np.roll(b.vectors, shift, axis=0))
            of_random.append(self.compare(a, others)["corrected"][others.ids != b.ids])
        self.mixture = fit_mixture(own, np.concatenate(of_random))
        if self.mixture is not None:
            matches = self.mixture.probability(own) <= 0.5
            self.matching = a.vectors[matches], b.vectors[matches]

    def compare(self, a: Parts, b: Parts) -> dict[str, np.ndarray]:
        """The signals of pairs, by their suffix: `cosine`, `corrected`, `rank`, and `mismatch` if a
        mixture was fitted; float32 (n,) each.

        A row's own sample is masked in the bank, and so is every sample that shares a part with it.

        Args:
            a, b: the parts of n pairs.
        """
        of_a, of_b = self._indexes
        masked = union(of_a.pairs(a.ids), of_b.pairs(b.ids))
        comparison = compare(a.vectors, b.vectors, bank=self.b.vectors, masked=masked)
        signals = {"cosine": cosine(a.vectors, b.vectors), **comparison._asdict()}
        if self.mixture is not None:
            signals["mismatch"] = self.mixture.probability(comparison.corrected)
        return signals
