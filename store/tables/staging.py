"""One run of a stage: resumable work in staging tables, then one publication.

The work of a stage is divided into named units. When a unit is complete, its rows, its ledger
entries and its counts are committed to staging. A rerun with the same run key skips these units.
When all units are staged and every record is accounted for, the rows replace the old ones in the
main table in one transaction.

A publication first deletes the stage's record, then writes the ledger and the table, then writes
the new record. If the process dies in between, there is no record, so the stage counts as missing
and runs again. Its staged units are still there, so nothing is computed twice.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc

from store import identity
from store.tables import schema
from store.tables.lance_tables import LITTLE_AHEAD, Tables, one_of, quote
from store.tables.outcomes import Counts, Entry, UnitOutcome
from store.tables.stages import EVERY_DROP

_LEDGER_ROWS = 4096
_UNIT = pa.field("_unit", pa.string(), nullable=False)
_ENTRY = pa.struct([f for f in schema.LEDGER if f.name not in ("drop", "stage")])
_UNITS = pa.schema(
    [
        _UNIT,
        pa.field("input", pa.int64()),
        pa.field("kept", pa.int64()),
        pa.field("broken", pa.int64()),
        pa.field("entries", pa.list_(_ENTRY)),
    ]
)


@dataclass
class StageRun:
    """The staging tables of one stage of one drop, under one run key.

    It can be pickled: workers append to it. `root` is the folder of the main tables, `schema` the
    schema of the main table, and `started` a time of `time.monotonic`.
    """

    root: str
    stage: str
    drop: str
    run_key: str
    schema: pa.Schema
    started: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        """The folder of the staging tables."""
        return Path(self.root, "_staging", f"{self.stage}-{_drop_hash(self.drop)}", self.run_key)

    @property
    def rows_uri(self) -> str:
        """The staging table of rows."""
        return str(self.folder / "rows.lance")

    @property
    def _units_uri(self) -> str:
        return str(self.folder / "units.lance")

    def open(self) -> "StageRun":
        """Create the staging tables, or open those of an interrupted run with the same key.

        Staging tables of other keys, and rows of units that were not completed, are deleted.
        """
        if self.folder.parent.is_dir():
            for other in self.folder.parent.iterdir():
                if other.name != self.run_key:
                    shutil.rmtree(other)
        if not Path(self._units_uri, "_versions").is_dir():
            shutil.rmtree(self.folder, ignore_errors=True)
            staged = self.schema.append(_UNIT)
            lance.write_dataset(staged.empty_table(), self.rows_uri, schema=staged)
            lance.write_dataset(_UNITS.empty_table(), self._units_uri, schema=_UNITS)
        lance.dataset(self.rows_uri).delete(f"NOT ({one_of('_unit', self.done())})")
        return self

    def done(self) -> list[str]:
        """Names of the complete units."""
        return lance.dataset(self._units_uri).to_table(columns=["_unit"])["_unit"].to_pylist()

    def append(
        self, unit: str, batches: Iterable[pa.RecordBatch], outcome: Callable[[], UnitOutcome]
    ) -> None:
        """Stage a unit. It is complete only when this returns.

        Args:
            unit: its name.
            batches: its rows, which are streamed.
            outcome: called when `batches` is exhausted.
        """
        staged = self.schema.append(_UNIT)

        def with_unit() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                column = pa.array([unit] * batch.num_rows, pa.string())
                yield pa.RecordBatch.from_arrays([*batch.columns, column], schema=staged)

        reader = pa.RecordBatchReader.from_batches(staged, with_unit())
        lance.write_dataset(reader, self.rows_uri, mode="append")
        result = outcome()
        row = {
            "_unit": unit,
            "input": result.input,
            "kept": result.kept,
            "broken": result.broken,
            "entries": [asdict(e) for e in result.entries],
        }
        lance.write_dataset(
            pa.Table.from_pylist([row], schema=_UNITS), self._units_uri, mode="append"
        )

    def staged(self, columns: list[str] | None = None) -> pa.Table:
        """The staged rows, or some of their columns, in memory."""
        names = columns if columns is not None else self.schema.names
        return lance.dataset(self.rows_uri).to_table(columns=names)

    def scan(self, columns: list[str]) -> pa.RecordBatchReader:
        """Stream columns of the staged rows."""
        return lance.dataset(self.rows_uri).scanner(columns=columns).to_reader()

    def entries(self) -> Iterator[Entry]:
        """Stream the ledger entries of the complete units."""
        units = lance.dataset(self._units_uri).scanner(columns=["entries"], batch_size=64)
        for batch in units.to_batches():
            for entries in batch["entries"].to_pylist():
                yield from (Entry(**e) for e in entries)

    def counts(self) -> Counts:
        """The counts of the complete units."""
        units = lance.dataset(self._units_uri).to_table(columns=["input", "kept"])
        outcomes = Counter(e.outcome for e in self.entries())
        return Counts(
            input=pc.sum(units["input"]).as_py() or 0,
            kept=pc.sum(units["kept"]).as_py() or 0,
            rejected=outcomes["rejected"],
            failed=outcomes["failed"],
        )

    def tallies(self) -> pa.Table:
        """`input` and `broken` of each complete unit."""
        return lance.dataset(self._units_uri).to_table(columns=["input", "broken"])

    def batches(
        self, keep: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None, rows: int = 256
    ) -> Iterator[pa.RecordBatch]:
        """Stream the staged rows for publication, `rows` at a time, filtered by `keep`."""
        scanner = lance.dataset(self.rows_uri).scanner(
            columns=self.schema.names, batch_size=rows, **LITTLE_AHEAD
        )
        for batch in scanner.to_batches():
            batch = keep(batch) if keep else batch
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    def close(self) -> None:
        """Delete the staging tables."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


@contextmanager
def begin(
    tables: Tables, stage: str, run_key: str, schema: pa.Schema, drop: str = EVERY_DROP
) -> Iterator[StageRun]:
    """Open the staging tables of a stage and lock the stage during a `with` block.

    Args:
        tables: of the corpus.
        stage: its name.
        run_key: hash of everything that the stage's output depends on.
        schema: of the main table.
        drop: its name. Default: a stage over all drops.

    Raises:
        BusyError: another process is running this stage of this drop.
    """
    with tables.lock(f"run-{stage}-{_drop_hash(drop)}"):
        yield StageRun(tables.root, stage, drop, run_key, schema).open()


def publish(
    tables: Tables,
    run: StageRun,
    *,
    counts: Counts,
    entries: Iterable[Entry],
    write: Callable[[], Any],
    output: Callable[[], str],
    resumed: int = 0,
) -> Counts:
    """Publish the result of a stage: check it, write ledger and table, write the stage's record.

    Args:
        tables: of the corpus.
        run: the staging of the stage. It is deleted at the end.
        counts: of the stage, with `input` counted independently of the workers.
        entries: for the ledger.
        write: writes the main table.
        output: called after `write`. Returns a digest of what later stages read; they run again
            only if it changes.
        resumed: how many units an interrupted run had completed.

    Raises:
        ConservationError: input = kept + rejected + failed does not hold. Nothing was written.
    """
    counts.check(f"{run.stage} of drop {run.drop!r}")
    where = _of_stage(run.stage, run.drop)
    tables.replace("stages", schema.STAGES, [], where)
    tables.replace("ledger", schema.LEDGER, _ledger(run, entries), where)
    write()
    row = {
        "drop": run.drop,
        "stage": run.stage,
        "run_key": run.run_key,
        "output": output(),
        **asdict(counts),
        "units": len(run.done()) if run.folder.is_dir() else 0,
        "resumed": resumed,
        "seconds": time.monotonic() - run.started,
        "published_at": datetime.now(UTC),
    }
    stages = pa.Table.from_pylist([row], schema=schema.STAGES)
    tables.replace("stages", schema.STAGES, stages.to_batches(), where)
    run.close()
    return counts


def _ledger(run: StageRun, entries: Iterable[Entry]) -> Iterator[pa.RecordBatch]:
    remaining = iter(entries)
    while chunk := list(islice(remaining, _LEDGER_ROWS)):
        rows = [{"drop": run.drop, "stage": run.stage, **asdict(e)} for e in chunk]
        yield pa.RecordBatch.from_pylist(rows, schema=schema.LEDGER)


def record(tables: Tables, stage: str, drop: str = EVERY_DROP) -> dict[str, Any] | None:
    """The record of a stage of a drop (a row of `stages`), or None if it was not published."""
    rows = tables.scan("stages", schema.STAGES, where=_of_stage(stage, drop)).to_pylist()
    return rows[0] if rows else None


def _of_stage(stage: str, drop: str) -> str:
    return f"drop = {quote(drop)} AND stage = {quote(stage)}"


def _drop_hash(drop: str) -> str:
    """A file name for a drop, whose own name may have any characters."""
    return identity.run_key(drop)[:12]
