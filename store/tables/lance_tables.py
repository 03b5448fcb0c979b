"""The Lance tables of one corpus: open, scan, and replace rows in one transaction.

Readers see a replacement as a whole or not at all. If a writer dies, the version stays as it was.
"""

import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lance
import pyarrow as pa

from store import identity
from store.errors import NotFoundError
from store.tables import commits, damage
from store.tables.columns import differ_in_width, read
from store.tables.files import Files
from store.tables.formats import check_format, with_format
from store.tables.key_lookup import KeyLookup
from store.tables.leases import Locks
from store.tables.names import kind_of
from store.tables.publication import ALL_ROWS, Publication, finish_undo
from store.tables.store_options import Options, lance_options

# Lance warns about every fork. Starting a program forks and execs at once, which is safe.
warnings.filterwarnings("ignore", message="lancedb fork support is experimental")
warnings.filterwarnings("ignore", message="lance is not fork-safe")

LOCK_SECONDS = 60.0
# Scanner options: by default, Lance reads up to 2 GB ahead of a slow consumer.
SMALL_READAHEAD = {"batch_readahead": 2, "fragment_readahead": 1, "io_buffer_size": 64 << 20}


class Tables:
    """The tables of one corpus, by name.

    Args:
        root: a local folder, or an address: s3://..., gs://..., az://...
        options: of the object store (`store.tables.store_options`).
        scratch: a local folder for temporary files. None: beside local tables, or the system's
            folder for temporary files.

    Attributes:
        files: the files beside the tables.
    """

    def __init__(
        self, root: str | Path, options: Options | None = None, scratch: str | Path | None = None
    ):
        self.root = str(root).rstrip("/")
        self.files = Files(self.root, options)
        self._scratch = scratch
        self._locks = Locks(self.files)

    def __repr__(self) -> str:
        return f"Tables({self.root!r})"

    @property
    def is_local(self) -> bool:
        """Whether the tables are in a local folder."""
        return self.files.is_local

    @property
    def scratch(self) -> Path:
        """The local folder for temporary files of this corpus. It need not exist."""
        if self._scratch is None and self.is_local:
            return Path(self.root, "_staging")
        name = f"isotrope-{identity.run_key(self.root)[:12]}"
        return Path(self._scratch or tempfile.gettempdir(), name)

    @property
    def storage_options(self) -> dict[str, str] | None:
        """The `storage_options` of Lance, with resolved secrets. None for a local folder."""
        return lance_options(self.root, self.files.options)

    def uri(self, name: str) -> str:
        """The address of a table."""
        return f"{self.root}/{name}.lance"

    def names(self, stage: str | None = None) -> list[str]:
        """The names of the tables, sorted. `stage`: only those that this stage makes."""
        names = [n.removesuffix(".lance") for n in self.files.folders() if n.endswith(".lance")]
        chosen = [n for n in names if stage is None or kind_of(n) == stage]
        return [name for name in chosen if damage.has_content(self.files, name)]

    def exists(self, name: str) -> bool:
        """Whether there is such a table.

        Raises:
            DamagedTableError, FormatError: there is one, but it cannot be read.
        """
        return self.open_or_none(name) is not None

    def open_or_none(self, name: str) -> lance.LanceDataset | None:
        """Open the newest version of a table, as `open`; None if there is no such table."""
        try:
            return self.open(name)
        except NotFoundError:
            return None

    def open(
        self, name: str, version: int | str | None = None, any_format: bool = False
    ) -> lance.LanceDataset:
        """Open a table. Reads of the dataset raise DamagedTableError if files are damaged.

        Args:
            name: of the table.
            version: a version number or a tag. None: the newest version.
            any_format: do not check the format of the table.

        Raises:
            NotFoundError: there is no such table or version.
            DamagedTableError: the table exists, but it cannot be opened.
            FormatError: this version of the code cannot read the table.
        """
        dataset = damage.open_dataset(self.files, name, version, self.storage_options)
        if not any_format:
            check_format(name, dataset.schema, version)
        return dataset

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

        A table that does not exist counts as empty. Columns that may be null, and that the table
        lacks because an older version of the code wrote it, are null.

        Args:
            name: of the table.
            schema: of the table.
            columns: the columns to read. None: all columns of `schema`.
            where: an SQL condition on the rows, on columns that the table has.

        Raises:
            SchemaError: the table lacks a column that cannot be null, or one has another type.
            DamagedTableError: the table cannot be read.
        """
        names = list(columns) if columns is not None else schema.names
        if (dataset := self.open_or_none(name)) is None:
            return pa.schema([schema.field(c) for c in names]).empty_table()
        return read(dataset, name, schema, names, where)

    @contextmanager
    def lock(
        self, name: str, timeout: float = LOCK_SECONDS, reenter: bool = True
    ) -> Iterator[None]:
        """Hold a lock during a `with` block. It ends if the process dies.

        No commit is made while a lock is lost.

        Args:
            name: of the lock.
            timeout: how long to wait for the lock, in seconds.
            reenter: whether a thread that holds the lock already goes on.

        Raises:
            BusyError: another process held the lock for longer than `timeout`, or this thread
                holds it and may not go on.
        """
        with self._locks.hold(name, timeout, reenter):
            yield

    def replace(
        self,
        name: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        where: str | None,
        other_width: bool = False,
        written: Iterable[lance.FragmentMetadata] = (),
    ) -> int:
        """Remove rows and add others, in one commit. The table is created if it does not exist.

        If all rows are removed, the columns of the table may change.

        Args:
            name: of the table.
            schema: of the table.
            batches: the rows to add.
            where: an SQL condition on the rows to remove. None: remove all rows.
            other_width: if the table has vectors of another width, remove all rows.
            written: more rows to add, by `TableVersion.write_rows`; not if all rows are removed.

        Returns:
            The new version of the table, or the current one if nothing changed.

        Raises:
            SchemaError: rows would be lost or wrong, because the columns of the table differ.
                Nothing was written.
        """
        with self.lock(name):
            dataset = self._sound(name, schema)
            if where is None or (other_width and differ_in_width(dataset.schema, schema)):
                return commits.overwrite(dataset, schema, batches, self._publication(ALL_ROWS))
            dataset = self._prepared(dataset, name, schema)
            delete = commits.delete_where(where)
            publication = self._publication(where)
            return commits.exchange(dataset, schema, batches, delete, publication, written)

    def delete(self, name: str, schema: pa.Schema, where: str) -> None:
        """Remove rows in one commit. If there are none, nothing is locked or written.

        The table is created if it does not exist.

        Args:
            name: of the table.
            schema: of the table.
            where: an SQL condition on the rows to remove.
        """
        dataset = self.open_or_none(name)
        if dataset is None or dataset.count_rows(where):
            self.replace(name, schema, [], where)

    def upsert(
        self,
        name: str,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        key: str,
        other_width: bool = False,
        removed: Iterable[pa.RecordBatch] = (),
    ) -> int:
        """Add rows in one commit, replacing the rows that have the same keys.

        Args:
            name: of the table.
            schema: of the table.
            batches: the rows to add, which are streamed. A key can have several rows; they replace
                all stored rows of this key.
            key: the column of keys.
            other_width: if the table has vectors of another width, remove all rows.
            removed: keys of further rows to remove, in a column of the name of `key`.

        Returns:
            The new version of the table, or the current one if nothing changed.

        Raises:
            SchemaError: rows would be lost or wrong, because the columns of the table differ.
                Nothing was written.
        """
        with self.lock(name):
            dataset = self._sound(name, schema)
            if other_width and differ_in_width(dataset.schema, schema):
                return commits.overwrite(dataset, schema, batches, self._publication(ALL_ROWS))
            dataset = self._prepared(dataset, name, schema)
            lookup = KeyLookup(dataset, key, self.storage_options)
            for _ in lookup.observe(removed):
                pass
            observed = lookup.observe(batches)
            publication = self._publication(f"upsert {key}")
            return commits.exchange(dataset, schema, observed, lookup.delete_matches, publication)

    def _open_or_create(self, name: str, schema: pa.Schema) -> lance.LanceDataset:
        try:
            return self.open(name)
        except NotFoundError:
            if self.is_local:
                Path(self.root).mkdir(parents=True, exist_ok=True)
            empty = with_format(schema).empty_table()
            lance.write_dataset(empty, self.uri(name), storage_options=self.storage_options)
            return self.open(name)

    def _sound(self, name: str, schema: pa.Schema) -> lance.LanceDataset:
        """The table, created if it does not exist, without rows of a writer that was overtaken."""
        dataset = self._open_or_create(name, schema)
        return self.open(name) if finish_undo(dataset, self.storage_options) else dataset

    def _publication(self, scope: str) -> Publication:
        return Publication(scope, self._locks.check, self.storage_options)

    def _prepared(
        self, dataset: lance.LanceDataset, name: str, schema: pa.Schema
    ) -> lance.LanceDataset:
        return self.open(name) if commits.prepare(dataset, name, schema) else dataset


def quote(value: str) -> str:
    """A string as a literal of Lance's SQL."""
    return "'" + value.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str]) -> str:
    """An SQL condition for rows whose `column` is one of `values`."""
    literals = ", ".join(quote(v) for v in values)
    return f"{column} IN ({literals})" if literals else "false"
