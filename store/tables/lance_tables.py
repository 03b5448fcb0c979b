"""The Lance tables of one corpus: open, scan, and replace rows in one transaction.

Readers see a replacement as a whole or not at all. If a writer dies, the version stays as it was.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

from store.errors import BusyError, InputError, NotFoundError
from store.tables.key_lookup import KeyLookup

# Lance warns about every fork. Starting a program forks and execs at once, which is safe.
warnings.filterwarnings("ignore", message="lancedb fork support is experimental")
warnings.filterwarnings("ignore", message="lance is not fork-safe")

LOCK_SECONDS = 60.0
# Scanner options: by default, Lance reads up to 2 GB ahead of a slow consumer.
LITTLE_AHEAD = {"batch_readahead": 2, "fragment_readahead": 1, "io_buffer_size": 64 << 20}


class Tables:
    """The tables of one corpus, by name.

    Args:
        root: a local folder. For reading only, any address that Lance opens (s3://...).
    """

    def __init__(self, root: str | Path):
        self.root = str(root)

    def __repr__(self) -> str:
        return f"Tables({self.root!r})"

    @property
    def is_local(self) -> bool:
        """Whether the tables are in a local folder. Only local tables can be written."""
        return "://" not in self.root

    def uri(self, name: str) -> str:
        """The address of a table."""
        return f"{self.root}/{name}.lance"

    def exists(self, name: str) -> bool:
        """Whether there is such a table."""
        try:
            self.open(name)
        except NotFoundError:
            return False
        return True

    def open(self, name: str, version: int | str | None = None) -> lance.LanceDataset:
        """Open a table.

        Args:
            name: of the table.
            version: a version number or a tag. None: the newest version.

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
        """The newest version of a table.

        Raises:
            NotFoundError: there is no such table.
        """
        return int(self.open(name).version)

    def scan(
        self,
        name: str,
        schema: pa.Schema,
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> pa.Table:
        """Read rows of a table into memory.

        A table that does not exist, or that lacks one of the columns because an older version of
        the code wrote it, counts as empty: it returns no rows.

        Args:
            name: of the table.
            schema: of the table.
            columns: the columns to read. None: all columns of `schema`.
            where: an SQL condition on the rows.
        """
        names = list(columns) if columns is not None else schema.names
        try:
            dataset = self.open(name)
        except NotFoundError:
            dataset = None
        if dataset is None or not set(names) <= set(dataset.schema.names):
            return pa.schema([schema.field(c) for c in names]).empty_table()
        return dataset.to_table(columns=names, filter=where)

    @contextmanager
    def lock(self, name: str, timeout: float = LOCK_SECONDS) -> Iterator[None]:
        """Hold a lock during a `with` block. The kernel frees it if the process dies.

        Args:
            name: of the lock.
            timeout: how long to wait for the lock, in seconds.

        Raises:
            BusyError: another process held the lock for longer than `timeout`.
            InputError: the tables are not in a local folder.
        """
        if not self.is_local:
            raise InputError(
                f"{self.root} can only be read: write to a local folder, where file locks work"
            )
        folder = Path(self.root, "_locks")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / f"{name}.lock", timeout=timeout):
                yield
        except Timeout:
            raise BusyError(
                f"{name} has been locked by another run for {timeout:.0f} s; wait until that run"
                " ends, or stop it"
            ) from None

    def replace(
        self,
        name: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        where: str | None,
    ) -> int:
        """Remove rows and add others, in one commit. The table is created if it does not exist.

        Args:
            name: of the table.
            schema: of the table. If the table has other columns, see `_open_or_create`.
            batches: the rows to add.
            where: an SQL condition on the rows to remove. None: remove all rows.

        Returns:
            The new version of the table, or the current one if nothing changed.
        """
        with self.lock(name):
            dataset = self._open_or_create(name, schema)
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            added = list(lance.fragment.write_fragments(reader, dataset.uri, schema=schema))
            removed, updated = [], []
            for fragment in dataset.get_fragments():
                # None: no row of the fragment is left.
                remaining = fragment.delete(where) if where is not None else None
                if remaining is None:
                    removed.append(fragment.fragment_id)
                elif remaining.deletion_file != fragment.metadata.deletion_file:
                    updated.append(remaining)
            return _commit(dataset, added, removed, updated)

    def upsert(
        self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], key: str
    ) -> int:
        """Add rows in one commit, replacing the rows that have the same keys.

        Args:
            name: of the table.
            schema: of the table.
            batches: the rows to add. Keys must be unique. The batches are streamed.
            key: the column of keys.

        Returns:
            The new version of the table, or the current one if nothing changed.
        """
        with self.lock(name):
            dataset = self._open_or_create(name, schema)
            lookup = KeyLookup(dataset, key)
            reader = pa.RecordBatchReader.from_batches(schema, lookup.observe(batches))
            added = list(lance.fragment.write_fragments(reader, dataset.uri, schema=schema))
            removed, updated = lookup.delete_matches()
            return _commit(dataset, added, removed, updated)

    def _open_or_create(self, name: str, schema: pa.Schema) -> lance.LanceDataset:
        """Open a table and give it the columns of `schema`.

        Missing nullable columns are added. If columns differ in any other way, all rows are
        removed: the rows and the run keys of the old schema are not valid for the new one.
        """
        try:
            dataset = self.open(name)
        except NotFoundError:
            Path(self.root).mkdir(parents=True, exist_ok=True)
            return lance.write_dataset(schema.empty_table(), self.uri(name), schema=schema)
        if dataset.schema.equals(schema):
            return dataset
        current = set(dataset.schema.names)
        added = [field for field in schema if field.name not in current]
        if all(field in schema for field in dataset.schema) and all(f.nullable for f in added):
            if not added:  # only the order differs, and rows are written by column name
                return dataset
            dataset.add_columns(pa.schema(added))
            return self.open(name)
        return lance.write_dataset(
            schema.empty_table(), self.uri(name), schema=schema, mode="overwrite"
        )

    def compact(self, name: str) -> None:
        """Merge small fragments and delete versions older than an hour that have no tag."""
        with self.lock(name):
            dataset = self.open(name)
            dataset.optimize.compact_files()
            dataset.cleanup_old_versions(
                older_than=timedelta(hours=1), error_if_tagged_old_versions=False
            )


def _commit(dataset: lance.LanceDataset, added: list, removed: list, updated: list) -> int:
    """Commit changed fragments; return the new version, or the current one without changes."""
    if not (added or removed or updated):
        return int(dataset.version)
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=removed, updated_fragments=updated, new_fragments=added
    )
    committed = lance.LanceDataset.commit(dataset.uri, operation, read_version=dataset.version)
    return int(committed.version)


def take(uri: str, version: int, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Read rows of a version of a table by their row ids.

    Args:
        uri: of the table.
        version: of the table.
        rows: row ids, which may repeat.
        columns: to read.

    Returns:
        One row for each row id, in the order of `rows`.
    """
    import lancedb  # slow to import, and stages that only read columns do not need it

    folder, _, name = uri.rpartition("/")
    table = lancedb.connect(folder).open_table(name.removesuffix(".lance"))
    table.checkout(version)
    row_ids, index = np.unique(np.asarray(rows, np.uint64), return_inverse=True)
    taken = table.take_row_ids(row_ids.tolist()).select(list(columns)).with_row_id().to_arrow()
    order = np.argsort(taken["_rowid"].to_numpy())
    return taken.select(list(columns)).take(pa.array(order[index]))


def quote(value: str) -> str:
    """A string as a literal of Lance's SQL."""
    return "'" + value.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    """An SQL condition for rows whose `column` is one of `values`."""
    literals = ", ".join(quote(v) for v in values)
    return f"{column} IN ({literals})" if literals else "false"
