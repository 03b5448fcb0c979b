"""Which rows differ between two versions of a table, from the files of their fragments.

A row that was written again counts as removed and added, whether its values changed or not.
"""

from typing import NamedTuple

import lance
import numpy as np

from store import identity


class RowDifference(NamedTuple):
    """The rows that an older and a newer version of a table do not share.

    Attributes:
        removed: (r,) uint64, row ids in the older version.
        added: (a,) uint64, row ids in the newer version.
    """

    removed: np.ndarray
    added: np.ndarray


def row_difference(old: lance.LanceDataset, new: lance.LanceDataset) -> RowDifference:
    """The rows that two versions of a table do not share."""
    old_states, new_states = _states(old), _states(new)
    removed, added = [], []
    for fragment, state in old_states.items():
        if state != new_states.get(fragment):
            removed.append(_live_rows(old, fragment))
    for fragment, state in new_states.items():
        if state != old_states.get(fragment):
            added.append(_live_rows(new, fragment))
    before, after = (np.concatenate([np.empty(0, np.uint64), *rows]) for rows in (removed, added))
    both = old_states.keys() & new_states.keys()
    rewritten = np.array([f for f in both if old_states[f][0] != new_states[f][0]], np.uint64)
    # A row id is the number of its fragment and its place in it.
    is_shared = np.isin(before, after) & ~np.isin(before >> np.uint64(32), rewritten)
    shared = before[is_shared]
    return RowDifference(before[~is_shared], after[~np.isin(after, shared)])


def content(dataset: lance.LanceDataset) -> str:
    """A hash of the files of a version. Versions of equal hashes have the same rows."""
    return identity.run_key(*sorted(map(str, _states(dataset).items())))


def _states(dataset: lance.LanceDataset) -> dict[int, tuple[tuple[str, ...], str]]:
    """The data files and the deletion file of each fragment."""
    return {
        fragment.fragment_id: (
            tuple(file.path for file in fragment.metadata.files),
            str(fragment.metadata.deletion_file),
        )
        for fragment in dataset.get_fragments()
    }


def _live_rows(dataset: lance.LanceDataset, fragment: int) -> np.ndarray:
    """The ids of a fragment's rows that are not deleted, (n,) uint64."""
    opened = dataset.get_fragment(fragment)
    assert opened is not None
    scanner = opened.scanner(columns=[], with_row_id=True)
    return scanner.to_table()["_rowid"].to_numpy().astype(np.uint64)
