"""One run of a stage: resumable work in staging tables, then one publication.

The work of a stage is divided into named units. A unit's rows are written to data files, then its
counts and its ledger entries are recorded (`store.tables.staged_units`), which completes it. A
rerun with the same run key skips complete units. When all units are staged and every record is
accounted for, the rows replace the old ones in the main table in one transaction.

A publication first deletes the stage's record, then writes the ledger and the table, then writes
the new record. If the process dies in between, there is no record, so the stage counts as missing
and runs again. Its staged units are still there, so nothing is computed twice.
"""

import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from store import identity
from store.errors import DamagedTableError
from store.tables import schema, staged_units, takedowns
from store.tables.files import File, Files
from store.tables.lance_tables import SMALL_READAHEAD, Tables
from store.tables.outcomes import Counts, Entry, UnitOutcome
from store.tables.row_reader import row_reader
from store.tables.stage_records import forget_records, of_stage
from store.tables.stages import EVERY_DROP
from store.tables.table_version import TableVersion
from store.tables.written_files import check_written

ROOT = "_staging"  # the folder of all staging, beside the tables
STARTED = "started"  # a file whose time is that of the last `StageRun.open`
_LEDGER_ROWS = 4096


@dataclass
class StageRun:
    """The staging tables of one stage of one drop, under one run key.

    It can be pickled: workers append to it. `schema` is the schema of the main table, and
    `started` a time of `time.monotonic`.
    """

    tables: Tables
    stage: str
    drop: str
    run_key: str
    schema: pa.Schema
    started: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> str:
        """The folder of the staging tables, relative to that of the tables."""
        return f"{ROOT}/{self._name}/{self.run_key}"

    @property
    def scratch(self) -> Path:
        """A local folder for temporary files of this process. It need not exist."""
        return Path(self.tables.scratch, self._name, self.run_key)

    @property
    def rows_uri(self) -> str:
        """The staging table of rows. `commit_rows` makes it."""
        return f"{self.tables.root}/{self._rows}"

    @property
    def _name(self) -> str:
        return f"{self.stage}-{drop_hash(self.drop)}"

    @property
    def _rows(self) -> str:
        return f"{self.folder}/rows.lance"

    @property
    def _units(self) -> tuple[Files, str]:
        return self.tables.files, f"{self.folder}/units"

    def open(self) -> "StageRun":
        """Create the staging, or open that of an interrupted run with the same key.

        Staging of other keys is deleted, and so are units that cannot be read. The staging table
        is made anew when its rows are read, because an interruption can leave it torn.
        """
        files, parent = self.tables.files, f"{ROOT}/{self._name}"
        by_key: dict[str, list[File]] = {self.run_key: []}
        for file in files.list(parent):
            by_key.setdefault(file.path.split("/")[2], []).append(file)
        own = by_key.pop(self.run_key)
        for key in by_key:
            files.delete_folder(f"{parent}/{key}")
        files.write(f"{self.folder}/{STARTED}", b"")
        staged_units.discard_broken(*self._units, f"{self._rows}/data", own)
        torn = tuple(f"{self._rows}/{name}/" for name in ("_versions", "_transactions"))
        files.delete([file.path for file in own if file.path.startswith(torn)])
        return self

    def commit_rows(self) -> TableVersion:
        """Commit the rows of the complete units to the staging table; return its new version."""
        units = staged_units.read(*self._units)
        fragments = [fragment for unit in units for fragment in unit.metadata()]
        dataset = lance.LanceDataset.commit(
            self.rows_uri,
            lance.LanceOperation.Overwrite(self.schema, fragments),
            storage_options=self.tables.storage_options,
        )
        return TableVersion(self.tables, self._rows.removesuffix(".lance"), dataset.version)

    def done(self) -> list[str]:
        """Names of the complete units."""
        return [unit.unit for unit in staged_units.read(*self._units)]

    def is_done(self, unit: str) -> bool:
        """Whether a unit is complete."""
        return staged_units.is_complete(*self._units, unit)

    def discard_others(self, units: Collection[str]) -> list[str]:
        """Discard the complete units that are not among these; return the names of the others."""
        return staged_units.discard_others(*self._units, units)

    def append(
        self, unit: str, batches: Iterable[pa.RecordBatch], outcome: Callable[[], UnitOutcome]
    ) -> None:
        """Stage a unit. It is complete only when this returns.

        Args:
            unit: its name.
            batches: its rows, which are streamed.
            outcome: called when `batches` is exhausted.
        """
        reader = row_reader(self.schema, batches)
        fragments = lance.fragment.write_fragments(
            reader,
            self.rows_uri,
            schema=self.schema,
            storage_options=self.tables.storage_options,
        )
        check_written(self.rows_uri, fragments)
        staged_units.write(*self._units, unit, outcome(), list(fragments))

    def staged(self, columns: list[str] | None = None) -> pa.Table:
        """The staged rows, or some of their columns, in memory."""
        with self._intact() as rows:
            return rows.to_table(columns=columns)

    def scan(self, columns: list[str]) -> pa.RecordBatchReader:
        """Stream columns of the staged rows."""
        with self._intact() as rows:
            return rows.scanner(columns=columns).to_reader()

    def entries(self) -> Iterator[Entry]:
        """Stream the ledger entries of the complete units."""
        return staged_units.entries(*self._units)

    def counts(self) -> Counts:
        """The counts of the complete units."""
        counts = [astuple(unit.counts) for unit in staged_units.read(*self._units)]
        return Counts(*map(sum, zip(*counts, strict=True)))

    def tallies(self) -> pa.Table:
        """`input` and `broken` of each complete unit."""
        units = staged_units.read(*self._units)
        columns = [[unit.counts.input for unit in units], [unit.broken for unit in units]]
        return pa.table([pa.array(column, pa.int64()) for column in columns], ["input", "broken"])

    def batches(
        self, keep: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None, rows: int = 256
    ) -> Iterator[pa.RecordBatch]:
        """Stream the staged rows for publication, `rows` at a time, filtered by `keep`."""
        with self._intact() as staged:
            for batch in staged.scanner(batch_size=rows, **SMALL_READAHEAD).to_batches():
                batch = keep(batch) if keep else batch
                if batch.num_rows:
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    @contextmanager
    def _intact(self) -> Iterator[lance.LanceDataset]:
        """The staged rows. If they turn out to be damaged, the staging is deleted."""
        try:
            yield self.commit_rows().open()
        except DamagedTableError as error:
            self.tables.files.delete_folder(self.folder)
            raise DamagedTableError(
                f"the staging of {self.stage} of drop {self.drop!r} was damaged ({error.__cause__})"
                " and has been deleted; run again, and its units are done anew"
            ) from error

    def close(self) -> None:
        """Delete the staging tables and the temporary files of this process."""
        self.tables.files.delete_folder(f"{ROOT}/{self._name}")
        shutil.rmtree(self.scratch.parent, ignore_errors=True)


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
    with tables.lock(stage_lock(stage, drop)):
        run = StageRun(tables, stage, drop, run_key, schema).open()
        takedowns.check_none_pending(tables)  # after `open`: a takedown waits for open staging
        yield run


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
    where = of_stage(run.stage, run.drop)
    forget_records(tables, where)
    ledger = _ledger(run, entries)
    if first := next(ledger, None):
        tables.replace("ledger", schema.LEDGER, chain([first], ledger), where)
    else:
        tables.delete("ledger", schema.LEDGER, where)
    write()
    row = {
        "drop": run.drop,
        "stage": run.stage,
        "run_key": run.run_key,
        "output": output(),
        **asdict(counts),
        "units": len(run.done()),
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


def stage_record(tables: Tables, stage: str, drop: str = EVERY_DROP) -> dict[str, Any] | None:
    """The record of a stage of a drop (a row of `stages`), or None if it was not published."""
    rows = tables.scan("stages", schema.STAGES, where=of_stage(stage, drop)).to_pylist()
    return rows[0] if rows else None


def stage_lock(stage: str, drop: str) -> str:
    """The name of the lock of a stage of a drop."""
    return f"run-{stage}-{drop_hash(drop)}"


def drop_hash(drop: str) -> str:
    """A file name for a drop, whose own name may have any characters."""
    return identity.run_key(drop)[:12]
