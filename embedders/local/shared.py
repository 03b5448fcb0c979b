"""What the towers of the local space share: learned heads, and two halves in one vector."""

from functools import cache
from pathlib import Path

import numpy as np

from embedders.projection import Projection
from store.errors import EncoderError

MEANING = 384
LEARNED = 320
DIM = MEANING + LEARNED
SHARE = 0.4  # of the meaning in a cosine

_HEADS = Path(__file__).parent / "heads"


def head_file(modality: str) -> Path:
    """Raises EncoderError where it is missing: the package is broken then."""
    path = _HEADS / f"{modality}.safetensors"
    if not path.is_file():
        raise EncoderError(
            f"{path} is missing: isotrope is not wholly installed;"
            " install it again, or train the heads with `make heads`"
        )
    return path


@cache
def head(modality: str) -> Projection:
    return Projection.load(head_file(modality))


def joined(meaning: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Unit rows (n, 704) of unit rows (n, 384) and (n, 320): a cosine of the result is
    SHARE times the first halves' cosine and 1 - SHARE times the second's."""
    weighted = (np.sqrt(SHARE) * meaning, np.sqrt(1 - SHARE) * learned)
    return np.concatenate(weighted, axis=1).astype(np.float32, copy=False)
