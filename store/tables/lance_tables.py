"""The Lance tables of one corpus, by name: opening, scanning, replacing rows in one transaction.

Readers never see half of a replacement, and a writer that dies leaves the version as it was.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock, Timeout

from store.errors import BusyError, InputError, NotFoundError

# Starting a program forks and execs at once, which Lance survives; it warns of forks that stay.
warnings.filterwarnings("ignore", message="lancedb fork support is experimental")
warnings.filterwarnings("ignore", message="lance is not fork-safe")

LOCK_SECONDS = 60.0
# For a scanner: by itself, Lance reads up to 2 GB ahead of who is slower.
LITTLE_AHEAD = {"batch_readahead": 2, "fragment_readahead": 1, "io_buffer_size": 64 << 20}
_KEYS = 1 << 20  # some 100 MB with what looks them up


class Tables:
    """The folder in which a corpus keeps its tables.

    Args:
        root: a local folder, or for reading only, any address that Lance opens (s3://...).
    """

    def __init__(self, root: str | Path):
        self.root = str(root)

    def __repr__(self) -> str:
        return f"Tables({self.root!r})"

    @property
    def is_local(self) -> bool:
        return "://" not in self.root

    def uri(self, name: str) -> str:
        return f"{self.root}/{name}.lance"

    def exists(self, name: str) -> bool:
        try:
            self.open(name)
        except NotFoundError:
            return False
        return True

    def open(self, name: str, version: int | str | None = None) -> lance.LanceDataset:
        """The table's newest version, or the given version or tag.

        Raises:
            NotFoundError: there is no such table or version.
        """
        if self.is_local and not Path(self.uri(name), "_versions").is_dir():
            raise NotFoundError(f"no table {name!r} in {self.root}; `isotrope run` makes it")
        try:
            return lance.dataset(self.uri(name), version=version)
        except (ValueError, OSError) as error:
            raise NotFoundError(f"no table {name!r} in {self.root}: {error}") from error

    def version(self, name: str) -> int:
        return int(self.open(name).version)

    def scan(
        self,
        name: str,
        schema: pa.Schema,
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> pa.Table:
        """Rows of a table in memory; no rows where the table does not exist yet, or was written
        when it had other columns, which is as good as not yet."""
        wanted = list(columns) if columns is not None else schema.names
        try:
            dataset = self.open(name)
        except NotFoundError:
            dataset = None
        if dataset is None or not set(wanted) <= set(dataset.schema.names):
            return pa.schema([schema.field(c) for c in wanted]).empty_table()
        return dataset.to_table(columns=wanted, filter=where)

    @contextmanager
    def lock(self, name: str, timeout: float = LOCK_SECONDS) -> Iterator[None]:
        """Hold the lock called `name`; the kernel frees it if the process dies.

        Raises:
            BusyError: another process held it for longer than `timeout` seconds.
            InputError: the tables are not in a local folder, where locks could be taken.
        """
        if not self.is_local:
            raise InputError(
                f"{self.root} can only be read: write to a local folder, where locks are sound"
            )
        folder = Path(self.root, "_locks")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / f"{name}.lock", timeout=timeout):
                yield
        except Timeout:
            raise BusyError(
                f"{name} has been locked by another run for {timeout:.0f} s; wait for that run to"
                " end, or stop it"
            ) from None

    def replace(
        self,
        name: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        where: str | None,
    ) -> int:
        """Remove the rows that match `where` (None: every row) and add `batches`, in one commit.

        Returns the version that was made, or the current one where there was nothing to do.
        """
        with self.lock(name):
            dataset = self._open_or_create(name, schema)
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            added = list(lance.fragment.write_fragments(reader, dataset.uri, schema=schema))
            removed, updated = [], []
            for fragment in dataset.get_fragments():
                left = fragment.delete(where) if where is not None else None
                if left is None:
                    removed.append(fragment.fragment_id)
                elif left.deletion_file != fragment.metadata.deletion_file:
                    updated.append(left)
            return _commit(dataset, added, removed, updated)

    def upsert(
        self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], key: str
    ) -> int:
        """Add rows whose key is new and replace those whose key is known.

        One commit. Keys must be unique within `batches`, which are streamed.
        """
        with self.lock(name):
            dataset = self._open_or_create(name, schema)
            known = KeyLookup(dataset, key)
            reader = pa.RecordBatchReader.from_batches(schema, known.among(batches))
            added = list(lance.fragment.write_fragments(reader, dataset.uri, schema=schema))
            removed, updated = known.deleted()
            return _commit(dataset, added, removed, updated)

    def _open_or_create(self, name: str, schema: pa.Schema) -> lance.LanceDataset:
        try:
            dataset = self.open(name)
        except NotFoundError:
            Path(self.root).mkdir(parents=True, exist_ok=True)
            return lance.write_dataset(schema.empty_table(), self.uri(name), schema=schema)
        if dataset.schema.equals(schema):
            return dataset
        known = set(dataset.schema.names)
        added = [f for f in schema if f.name not in known]
        same = all(f in schema for f in dataset.schema)
        if same and all(f.nullable for f in added):
            if not added:  # the same columns in another order; rows are written by name
                return dataset
            dataset.add_columns(pa.schema(added))
            return self.open(name)
        # The columns mean something else now, and so does every run key made of them.
        return lance.write_dataset(
            schema.empty_table(), self.uri(name), schema=schema, mode="overwrite"
        )

    def compact(self, name: str) -> None:
        """Merge small fragments and forget versions that nothing refers to (tags are kept)."""
        with self.lock(name):
            dataset = self.open(name)
            dataset.optimize.compact_files()
            dataset.cleanup_old_versions(
                older_than=timedelta(hours=1), error_if_tagged_old_versions=False
            )


def _commit(dataset: lance.LanceDataset, added: list, removed: list, updated: list) -> int:
    if not (added or removed or updated):
        return int(dataset.version)
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=removed, updated_fragments=updated, new_fragments=added
    )
    made = lance.LanceDataset.commit(dataset.uri, operation, read_version=dataset.version)
    return int(made.version)


class KeyLookup:
    """Finds the rows of a table whose keys pass by, so many keys to each scan of the table's."""

    def __init__(self, dataset: lance.LanceDataset, key: str):
        self.dataset = dataset
        self.key = key
        self.rows = [np.empty(0, np.uint64)]

    def among(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        keys: list[pa.Array] = []
        for batch in batches:
            # A copy: the column itself would keep its whole batch in memory.
            keys.append(batch[self.key].take(pa.array(np.arange(batch.num_rows))))
            if sum(map(len, keys)) >= _KEYS:
                self._find(keys)
                keys = []
            yield batch
        self._find(keys)

    def deleted(self) -> tuple[list[int], list[lance.FragmentMetadata]]:
        """Fragments of which nothing is left without those rows, and what is left of others."""
        rows = np.sort(np.concatenate(self.rows))
        removed, updated = [], []
        for number in np.unique(rows >> np.uint64(32)).tolist():
            here = ", ".join(map(str, rows[rows >> np.uint64(32) == number].tolist()))
            left = self.dataset.get_fragment(number).delete(f"_rowaddr IN ({here})")
            if left is None:
                removed.append(number)
            else:
                updated.append(left)
        return removed, updated

    def _find(self, keys: list[pa.Array]) -> None:
        if not keys or not self.dataset.count_rows():
            return
        wanted = pa.concat_arrays(keys)
        scanner = self.dataset.scanner(columns=[self.key], with_row_address=True)
        for batch in scanner.to_batches():
            there = pc.is_in(batch[self.key], value_set=wanted)
            self.rows.append(batch["_rowaddr"].filter(there).to_numpy().astype(np.uint64))


def take(uri: str, version: int, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Rows of a table's version by their row ids, in the order given; ids may repeat."""
    import lancedb  # takes as long to import as all the rest, and whoever judges needs none of it

    folder, _, name = uri.rpartition("/")
    table = lancedb.connect(folder).open_table(name.removesuffix(".lance"))
    table.checkout(version)
    wanted = np.asarray(rows, np.uint64)
    once, place = np.unique(wanted, return_inverse=True)
    found = table.take_row_ids(once.tolist()).select(list(columns)).with_row_id().to_arrow()
    order = np.argsort(found["_rowid"].to_numpy())
    return found.select(list(columns)).take(pa.array(order[place]))


def quote(value: str) -> str:
    """A string as a literal of Lance's SQL."""
    return "'" + value.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    """SQL that holds for rows whose `column` is among `values`."""
    listed = ", ".join(quote(v) for v in values)
    return f"{column} IN ({listed})" if listed else "false"
