"""Finds the rows of a table that have the keys of new rows, while the new rows are streamed."""

from collections.abc import Iterable, Iterator
from itertools import chain

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lance.file import LanceFileReader

_KEYS = 1 << 20  # looked up in one scan; about 100 MB with the lookup's hash table
_TAKEN = 1 << 16  # keys that are read at once


class KeyLookup:
    """Finds the rows of a table whose keys occur in a stream of batches.

    The table is scanned once for every `_KEYS` keys of the stream.
    """

    def __init__(
        self, dataset: lance.LanceDataset, key: str, storage_options: dict[str, str] | None
    ):
        self.dataset = dataset
        self.storage_options = storage_options
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

    def delete_matches(
        self, dataset: lance.LanceDataset, added: list[lance.FragmentMetadata]
    ) -> tuple[list[int], list[lance.FragmentMetadata]]:
        """Delete the matching rows from their fragments, without a commit.

        Args:
            dataset: the version that was looked at, or a newer one, where the keys are looked up
                again.
            added: the data files of the stream.

        Returns:
            The ids of the fragments that have no rows left, and the metadata of the others.
        """
        if dataset.version != self.dataset.version:
            newer = KeyLookup(dataset, self.key, self.storage_options)
            for _ in newer.observe(chain(self._matching_keys(), self._keys_of(added))):
                pass
            self.dataset, self.addresses = dataset, newer.addresses
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

    def _matching_keys(self) -> Iterator[pa.RecordBatch]:
        """The keys of the matching rows, from the version that was looked at."""
        addresses = np.concatenate(self.addresses)
        for start in range(0, len(addresses), _TAKEN):
            chosen = addresses[start : start + _TAKEN].tolist()
            yield from self.dataset._take_rows(chosen, columns=[self.key]).to_batches()

    def _keys_of(self, added: list[lance.FragmentMetadata]) -> Iterator[pa.RecordBatch]:
        """The keys in data files that are not committed yet."""
        for path in (file.path for fragment in added for file in fragment.files):
            reader = LanceFileReader(
                f"{self.dataset.uri}/data/{path}", self.storage_options, columns=[self.key]
            )
            yield from reader.read_all(batch_size=_TAKEN).to_batches()

    def _find(self, keys: list[pa.Array]) -> None:
        if not keys or not self.dataset.count_rows():
            return
        value_set = pa.concat_arrays(keys)
        scanner = self.dataset.scanner(columns=[self.key], with_row_address=True)
        for batch in scanner.to_batches():
            matches = pc.is_in(batch[self.key], value_set=value_set)
            self.addresses.append(batch["_rowaddr"].filter(matches).to_numpy().astype(np.uint64))
