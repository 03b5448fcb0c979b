"""Chooses the half of the stamps that is held out, by their keys.

Similar stamps are held out together, so that nothing like a held-out stamp is trained on: stamps
with equal captions, stamps of one folder whose names differ in a number (`frog`, `frog-1`), and
stamps with the same or nearly the same image.
"""

import hashlib
import io
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from embedders.alignment.groups import components
from embedders.media.image import load_rgb

_GRID = 16
_MAX_DISTANCE = 12  # of 256 bits: the largest distance of the hashes of two copies


def group_similar(keys: Sequence[str], captions: Sequence[str], hashes: np.ndarray) -> np.ndarray:
    """Group n stamps that are similar to each other.

    Args:
        keys: n keys, such as `animals/frog-1`.
        captions: n captions.
        hashes: (n, 256) bool, see `difference_hash`.

    Returns:
        (n,) int64, equal for the stamps of one group.
    """
    names = [re.sub(r"(?<=[a-z])[-_ ]?\d+[a-z]?$", "", key.lower()) for key in keys]
    texts = [re.sub(r"\W+", " ", caption.casefold()).strip() for caption in captions]
    pairs = np.argwhere(np.triu(_distances(hashes, hashes) <= _MAX_DISTANCE, 1))
    groups = components([_numbers(names), _numbers(texts)], len(keys))
    for one, other in pairs:
        groups[groups == groups[other]] = groups[one]
    return groups


def held_out(keys: Sequence[str], groups: np.ndarray) -> np.ndarray:
    """(n,) bool: True in the groups whose first key has an odd hash, about half of them."""
    mask = np.zeros(len(keys), bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        first = min(keys[i] for i in members.tolist())
        mask[members] = hashlib.blake2b(first.encode(), digest_size=1).digest()[0] & 1
    return mask


def are_copies(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether images are the same, or nearly so, as one of the others.

    Args:
        hashes: (n, 256) bool.
        others: (m, 256) bool.

    Returns:
        (n,) bool.
    """
    return _distances(hashes, others).min(axis=1) <= _MAX_DISTANCE


def difference_hash(png: bytes) -> np.ndarray:
    """A perceptual hash of an image (dHash): (256,) bool.

    The image is scaled to 17 x 16 pixels. A bit says whether a pixel is darker than its right
    neighbour.
    """
    small = load_rgb(Image.open(io.BytesIO(png))).convert("L")
    grid = np.asarray(small.resize((_GRID + 1, _GRID), Image.Resampling.BOX), np.int16)
    return (grid[:, 1:] > grid[:, :-1]).ravel()


def _distances(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m) Hamming distances."""
    a, b = hashes.astype(np.float32), others.astype(np.float32)
    return a.sum(1)[:, None] + b.sum(1) - 2 * a @ b.T


def _numbers(names: Sequence[str]) -> np.ndarray:
    return np.unique(np.asarray(names), return_inverse=True)[1]
