"""Signals that were measured before: which of them are still valid, and how they are read.

Each row records the versions of the scorers that measured it. A scorer's columns stay valid while
its version is unchanged. So a new scorer measures its own columns, and the others are copied.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.tables import schema
from store.tables.lance_tables import Tables, one_of, quote
from store.tables.signals import SCORERS
from store.tables.staging import Entry
from store.tables.table_version import TableVersion, take_rows

Versions = Mapping[str, str]  # of scorers, by name


def format_versions(versions: Versions) -> str:
    """Versions as the column `scorers` of a row has them: `name@version name@version`."""
    return " ".join(f"{name}@{version}" for name, version in sorted(versions.items()))


def parse_versions(scorers: str | None) -> dict[str, str]:
    """Versions from the column `scorers`; none for rows that were written before it was added."""
    pairs = (word.rpartition("@") for word in (scorers or "").split())
    return {name: version for name, _, version in pairs}


def valid_versions(before: Versions, now: Versions) -> dict[str, str]:
    """The scorers of a row whose columns stay: unchanged ones, and those that are now turned off.

    Args:
        before: of the scorers that measured the row.
        now: of the scorers that the corpus uses.
    """
    return {name: v for name, v in before.items() if now.get(name, v) == v}


def columns_of(scorers: Iterable[str]) -> list[str]:
    """The columns that scorers give. A classifier is named after its column."""
    columns = (
        column
        for name in scorers
        for column in (SCORERS[name].names if name in SCORERS else (name,))
    )
    return [column for column in columns if column in schema.SIGNALS.names]


class EarlierSignals:
    """Where the rows of `signals` are that a drop has from earlier runs.

    Holds the ids and row ids of all of them, about 40 bytes per sample, while units are listed.

    Attributes:
        version: of the table, to which the row ids belong; 0 if there are no such rows.
    """

    def __init__(self, tables: Tables, drop: str):
        self.version, self._ids = 0, pa.array([], pa.string())
        self._rows = np.empty(0, np.int64)
        dataset = tables.open_or_none("signals")
        if dataset is None or "scorers" not in dataset.schema.names:
            return
        where = f"drop = {quote(drop)} AND scorers IS NOT NULL"
        table = dataset.to_table(columns=["id"], filter=where, with_row_id=True)
        self.version = dataset.version
        self._ids = table["id"].combine_chunks()
        self._rows = table["_rowid"].to_numpy().astype(np.int64)

    def row_ids(self, ids: pa.Array) -> np.ndarray:
        """The row ids, int64 (n,), of samples in `signals`; -1 where a sample has no row."""
        if not len(self._rows):
            return np.full(len(ids), -1)
        positions = pc.fill_null(pc.index_in(ids, value_set=self._ids), -1).to_numpy()
        return np.where(positions < 0, -1, self._rows[positions])


def read_rows(table: TableVersion, row_ids: np.ndarray, names: Sequence[str]) -> pa.RecordBatch:
    """Rows of `signals` in the order of their row ids, which must exist.

    Args:
        table: the version of `signals` to which the row ids belong.
        row_ids: int64 (n,), n > 0.
        names: of the columns; those that the version does not have are left out.
    """
    dataset = table.open()
    present = [name for name in names if name in dataset.schema.names]
    return take_rows(dataset, row_ids.tolist(), present).combine_chunks().to_batches()[0]


def valid_entries(tables: Tables, drop: str, now: Versions) -> list[Entry]:
    """The ledger's failures of scorers that stay: version unchanged, sample still in the drop.

    The `value` of such an entry is the version of the scorer that failed.
    """
    where = f"drop = {quote(drop)} AND stage = 'signals'"
    rows = [
        row
        for row in tables.scan("ledger", schema.LEDGER, where=where).to_pylist()
        if now.get(row["rule"].removeprefix("signals."), row["value"]) == row["value"]
    ]
    if not rows:
        return []
    where = f"drop = {quote(drop)} AND {one_of('id', [row['id'] for row in rows])}"
    samples = tables.open("samples").to_table(columns=["id"], filter=where)
    present = set(samples["id"].to_pylist())
    names = [f.name for f in schema.LEDGER if f.name not in ("drop", "stage")]
    return [Entry(**{n: row[n] for n in names}) for row in rows if row["id"] in present]
