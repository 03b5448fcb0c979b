"""Makes the table `signals`: measures a drop's samples, in units, by the scorers that are missing.

Columns that a scorer of the same version has measured before are copied. With a `cascade` of the
policy, a random sample of the drop comes first, which its predictors are fitted on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import pyarrow as pa

from pipelines.engine.crash_markers import CrashMarkers
from pipelines.engine.progress import show_progress
from pipelines.engine.units import run_units
from pipelines.policy.cascade import Plan, plan_of
from pipelines.signals.cascade import fit_staged, measure_late, sample_end
from pipelines.signals.decoded_image import KeptImages
from pipelines.signals.incremental import (
    EarlierSignals,
    Versions,
    columns_of,
    format_versions,
    parse_versions,
    read_rows,
    valid_entries,
    valid_versions,
)
from pipelines.signals.registry import active, check_packages
from pipelines.signals.scoring import Scored, score_skipping_crashes
from pipelines.signals.units import Unit, list_units
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from pipelines.stages.scorer_versions import scorer_versions
from store.tables import schema
from store.tables.cascade_notes import format_notes, seconds_of
from store.tables.lance_tables import quote
from store.tables.staging import Counts, Entry, StageRun, UnitOutcome, begin, publish
from store.tables.table_version import TableVersion
from store.workspace import Workspace

STAGE = "signals"

_BATCH_ROWS = 256  # of a unit that are measured at a time
_CASCADE_ROWS = 64  # with a cascade, which keeps their decoded images


def measure(context: StageContext) -> Counts:
    """Make the `signals` rows of a drop from its `samples`.

    A sample that a scorer cannot measure keeps null in that scorer's columns and gets a row in the
    ledger.

    Raises:
        NotFoundError: the drop has no samples yet, or the file of a classifier is missing.
        EncoderError: the model of a scorer cannot be loaded.
        ConservationError: rows were lost; nothing was published.
    """
    workspace, tables, config = context.workspace, context.tables, context.config
    drop = context.drop_name
    check_packages(config)
    key, versions = run_keys.signals(context), scorer_versions(workspace)
    drop_filter = f"drop = {quote(drop)}"
    with begin(tables, STAGE, key, schema.SIGNALS, drop) as run:
        samples = tables.open("samples")
        earlier = EarlierSignals(tables, drop)
        cascade, settings, end = plan_of(config.policy), config.policy.cascade, ""
        if settings is not None and any(step.predicted for step in cascade.steps):
            end = sample_end(samples, drop_filter, settings.sample)
        units = list(list_units(samples, drop_filter, earlier, end))
        plan = _Plan(workspace, run, samples.version, earlier.version, versions, cascade)
        resumed = len(run.done())
        with show_progress(run, len(units)):
            if end:
                first = [unit for unit in units if unit.sampled]
                if not {unit.name for unit in first} <= set(run.done()):
                    run_units(config.engine, run, first, partial(UnitWork, plan), _name)
                plan = replace(plan, cascade=fit_staged(config.policy, run, end))
            run_units(config.engine, run, units, partial(UnitWork, plan), _name)
        entries = {*run.entries(), *valid_entries(tables, drop, versions)}
        counts = run.counts()
        return publish(
            tables,
            run,
            counts=Counts(input=samples.count_rows(drop_filter), kept=counts.kept),
            entries=sorted(entries, key=lambda e: (e.source, e.key, e.rule)),
            write=lambda: tables.replace(STAGE, schema.SIGNALS, run.batches(), drop_filter),
            output=lambda: key,
            resumed=resumed,
        )


@dataclass(frozen=True)
class _Plan:
    """What the workers must know of the run; picklable."""

    workspace: Workspace
    run: StageRun
    samples_version: int
    signals_version: int
    versions: Versions  # of the scorers that the corpus uses
    cascade: Plan


class UnitWork:
    """Measures one unit; iterating over it gives the rows of `signals`."""

    def __init__(self, plan: _Plan, unit: Unit):
        self.plan, self.unit = plan, unit
        self.tables = plan.workspace.tables
        self.scorers = active(plan.workspace.config, plan.workspace.root)
        self.rows = 0
        self.entries: list[Entry] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        earlier_rows = self.unit.earlier_rows
        measured_by = np.array([""] * len(earlier_rows), object)  # the column `scorers`
        if (has_row := earlier_rows >= 0).any():
            rows = self._read_signals(earlier_rows[has_row], ["scorers"])
            measured_by[has_row] = rows["scorers"].to_pylist()
        markers = CrashMarkers(self.plan.run, self.unit.name)
        try:
            # Rows that were measured by the same scorers need the same new ones.
            for scorers in sorted(set(measured_by)):
                yield from self._measure_group(scorers, measured_by == scorers, markers)
        finally:
            markers.close()

    def outcome(self) -> UnitOutcome:
        return UnitOutcome(self.rows, self.rows, self.entries)

    def _measure_group(
        self, scorers: str, selected: np.ndarray, markers: CrashMarkers
    ) -> Iterator[pa.RecordBatch]:
        """Measure the rows of the unit that the same scorers measured before.

        Args:
            scorers: the column `scorers` of their earlier rows; "" if there are none.
            selected: bool (rows of the unit,).
        """
        valid = valid_versions(parse_versions(scorers), self.plan.versions)
        missing = [s for s in self.scorers if s.name not in valid]
        steps = {step.scorer for step in self.plan.cascade.steps}
        late = {s.name: s for s in missing if s.name in steps}
        copied = columns_of(valid)
        columns = {"drop", "id", "source", "key"}.union(*(s.reads for s in missing))
        start = 0
        rows = _CASCADE_ROWS if late else _BATCH_ROWS
        for batch in self._read_samples(sorted(columns), rows):
            stop = start + batch.num_rows
            mask = selected[start:stop]
            earlier_rows = self.unit.earlier_rows[start:stop][mask]
            start = stop
            batch = batch.filter(pa.array(mask))
            if not batch.num_rows:
                continue
            kept = KeptImages() if late else None
            early = [s for s in missing if s.name not in late]
            done = score_skipping_crashes(batch, early, markers, kept)
            notes: list[dict[str, str]] = [{}] * batch.num_rows
            if copied:
                earlier = self._read_signals(earlier_rows, [*copied, "cascade"])
                done.columns |= {n: earlier[n] for n in earlier.schema.names}
            if steps:
                before = done.columns.get("cascade", pa.nulls(batch.num_rows)).to_pylist()
                cascade, sampled = self.plan.cascade, self.unit.sampled
                notes = measure_late(cascade, sampled, late, batch, done, before, markers, kept)
            self.rows += batch.num_rows
            self.entries += self._failures(batch, done)
            yield self._signal_rows(batch, done, {**valid, **self.plan.versions}, notes)

    def _read_samples(self, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        samples = self.tables.open("samples", self.plan.samples_version)
        span = f"_rowaddr >= {self.unit.first} AND _rowaddr <= {self.unit.last}"
        fragment = samples.get_fragment(self.unit.fragment)
        yield from fragment.to_batches(
            columns=columns,
            filter=f"{self.unit.where} AND {span}",
            batch_size=rows,
            batch_readahead=1,
        )

    def _read_signals(self, row_ids: np.ndarray, columns: list[str]) -> pa.RecordBatch:
        table = TableVersion(self.tables, STAGE, self.plan.signals_version)
        return read_rows(table, row_ids, columns)

    def _signal_rows(
        self, batch: pa.RecordBatch, done: Scored, versions: Versions, notes: list[dict[str, str]]
    ) -> pa.RecordBatch:
        skipped = [
            frozenset(n for n, note in row.items() if seconds_of(note) is None) for row in notes
        ]
        texts = {
            names: format_versions({n: v for n, v in versions.items() if n not in names})
            for names in set(skipped)
        }
        columns = {
            "drop": batch["drop"],
            "id": batch["id"],
            **done.columns,
            "scorers": pa.array([texts[names] for names in skipped], pa.string()),
            "cascade": pa.array([format_notes(row) for row in notes], pa.string()),
        }
        arrays = [
            columns[f.name].cast(f.type) if f.name in columns else _nulls(f.type, batch.num_rows)
            for f in schema.SIGNALS
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema.SIGNALS)

    def _failures(self, batch: pa.RecordBatch, done: Scored) -> Iterator[Entry]:
        for row, name, error in done.failed:
            source, key, sample = (batch[c][row].as_py() for c in ("source", "key", "id"))
            version = self.plan.versions[name]
            yield Entry(source, key, error.rule, "unmeasured", sample, version, error=error.error)


def _nulls(of_type: pa.DataType, rows: int) -> pa.Array:
    """A column of nulls for at most `_BATCH_ROWS` rows."""
    return _most_nulls(of_type)[:rows]


@cache
def _most_nulls(of_type: pa.DataType) -> pa.Array:
    # Nulls of a fingerprint take as many bytes as fingerprints, up to 12 KB a row: made once.
    return pa.nulls(_BATCH_ROWS, of_type)


def _name(unit: Unit) -> str:
    return unit.name
