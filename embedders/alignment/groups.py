"""Groups of pairs that have something in common, and splits that keep groups together."""

from collections.abc import Sequence

import numpy as np

from store.arrays import connected_components
from store.errors import InputError


def components(groups: np.ndarray | Sequence[np.ndarray] | None, pairs: int) -> np.ndarray:
    """Label the connected components of pairs that share values.

    Args:
        groups: (n,) integers, or several such arrays; None puts every pair in its own component.
        pairs: n.

    Returns:
        (n,) int64, equal for pairs that share a value in any of `groups`, directly or through
        other pairs.

    Raises:
        InputError: an array is not (n,) integers.
    """
    if groups is None:
        return np.arange(pairs)
    columns = [groups] if isinstance(groups, np.ndarray) else list(groups)
    values, nodes = [np.empty(0, np.int64)], pairs  # a node a pair, then a node a distinct value
    for column in map(np.asarray, columns):
        if column.shape != (pairs,) or column.dtype.kind not in "iu":
            raise InputError(
                f"groups must be integers, one for each of {pairs} pairs,"
                f" not {column.shape} of {column.dtype}"
            )
        distinct, inverse = np.unique(column, return_inverse=True)
        values.append(nodes + inverse)
        nodes += len(distinct)
    pair = np.tile(np.arange(pairs), len(columns))
    return connected_components(pair, np.concatenate(values), nodes)[:pairs]


def draw_groups(groups: np.ndarray, most: float, seed: int) -> np.ndarray:
    """Draw whole groups at random with at most `most` pairs together. Fewer are part of more.

    Args:
        groups: (n,) labels.
        most: a number of pairs.
        seed: of the draw.

    Returns:
        (n,) bool, True for pairs of the drawn groups; True for all if `most` is at least n.
    """
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    drawn = np.zeros(len(names), bool)
    drawn[order[np.cumsum(counts[order]) <= most]] = True
    return drawn[inverse]


def hold_out(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw whole groups at random that have about `share` of the pairs together.

    Args:
        groups: (n,) labels.
        share: 0 to 1.
        seed: of the draw.

    Returns:
        (n,) bool, True for pairs of the drawn groups.

    Raises:
        InputError: all pairs, or none, would be held out.
    """
    held_out = draw_groups(groups, max(share * len(groups), 1), seed)
    if held_out.all() or not held_out.any():
        count = len(np.unique(groups))
        raise InputError(f"{count} groups of pairs are too few to hold out {share:g} of the pairs")
    return held_out


def folds(groups: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Divide pairs into folds of about equally many groups, at random.

    Args:
        groups: (n,) labels.
        count: of folds; there are fewer if there are fewer groups.
        seed: of the draw.

    Returns:
        For each fold (n,) bool, which pairs are in it.

    Raises:
        InputError: there is only one group.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise InputError("all pairs have something in common: they cannot be divided into folds")
    number = np.random.default_rng(seed).permutation(len(names)) % count
    fold = number[np.searchsorted(names, groups)]
    return [fold == each for each in range(min(count, len(names)))]
