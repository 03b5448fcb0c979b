"""What is known of samples already: rows that were measured before, and by which versions.

A row's columns stand for as long as the scorer that gave them has the same version, so that a new
scorer costs what it costs, and nothing else is measured again.
"""

from collections.abc import Iterable, Mapping, Sequence

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.signals.registry import ALWAYS
from store.tables import schema
from store.tables.lance_tables import Tables, quote
from store.tables.staging import Entry

Versions = Mapping[str, str]


def written(versions: Versions) -> str:
    """Versions as a row's `scorers` has them."""
    return " ".join(f"{name}@{version}" for name, version in sorted(versions.items()))


def read(scorers: str | None) -> dict[str, str]:
    """What `written` wrote; nothing for rows of before there were versions."""
    pairs = (word.rpartition("@") for word in (scorers or "").split())
    return {name: version for name, _, version in pairs}


def standing(before: Versions, now: Versions) -> dict[str, str]:
    """The scorers whose columns stand: unchanged ones, and those that nobody asks for any more."""
    return {name: v for name, v in before.items() if now.get(name, v) == v}


def columns_of(names: Iterable[str]) -> list[str]:
    """The columns that scorers give, by their names; an optional one's name is its column's."""
    gives = {s.name: s.gives for s in ALWAYS}
    return [c for name in names for c in gives.get(name, (name,)) if c in schema.SIGNALS.names]


class EarlierSignals:
    """The rows of `signals` that a drop has from before.

    Holds ids and row ids of the drop's old rows while units are listed, some 40 bytes a sample.
    """

    def __init__(self, tables: Tables, drop: str):
        self.version, self.ids = 0, pa.array([], pa.string())
        self.rows = np.empty(0, np.int64)
        if not tables.exists("signals"):
            return
        dataset = tables.open("signals")
        if "scorers" not in dataset.schema.names:
            return
        where = f"drop = {quote(drop)} AND scorers IS NOT NULL"
        found = dataset.to_table(columns=["id"], filter=where, with_row_id=True)
        self.version = dataset.version
        self.ids = found["id"].combine_chunks()
        self.rows = found["_rowid"].to_numpy().astype(np.int64)

    def of(self, ids: pa.Array) -> np.ndarray:
        """The row ids (n,) in `signals` of samples, -1 where there is none."""
        if not len(self.rows):
            return np.full(len(ids), -1)
        places = pc.fill_null(pc.index_in(ids, value_set=self.ids), -1).to_numpy()
        return np.where(places < 0, -1, self.rows[places])


def old_rows(uri: str, version: int, rows: np.ndarray, names: Sequence[str]) -> pa.RecordBatch:
    """Rows of `signals` by row id, in this order; ids are unique."""
    dataset = lance.dataset(uri, version=version)
    there = [n for n in names if n in dataset.schema.names]
    found = dataset._take_rows(rows.tolist(), columns=there).combine_chunks()
    return found.to_batches()[0]


def old_entries(tables: Tables, drop: str, now: Versions) -> list[Entry]:
    """The drop's rows of the ledger whose scorer is unchanged, and whose sample is there still.

    A failure's `value` is the version that failed.
    """
    where = f"drop = {quote(drop)} AND stage = 'signals'"
    rows = tables.scan("ledger", schema.LEDGER, where=where).to_pylist()
    rows = [
        r for r in rows if now.get(r["rule"].removeprefix("signals."), r["value"]) == r["value"]
    ]
    if not rows:
        return []
    listed = ", ".join(quote(r["id"]) for r in rows)
    here = f"drop = {quote(drop)} AND id IN ({listed})"
    there = set(tables.open("samples").to_table(columns=["id"], filter=here)["id"].to_pylist())
    names = [f.name for f in schema.LEDGER if f.name not in ("drop", "stage")]
    return [Entry(**{n: r[n] for n in names}) for r in rows if r["id"] in there]
