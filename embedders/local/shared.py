"""What the encoders of the local space share: the learned heads, and the layout of a vector."""

from functools import cache
from pathlib import Path

import numpy as np

from embedders.projection import Projection
from store.errors import EncoderError

MEANING_DIM = 384  # dimensions of the part that holds the meaning
LEARNED_DIM = 320  # dimensions of the part that heads learned
DIM = MEANING_DIM + LEARNED_DIM
MEANING_SHARE = 0.4  # of the meaning's cosine in the cosine of two vectors

_HEADS = Path(__file__).parent / "heads"


def head_file(modality: str) -> Path:
    """The file of a modality's head.

    Raises:
        EncoderError: it is missing, because the installation of isotrope is damaged.
    """
    path = _HEADS / f"{modality}.safetensors"
    if not path.is_file():
        raise EncoderError(
            f"{path} is missing: the installation of isotrope is incomplete;"
            " install it again, or train the heads with `make heads`"
        )
    return path


@cache
def head(modality: str) -> Projection:
    """The learned head of a modality."""
    return Projection.load(head_file(modality))


def join_parts(meaning: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Join the two parts of vectors.

    A cosine of the result is SHARE times the cosine of the meanings plus 1 - SHARE times the
    cosine of the learned parts.

    Args:
        meaning: unit rows (n, 384).
        learned: unit rows (n, 320).

    Returns:
        Float32 unit rows (n, 704).
    """
    weighted = (np.sqrt(MEANING_SHARE) * meaning, np.sqrt(1 - MEANING_SHARE) * learned)
    return np.concatenate(weighted, axis=1).astype(np.float32, copy=False)
