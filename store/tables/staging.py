"""One run of a stage: resumable work in a staging table, then one publication.

A stage's work is cut into named units. Each unit's rows, rejected and failed records and counts
are committed to staging when the unit is whole; a rerun with the same key goes on from there.
When all is staged and every record is accounted for, the rows replace the old ones in the main
table in one transaction.

Order of a publication: the stage's record goes, the ledger and the table change, the record
comes back. A process that dies in between leaves no record, so the stage counts as missing and
runs again (its staged units are still there, so nothing is computed twice).
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
from store.errors import ConservationError, RecordError
from store.tables import schema
from store.tables.lance_tables import LITTLE_AHEAD, Tables, quote
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


@dataclass(frozen=True)
class Entry:
    """A record that did not pass: rejected by a rule with its value and threshold, or failed."""

    source: str
    key: str
    rule: str
    outcome: str = "rejected"
    id: str | None = None
    value: str | None = None
    threshold: str | None = None
    error: str | None = None

    @classmethod
    def of(cls, source: str, key: str, error: RecordError, id: str | None = None) -> "Entry":
        if error.threshold is None:
            # What a library says may hold what is no text, and the ledger is text.
            said = error.error.encode("utf-8", "backslashreplace").decode()
            return cls(source, key, error.rule, "failed", id, error=said)
        return cls(
            source, key, error.rule, "rejected", id, _number(error.value), _number(error.threshold)
        )


@dataclass(frozen=True)
class Counts:
    """in = kept + rejected + failed, for one stage of one drop."""

    input: int = 0
    kept: int = 0
    rejected: int = 0
    failed: int = 0

    def check(self, what: str) -> None:
        """Raise ConservationError unless every record is accounted for."""
        if self.input != self.kept + self.rejected + self.failed:
            raise ConservationError(
                f"{what}: {self.input} records went in, but {self.kept} kept + {self.rejected}"
                f" rejected + {self.failed} failed came out; nothing was published"
            )


@dataclass
class StageRun:
    """The staging of one stage of one drop, under one run key. Picklable: workers append to it."""

    root: str
    stage: str
    drop: str
    run_key: str
    schema: pa.Schema
    started: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        place = identity.run_key(self.drop)[:12]
        return Path(self.root, "_staging", f"{self.stage}-{place}", self.run_key)

    @property
    def rows_uri(self) -> str:
        return str(self.folder / "rows.lance")

    @property
    def _units_uri(self) -> str:
        return str(self.folder / "units.lance")

    def open(self) -> "StageRun":
        """Make the staging tables, or find those of an interrupted run with the same key.

        What another key left behind is removed.
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
        done = self.done()
        stray = lance.dataset(self.rows_uri)
        listed = ", ".join(quote(u) for u in done)
        stray.delete(f"_unit NOT IN ({listed})" if listed else "true")
        return self

    def done(self) -> list[str]:
        """Names of the units that are whole."""
        return lance.dataset(self._units_uri).to_table(columns=["_unit"])["_unit"].to_pylist()

    def append(
        self, unit: str, batches: Iterable[pa.RecordBatch], outcome: Callable[[], "UnitOutcome"]
    ) -> None:
        """Stage a unit: its rows as they come, then what became of its records.

        `outcome` is called when `batches` is exhausted. A unit whose `outcome` never came is
        redone, and its rows are dropped.
        """
        staged = self.schema.append(_UNIT)

        def marked() -> Iterator[pa.RecordBatch]:
            for batch in batches:
                column = pa.array([unit] * batch.num_rows, pa.string())
                yield pa.RecordBatch.from_arrays([*batch.columns, column], schema=staged)

        reader = pa.RecordBatchReader.from_batches(staged, marked())
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
        """The staged rows in memory (name few columns)."""
        wanted = columns if columns is not None else self.schema.names
        return lance.dataset(self.rows_uri).to_table(columns=wanted)

    def scan(self, columns: list[str]) -> pa.RecordBatchReader:
        """Columns of the staged rows, streamed."""
        return lance.dataset(self.rows_uri).scanner(columns=columns).to_reader()

    def entries(self) -> Iterator[Entry]:
        units = lance.dataset(self._units_uri).scanner(columns=["entries"], batch_size=64)
        for batch in units.to_batches():
            for listed in batch["entries"].to_pylist():
                yield from (Entry(**e) for e in listed)

    def counts(self) -> Counts:
        units = lance.dataset(self._units_uri).to_table(columns=["input", "kept"])
        outcomes = Counter(e.outcome for e in self.entries())
        return Counts(
            input=pc.sum(units["input"]).as_py() or 0,
            kept=pc.sum(units["kept"]).as_py() or 0,
            rejected=outcomes["rejected"],
            failed=outcomes["failed"],
        )

    def tallies(self) -> pa.Table:
        """`input` and `broken` of each unit that is whole."""
        return lance.dataset(self._units_uri).to_table(columns=["input", "broken"])

    def batches(
        self, keep: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None, rows: int = 256
    ) -> Iterator[pa.RecordBatch]:
        """The staged rows as they will be published, streamed."""
        scanner = lance.dataset(self.rows_uri).scanner(
            columns=self.schema.names, batch_size=rows, **LITTLE_AHEAD
        )
        for batch in scanner.to_batches():
            batch = keep(batch) if keep else batch
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    def close(self) -> None:
        """Remove the staging tables."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


@contextmanager
def begin(
    tables: Tables, stage: str, run_key: str, schema: pa.Schema, drop: str = EVERY_DROP
) -> Iterator[StageRun]:
    """The staging of a stage, held alone for as long as the block lasts.

    Raises:
        BusyError: another process is running this stage of this drop.
    """
    place = identity.run_key(drop)[:12]
    with tables.lock(f"run-{stage}-{place}"):
        yield StageRun(tables.root, stage, drop, run_key, schema).open()


@dataclass(frozen=True)
class UnitOutcome:
    """What became of a unit's records; `broken` are those that an error budget counts."""

    input: int
    kept: int
    entries: list[Entry] = field(default_factory=list)
    broken: int = 0


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
    """Make a stage's result the truth: check it, write ledger and table, record the stage.

    Args:
        counts: what the stage did, with `input` counted independently of the workers.
        write: writes the main table.
        output: called after `write`; a digest of what later stages read, which run again only when
            it changes.
        resumed: how many units an interrupted run had already done.

    Raises:
        ConservationError: in = kept + rejected + failed does not hold. Nothing was written.
    """
    counts.check(f"{run.stage} of drop {run.drop!r}")
    here = f"drop = {quote(run.drop)} AND stage = {quote(run.stage)}"
    tables.replace("stages", schema.STAGES, [], here)
    tables.replace("ledger", schema.LEDGER, _ledger(run, entries), here)
    write()
    record = {
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
    stages = pa.Table.from_pylist([record], schema=schema.STAGES)
    tables.replace("stages", schema.STAGES, stages.to_batches(), here)
    run.close()
    return counts


def _ledger(run: StageRun, entries: Iterable[Entry]) -> Iterator[pa.RecordBatch]:
    left = iter(entries)
    while some := list(islice(left, _LEDGER_ROWS)):
        rows = [{"drop": run.drop, "stage": run.stage, **asdict(e)} for e in some]
        yield pa.RecordBatch.from_pylist(rows, schema=schema.LEDGER)


def record(tables: Tables, stage: str, drop: str = EVERY_DROP) -> dict[str, Any] | None:
    """The stage's record, or None where the stage has not been published."""
    here = f"drop = {quote(drop)} AND stage = {quote(stage)}"
    rows = tables.scan("stages", schema.STAGES, where=here).to_pylist()
    return rows[0] if rows else None


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:g}"
