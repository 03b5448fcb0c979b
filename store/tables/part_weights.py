"""Learned weights of a release: how queries of a modality join the scores of a sample's parts.

After the learned aggregation of CLaMR (Wan et al. 2025), with weights for each modality in the
place of a network. The score of a sample, whose parts have the calibrated scores c_p, is

    best * max_p c_p + sum_p weight_p * (c_p - offset_p)

over the parts that it has. All weights are 0 or more, so the score never falls when that of a part
grows, and a part with its offset as score counts as much as a missing one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PartWeights:
    """How queries of one modality join the scores of a sample's parts.

    Attributes:
        best: the weight of the best part's score.
        weights: by modality of the part.
        offsets: by modality of the part: the calibrated score that counts as a missing part.
        pairs: how many pairs it was fitted on.
        reason: why the weights are these.
        changed: rows that came to or left the galleries since the weights were learned.
    """

    best: float
    weights: dict[str, float]
    offsets: dict[str, float]
    pairs: int
    reason: str = ""
    changed: int = 0

    def counted(self, modality: str, scores: np.ndarray) -> np.ndarray:
        """What parts of a modality with these calibrated scores (n,) add beside the best part."""
        return self.weights.get(modality, 0.0) * (scores - self.offsets.get(modality, 0.0))

    def scores(self, parts: Mapping[str, np.ndarray]) -> np.ndarray:
        """The scores (n,) of samples.

        Args:
            parts: calibrated scores (n,) of their parts by modality, NaN for a part that a sample
                does not have. Every sample has a part.
        """
        total = self.best * np.nanmax(np.stack(list(parts.values())), axis=0)
        for modality, scores in parts.items():
            total = total + np.nan_to_num(self.counted(modality, scores))
        return total

    def bound(self, highest: float) -> float:
        """The highest score of a sample none of whose parts has a calibrated score above this."""
        more = (float(self.counted(m, np.array(highest))) for m in self.weights)
        return self.best * highest + sum(max(0.0, each) for each in more)


def mix(members: Sequence[tuple[float, PartWeights]]) -> PartWeights:
    """The weights of a query with several inputs: the mean of those of its inputs.

    Args:
        members: shares, which sum to 1, and weights.
    """
    modalities = dict.fromkeys(m for _, each in members for m in each.weights)
    weights = {m: sum(s * w.weights.get(m, 0.0) for s, w in members) for m in modalities}
    lowered = {
        m: sum(s * w.weights.get(m, 0.0) * w.offsets.get(m, 0.0) for s, w in members)
        for m in modalities
    }
    offsets = {m: lowered[m] / weights[m] if weights[m] else 0.0 for m in modalities}
    best = sum(share * each.best for share, each in members)
    pairs = min(each.pairs for _, each in members)
    reasons = "; ".join(dict.fromkeys(each.reason for _, each in members))
    return PartWeights(best, weights, offsets, pairs, reasons)


def describe(weights: Mapping[str, PartWeights] | None) -> dict[str, Any] | None:
    """The weights of a release as JSON values, by modality of the queries."""
    return None if weights is None else {m: asdict(each) for m, each in weights.items()}


def from_description(described: Mapping[str, Any] | None) -> dict[str, PartWeights] | None:
    """Undo `describe`."""
    return None if described is None else {m: PartWeights(**v) for m, v in described.items()}
