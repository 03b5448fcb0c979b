"""Finds the rows of a table that have the keys of new rows, while the new rows are streamed."""

from collections.abc import Iterable, Iterator

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_KEYS = 1 << 20  # looked up in one scan; about 100 MB with the lookup's hash table


class KeyLookup:
    """Finds the rows of a table whose keys occur in a stream of batches.

    The table is scanned once for every `_KEYS` keys of the stream.
    """

    def __init__(self, dataset: lance.LanceDataset, key: str):
        self.dataset = dataset
        self.key = key
        self.addresses = [np.empty(0, np.uint64)]

    def observe(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the batches unchanged and look up their keys."""
        keys: list[pa.Array] = []
        for batch in batches:
            # A copy: the column itself would keep its whole batch in memory.
            keys.append(batch[self.key].take(pa.array(np.arange(batch.num_rows))))
            if sum(map(len, keys)) >= _KEYS:
                self._find(keys)
                keys = []
            yield batch
        self._find(keys)

    def delete_matches(self) -> tuple[list[int], list[lance.FragmentMetadata]]:
        """Delete the matching rows from their fragments, without a commit.

        Returns:
            The ids of the fragments that have no rows left, and the metadata of the others.
        """
        addresses = np.sort(np.concatenate(self.addresses))
        fragments = addresses >> np.uint64(32)
        removed, updated = [], []
        for number in np.unique(fragments).tolist():
            matches = ", ".join(map(str, addresses[fragments == number].tolist()))
            remaining = self.dataset.get_fragment(number).delete(f"_rowaddr IN ({matches})")
            if remaining is None:
                removed.append(number)
            else:
                updated.append(remaining)
        return removed, updated

    def _find(self, keys: list[pa.Array]) -> None:
        if not keys or not self.dataset.count_rows():
            return
        value_set = pa.concat_arrays(keys)
        scanner = self.dataset.scanner(columns=[self.key], with_row_address=True)
        for batch in scanner.to_batches():
            matches = pc.is_in(batch[self.key], value_set=value_set)
            self.addresses.append(batch["_rowaddr"].filter(matches).to_numpy().astype(np.uint64))
