"""Random choices that are the same whenever they are made: hashes of a seed and a sample's id."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from store import identity
from store.arrays import splitmix64
from store.identity import id_words


def drawn_numbers(ids: Iterable[pa.Array], name: str, seed: int) -> np.ndarray:
    """The number that each sample draws in a step, by packed ids: (n,) uint32, at least 1."""
    salt = int(identity.run_key(name, seed)[:16], 16)
    numbers = [draw_numbers(id_words(chunk), salt) for chunk in ids]
    return np.concatenate([np.empty(0, np.uint32), *numbers])


def draw_numbers(ids: np.ndarray, salt: int) -> np.ndarray:
    """Draw a number for each id: pseudo-random, and the same whenever it is drawn.

    Args:
        ids: (n, 2) uint64, the two words of each id, which are hashes.
        salt: an unsigned 64-bit integer.

    Returns:
        (n,) uint32, at least 1.
    """
    high, low = ids.T.astype(np.uint64)
    hashed = splitmix64((high ^ np.uint64(salt)) + low)
    return np.maximum((hashed >> np.uint64(32)).astype(np.uint32), np.uint32(1))
