"""Select the score at a rank of each group, exactly, without sorting the scores.

A radix selection: some bits of the scores at a time, the highest first. Each pass counts the scores
by their next bits, among those that agree with the wanted score in the bits before.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeAlias

import numpy as np

Ranked: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]  # (k,) rows, groups, unsigned scores
_GROUPS = 1 << 14  # that are counted at a time
_FEW_GROUPS = 64
_BITS, _BITS_OF_FEW = 8, 16  # that are counted by at a time: at most 32 MB


def ranked_scores(
    blocks: Callable[[], Iterator[Ranked]], rank: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the score with a given rank in each group.

    Args:
        blocks: reads all rows, their groups and scores. It is called several times.
        rank: (groups,) int64, from 0, the largest score first; -1 for a group without rows.

    Returns:
        (groups,) uint64 scores, and (groups,) int64: the rank among the rows with this score.
    """
    score, place = np.zeros(len(rank), np.uint64), rank.copy()
    for first in range(0, len(rank), _GROUPS):
        part = slice(first, first + _GROUPS)
        score[part], place[part] = _of_groups(blocks, first, place[part])
    return score, place


def _of_groups(
    blocks: Callable[[], Iterator[Ranked]], first: int, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As `ranked_scores`, of the groups from the number `first` on."""
    prefix, groups = np.zeros(len(place), np.uint64), len(place)
    bits = _BITS_OF_FEW if groups <= _FEW_GROUPS else _BITS
    shift = 8 * max((score.itemsize for _, _, score in islice(blocks(), 1)), default=0)
    is_first = True
    while shift:
        shift -= bits
        counts = np.zeros(groups << bits, np.int64)
        for _, group, score in blocks():
            if first or group.max(initial=0) >= groups:
                inside = (group >= first) & (group < first + groups)
                group, score = group[inside] - first, score[inside]
            upper = score >> score.dtype.type(shift)
            if not is_first:
                agrees = upper >> upper.dtype.type(bits) == prefix.astype(upper.dtype)[group]
                group, upper = group[agrees], upper[agrees]
            digit = (upper & upper.dtype.type((1 << bits) - 1)).astype(np.int64)
            counts += np.bincount((group.astype(np.int64) << bits) + digit, minlength=len(counts))
        descending = counts.reshape(groups, 1 << bits)[:, ::-1]
        ends = np.cumsum(descending, axis=1)
        column = (ends > place[:, None]).argmax(axis=1)[:, None]
        place = place - np.take_along_axis(ends - descending, column, 1)[:, 0]
        digits = ((1 << bits) - 1 - column[:, 0]).astype(np.uint64)
        prefix, is_first = prefix << np.uint64(bits) | digits, False
    return prefix, place
