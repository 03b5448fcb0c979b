"""The half of the stamps that is held out: fixed by their keys, and nothing like it is trained on.

What is alike is held out together: equal captions, stamps of one folder whose names differ in a
number (`frog`, `frog-1`), pictures that are the same or nearly so.
"""

import hashlib
import io
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from embedders.alignment.align import components
from embedders.media.image import load_rgb

_GRID = 16
_ALIKE = 12  # of 256 bits of the hash that may differ


def groups(keys: Sequence[str], captions: Sequence[str], hashes: np.ndarray) -> np.ndarray:
    """(n,) int64, equal for stamps that are alike; `hashes` (n, 256) by `picture_hash`."""
    folders = [re.sub(r"(?<=[a-z])[-_ ]?\d+[a-z]?$", "", key.lower()) for key in keys]
    said = [re.sub(r"\W+", " ", caption.casefold()).strip() for caption in captions]
    bits = hashes.astype(np.float32)
    differing = bits.sum(1)[:, None] + bits.sum(1) - 2 * bits @ bits.T
    pairs = np.argwhere(np.triu(differing <= _ALIKE, 1))
    joined = components([_numbers(folders), _numbers(said)], len(keys))
    for one, other in pairs:
        joined[joined == joined[other]] = joined[one]
    return joined


def held_out(keys: Sequence[str], joined: np.ndarray) -> np.ndarray:
    """(n,) True for the groups whose first key's hash is odd: about half of them."""
    held = np.zeros(len(keys), bool)
    for group in np.unique(joined):
        members = np.flatnonzero(joined == group)
        first = min(keys[i] for i in members.tolist())
        held[members] = hashlib.blake2b(first.encode(), digest_size=1).digest()[0] & 1
    return held


def alike(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) True for pictures that are nearly the same as one of `others`."""
    a, b = hashes.astype(np.float32), others.astype(np.float32)
    differing = a.sum(1)[:, None] + b.sum(1) - 2 * a @ b.T
    return (differing <= _ALIKE).any(axis=1)


def picture_hash(png: bytes) -> np.ndarray:
    """(256,) bool: whether a picture grows brighter from each of 16 x 16 places to its right."""
    small = load_rgb(Image.open(io.BytesIO(png))).convert("L")
    grid = np.asarray(small.resize((_GRID + 1, _GRID), Image.Resampling.BOX), np.int16)
    return (grid[:, 1:] > grid[:, :-1]).ravel()


def _numbers(names: Sequence[str]) -> np.ndarray:
    return np.unique(np.asarray(names), return_inverse=True)[1]
