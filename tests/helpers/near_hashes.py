"""Do the tasks of a search for near hashes, one after the other."""

from collections.abc import Iterable, Iterator, Sequence

from pipelines.duplicates.images import hamming
from pipelines.duplicates.pair_joins import Block, Rows


def near_hashes(
    arrays: Sequence[Rows], radius: int, tasks: Iterable[hamming.Listing]
) -> Iterator[Block]:
    """The near pairs of all tasks; of two arrays, the row of the first one comes first."""
    for task in tasks:
        for one, other, similarity in hamming.look_up(arrays, radius, task):
            yield (one, other, similarity) if task.listed == 0 else (other, one, similarity)
