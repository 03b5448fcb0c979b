"""The stage: a drop's samples in units, each measured by the scorers that do not know it yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engine.crash_markers import CrashMarkers
from pipelines.engine.progress import watch
from pipelines.engine.units import run_units
from pipelines.signals.incremental import (
    EarlierSignals,
    Versions,
    columns_of,
    old_entries,
    old_rows,
    read,
    standing,
    written,
)
from pipelines.signals.registry import active, check_models
from pipelines.signals.scoring import Scored, score_carefully
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.tables import schema
from store.tables.lance_tables import quote
from store.tables.staging import Counts, Entry, StageRun, UnitOutcome, begin, publish
from store.workspace import Workspace

STAGE = "signals"

_UNIT_ROWS, _UNIT_BYTES = 4096, 64 << 20
_BATCH_ROWS = 256
_SCAN_ROWS = 65_536


@dataclass(frozen=True)
class Unit:
    """Neighbouring rows of a drop in one fragment of `samples`, by address, last included.

    `known` has the row ids of their old rows in `signals`, -1 where there is none.
    """

    fragment: int
    first: int
    last: int
    known: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.first}-{self.last}"


def measure(context: StageContext) -> Counts:
    """Make the `signals` rows of a drop from its `samples`.

    Columns that a scorer of the same version has measured before are copied. A sample that a
    scorer cannot measure keeps null there and has a row in the ledger.

    Raises:
        NotFoundError: the drop has no samples yet, or a classifier's file is missing.
        EncoderError: a scorer's model cannot be loaded.
        ConservationError: rows were lost; nothing was published.
    """
    workspace, tables, config = context.workspace, context.tables, context.config
    drop = context.drop_name
    check_models(config.signals)
    key, versions = run_keys.signals(context), run_keys.scorers(workspace)
    here = f"drop = {quote(drop)}"
    with begin(tables, STAGE, key, schema.SIGNALS, drop) as run:
        samples = tables.open("samples")
        known = EarlierSignals(tables, drop)
        units = list(list_units(samples, here, known))
        plan = _Plan(workspace, run, samples.version, known.version, here, versions)
        resumed = len(run.done())
        with watch(run, len(units)):
            run_units(config.engine, run, units, partial(UnitWork, plan), _name)
        entries = {*run.entries(), *old_entries(tables, drop, versions)}
        counts = run.counts()
        return publish(
            tables,
            run,
            counts=Counts(input=samples.count_rows(here), kept=counts.kept),
            entries=sorted(entries, key=lambda e: (e.source, e.key, e.rule)),
            write=lambda: tables.replace(STAGE, schema.SIGNALS, run.batches(rows=4096), here),
            output=lambda: key,
            resumed=resumed,
        )


def list_units(samples: lance.LanceDataset, here: str, known: EarlierSignals) -> Iterator[Unit]:
    """A drop's rows, cut where they reach 64 MB of media or 4,096 rows."""
    columns = ["id", "image_bytes", "audio_bytes"]
    for fragment in samples.get_fragments():
        batches = fragment.to_batches(
            columns=columns, filter=here, with_row_address=True, batch_size=_SCAN_ROWS
        )
        for batch in batches:
            sizes = [pc.fill_null(batch[c], 0).to_numpy() for c in columns[1:]]
            rows, places = known.of(batch["id"]), batch["_rowaddr"].to_numpy()
            for start, stop in cut(sum(sizes)):
                first, last = int(places[start]), int(places[stop - 1])
                yield Unit(fragment.fragment_id, first, last, rows[start:stop])


def cut(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Spans that cover rows of these bytes; only a span of one row is larger than a unit may be."""
    start, ends = 0, np.cumsum(sizes)
    while start < len(sizes):
        full = int(np.searchsorted(ends, (ends[start - 1] if start else 0) + _UNIT_BYTES, "right"))
        stop = min(max(full, start + 1), start + _UNIT_ROWS)
        yield start, stop
        start = stop


@dataclass(frozen=True)
class _Plan:
    """What workers need to know of the run."""

    workspace: Workspace
    run: StageRun
    samples: int  # versions of the tables
    signals: int
    here: str
    versions: Versions


class UnitWork:
    """Measures one unit: batches of rows, then what became of its records."""

    def __init__(self, plan: _Plan, unit: Unit):
        self.plan, self.unit = plan, unit
        self.tables = plan.workspace.tables
        self.scorers = active(plan.workspace.config.signals, plan.workspace.root)
        self.rows = 0
        self.entries: list[Entry] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        uri, known = self.tables.uri(STAGE), self.unit.known
        before = np.array([""] * len(known), object)
        if (old := known >= 0).any():
            found = old_rows(uri, self.plan.signals, known[old], ["scorers"])
            before[old] = found["scorers"].to_pylist()
        crumbs = CrashMarkers(self.plan.run, self.unit.name)
        try:
            # Rows that were measured by the same scorers lack the same ones.
            for scorers in sorted(set(before)):
                yield from self._measured(scorers, before == scorers, crumbs)
        finally:
            crumbs.close()

    def _measured(
        self, scorers: str, mine: np.ndarray, crumbs: CrashMarkers
    ) -> Iterator[pa.RecordBatch]:
        stand = standing(read(scorers), self.plan.versions)
        missing = [s for s in self.scorers if s.name not in stand]
        copied = columns_of(stand)
        columns = {"drop", "id", "source", "key"}.union(*(s.reads for s in missing))
        seen = 0
        for batch in self._samples(sorted(columns)):
            here = mine[seen : seen + batch.num_rows]
            rows = self.unit.known[seen : seen + batch.num_rows][here]
            seen += batch.num_rows
            batch = batch.filter(pa.array(here))
            if not batch.num_rows:
                continue
            done = score_carefully(batch, missing, crumbs)
            if copied:
                old = old_rows(self.tables.uri(STAGE), self.plan.signals, rows, copied)
                done.columns |= {n: old[n] for n in old.schema.names}
            self.rows += batch.num_rows
            self.entries += self._unmeasured(batch, done)
            yield self._rows(batch, done, stand)

    def _samples(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        dataset = lance.dataset(self.tables.uri("samples"), version=self.plan.samples)
        span = f"_rowaddr >= {self.unit.first} AND _rowaddr <= {self.unit.last}"
        yield from dataset.get_fragment(self.unit.fragment).to_batches(
            columns=columns,
            filter=f"{self.plan.here} AND {span}",
            batch_size=_BATCH_ROWS,
            batch_readahead=1,
        )

    def _rows(self, batch: pa.RecordBatch, done: Scored, stand: Versions) -> pa.RecordBatch:
        scorers = written({**stand, **self.plan.versions})
        columns = {
            "drop": batch["drop"],
            "id": batch["id"],
            **done.columns,
            "scorers": pa.array([scorers] * batch.num_rows, pa.string()),
        }
        missing = pa.nulls(batch.num_rows)
        arrays = [columns.get(f.name, missing).cast(f.type) for f in schema.SIGNALS]
        return pa.RecordBatch.from_arrays(arrays, schema=schema.SIGNALS)

    def _unmeasured(self, batch: pa.RecordBatch, done: Scored) -> Iterator[Entry]:
        for row, name, error in done.failed:
            source, key, sample = (batch[c][row].as_py() for c in ("source", "key", "id"))
            version = self.plan.versions[name]
            yield Entry(source, key, error.rule, "unmeasured", sample, version, error=error.error)

    def outcome(self) -> UnitOutcome:
        return UnitOutcome(self.rows, self.rows, self.entries)


def _name(unit: Unit) -> str:
    return unit.name
