"""Trains the heads in closed form over all pairs.

The parameters were chosen by cross-validation within the training half. On these pairs, ridge
regression onto partly whitened text was far better than contrastive heads trained by gradient
descent (`embedders.alignment.align`), and takes seconds.
"""

from collections.abc import Mapping

import numpy as np

from embedders.alignment.closed_form import ridge_projection, whitened_projection
from embedders.local.shared import LEARNED_DIM, join_parts
from embedders.projection import Projection
from pipelines.local_heads.features import Features
from pipelines.local_heads.holdout import are_copies

STAMPS_WEIGHT = 3.0  # of a stamp; each other drawing has the weight 1
POWER = 0.85
PENALTY = 20_000.0
AUDIO_PENALTY = 12_000.0
_COPY_COSINE = 0.7  # of standardised image features, above which two drawings count as copies

SETTINGS = {
    "power": POWER,
    "penalty": PENALTY,
    "audio_penalty": AUDIO_PENALTY,
    "stamps_weight": STAMPS_WEIGHT,
    "dim": LEARNED_DIM,
    "method": "ridge onto partly whitened text",
}


def train_text_and_image(stamps: Features, others: list[Features]) -> tuple[Projection, Projection]:
    """Train the heads of text and image on the training half of the stamps and other drawings."""
    parts = [stamps, *others]
    counts = [len(part.keys) for part in parts]
    weights = np.repeat([STAMPS_WEIGHT] + [1.0] * len(others), counts)
    # Both captions of a drawing mean the same: the target of its image is between the two.
    captions = [stamps.caption_vectors]
    captions += [part.caption_vectors + part.long_caption_vectors for part in others]
    texts = np.concatenate([c / np.linalg.norm(c, axis=1, keepdims=True) for c in captions])
    text = whitened_projection(texts, LEARNED_DIM, power=POWER, weights=weights)
    images = np.concatenate([part.image_inputs for part in parts])
    return text, ridge_projection(images, text(texts), penalty=PENALTY, weights=weights)


def train_audio(stamps: Features, text: Projection, image: Projection) -> Projection:
    """Train the head of recordings, into both halves of the space.

    The target of a recording is the sum of the vectors of its stamp's caption and image.
    """
    part = stamps.where(stamps.has_audio())
    captions = join_parts(part.caption_vectors, text(part.caption_vectors))
    images = join_parts(part.meaning, image(part.image_inputs))
    return ridge_projection(part.audio_inputs, captions + images, penalty=AUDIO_PENALTY)


def without_copies(others: Mapping[str, Features], held: Features) -> dict[str, Features]:
    """The drawings of other collections that are not nearly the same as a held-out stamp."""
    pooled = np.concatenate([held.image_inputs, *(part.image_inputs for part in others.values())])
    mean, deviation = pooled.mean(0), pooled.std(0) + 1e-6

    def standardised_unit_rows(inputs: np.ndarray) -> np.ndarray:
        standard = (inputs - mean) / deviation
        return standard / np.linalg.norm(standard, axis=1, keepdims=True)

    held_rows = standardised_unit_rows(held.image_inputs)
    kept = {}
    for name, part in others.items():
        cosines = standardised_unit_rows(part.image_inputs) @ held_rows.T
        is_near = cosines.max(axis=1) > _COPY_COSINE
        kept[name] = part.where(~is_near & ~are_copies(part.hashes, held.hashes))
    return kept
