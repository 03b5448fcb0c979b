"""Versions of tables: workers read rows from them by their row ids, and write rows to add."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import lance
import pyarrow as pa

from store.tables.damage import detected
from store.tables.lance_tables import Tables
from store.tables.row_reader import row_reader


@dataclass(frozen=True)
class TableVersion:
    """A version of a table. It can be pickled, without secrets."""

    tables: Tables
    name: str
    version: int

    def open(self) -> lance.LanceDataset:
        """Open it. See `Tables.open`."""
        return self.tables.open(self.name, self.version)

    def write_rows(
        self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
    ) -> list[lance.FragmentMetadata]:
        """Write the files of rows to add. They are no rows of the table until `Tables.replace`."""
        reader = row_reader(schema, batches)
        return list(lance.fragment.write_fragments(reader, self.open(), schema=schema))


def take_rows(
    table: lance.LanceDataset | TableVersion, rows: Sequence[int], columns: Sequence[str]
) -> pa.Table:
    """Read rows of a version of a table by their row ids. Lance reads only these rows.

    Args:
        table: an open table, or a version of one.
        rows: row ids, which may repeat.
        columns: to read.

    Returns:
        One row for each row id, in the order of `rows`.
    """
    dataset = table.open() if isinstance(table, TableVersion) else table
    with detected(dataset.uri, dataset.version):
        # Not in the public interface of Lance, where only LanceDB's client reads by row id, which
        # takes each worker two seconds to import and is slower.
        return dataset._take_rows(list(rows), columns=list(columns))
