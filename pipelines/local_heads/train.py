"""Training: closed forms over all pairs, chosen by cross-validation within the training half.

On these pairs ridge regression onto partly whitened text did far better than contrastive heads
trained by gradient descent (`embedders.alignment.align`), and takes seconds.
"""

from collections.abc import Mapping

import numpy as np

from embedders.alignment.closed_form import ridge, whitened
from embedders.local.shared import LEARNED, joined
from embedders.projection import Projection
from pipelines.local_heads.features import Features
from pipelines.local_heads.holdout import alike

STAMPS_WEIGHT = 3.0  # of a stamp among the other drawings
POWER = 0.85
PENALTY = 20_000.0
AUDIO_PENALTY = 12_000.0
_NEAR = 0.7  # the cosine of standardised features from which a drawing is taken for another's copy

SETTINGS = {
    "power": POWER,
    "penalty": PENALTY,
    "audio_penalty": AUDIO_PENALTY,
    "stamps_weight": STAMPS_WEIGHT,
    "dim": LEARNED,
    "method": "ridge onto partly whitened text",
}


def learn_text_and_image(stamps: Features, others: list[Features]) -> tuple[Projection, Projection]:
    """The heads of text and image from the training half of the stamps and other drawings."""
    sets = [stamps, *others]
    counts = [len(part.keys) for part in sets]
    weights = np.repeat([STAMPS_WEIGHT] + [1.0] * len(others), counts)
    # Both captions of a drawing say the same: between them is where the picture belongs.
    said = [stamps.caption] + [part.caption + part.more for part in others]
    texts = np.concatenate([s / np.linalg.norm(s, axis=1, keepdims=True) for s in said])
    text = whitened(texts, LEARNED, power=POWER, weights=weights)
    seen = np.concatenate([part.seen for part in sets])
    return text, ridge(seen, text(texts), penalty=PENALTY, weights=weights)


def learn_audio(stamps: Features, text: Projection, image: Projection) -> Projection:
    """The head of recordings, into both halves: to where a stamp's caption and picture lie."""
    heard = stamps.where(np.isfinite(stamps.heard).all(axis=1))
    places = joined(heard.caption, text(heard.caption)) + joined(heard.meaning, image(heard.seen))
    return ridge(heard.heard, places, penalty=AUDIO_PENALTY)


def without_copies(others: Mapping[str, Features], held: Features) -> dict[str, Features]:
    """Drawings that are not nearly the same as one that is held out."""
    pooled = np.concatenate([held.seen, *(part.seen for part in others.values())])
    mean, deviation = pooled.mean(0), pooled.std(0) + 1e-6

    def unit(seen: np.ndarray) -> np.ndarray:
        standard = (seen - mean) / deviation
        return standard / np.linalg.norm(standard, axis=1, keepdims=True)

    kept = {}
    for name, part in others.items():
        near = (unit(part.seen) @ unit(held.seen).T).max(axis=1) > _NEAR
        kept[name] = part.where(~near & ~alike(part.hashes, held.hashes))
    return kept
