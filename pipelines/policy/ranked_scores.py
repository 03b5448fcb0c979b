"""Select the score at a rank of each group, exactly, without sorting or holding the scores.

A radix selection: eight bits of the scores at a time, the highest first. Each pass counts the
scores by their next eight bits, among those that agree with the wanted score in the bits before.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

Ranked: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]  # (k,) rows, groups, unsigned scores
_GROUPS = 1 << 14  # that are counted at a time: 32 MB


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
    shift = 8 * max((score.itemsize for _, _, score in blocks()), default=0)
    while shift:
        shift -= 8
        counts = np.zeros(groups * 256, np.int64)
        for _, group, score in blocks():
            group = group - first
            upper = score.astype(np.uint64) >> np.uint64(shift)
            counted = (group >= 0) & (group < groups)
            counted[counted] = upper[counted] >> np.uint64(8) == prefix[group[counted]]
            digit = (upper[counted] & np.uint64(255)).astype(np.int64)
            counts += np.bincount(
                group[counted].astype(np.int64) * 256 + digit, minlength=len(counts)
            )
        descending = counts.reshape(groups, 256)[:, ::-1]
        ends = np.cumsum(descending, axis=1)
        column = (ends > place[:, None]).argmax(axis=1)[:, None]
        place = place - np.take_along_axis(ends - descending, column, 1)[:, 0]
        prefix = prefix << np.uint64(8) | (255 - column[:, 0]).astype(np.uint64)
    return prefix, place
