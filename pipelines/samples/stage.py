"""samples: reads the records of a drop, checks them, and stores them unchanged.

There are two passes. The first does units (a tar shard, some files of a folder, part of a
manifest): it reads each record, decodes its parts once to prove that they are complete, and stages
them as delivered. The second (Apache Beam) groups the staged rows by content: of equal samples in
one drop the first by source and key survives.
"""

from collections.abc import Iterator
from functools import partial
from itertools import count

import pyarrow as pa

from pipelines.engine.crash_markers import DEADLY_DEATHS, CrashMarkers
from pipelines.engine.progress import show_progress
from pipelines.engine.units import run_units
from pipelines.samples.digest import SampleDigest
from pipelines.samples.error_budget import Budget, broken
from pipelines.samples.repeats_in_drop import Repeats
from pipelines.samples.sample_row import sample_row
from pipelines.sources.manifest_rows import as_record_error
from pipelines.sources.read import count_records, read_unit
from pipelines.sources.records import Record, Unit, printable
from pipelines.sources.units import list_units
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store import identity
from store.config.limits import Limits
from store.errors import IsotropeError, RecordError
from store.isolate import isolate_failures
from store.tables import schema, takedowns
from store.tables.lance_tables import quote
from store.tables.staging import Counts, Entry, StageRun, UnitOutcome, begin, publish
from store.tables.takedowns import NOTHING, Blocked

STAGE = "samples"
_BATCH_ROWS = 64
_BATCH_BYTES = 32 << 20
_CRASHED = "the process that read it crashed repeatedly"


def ingest(context: StageContext) -> Counts:
    """Make the `samples` rows of a drop, and their ledger.

    Raises:
        SourceError: the drop cannot be read at all.
        BudgetError: more of its records failed than `errors` allows. Nothing was published. What
            was read stays staged and is not read again with a larger budget.
        ConservationError: records were lost. Nothing was published.
    """
    tables, config = context.tables, context.config
    key, drop = run_keys.samples(context), context.delivery
    with begin(tables, STAGE, key, schema.SAMPLES, drop.name) as run:
        # In an order that does not depend on their content, so that the error budget can judge
        # the drop by the first units.
        units = sorted(list_units(drop), key=lambda u: identity.run_key(u.name))
        resumed = len(run.done())
        source = config.sources.get(drop.source)
        errors = (source and source.errors) or config.errors
        budget = Budget(errors, total=sum(count_records(u) for u in units))
        work = partial(
            UnitWork,
            limits=config.limits,
            run=run,
            budget=budget,
            blocked=takedowns.blocked(tables),
        )
        with show_progress(run, len(units)):
            try:
                run_units(config.engine, run, units, work, _unit_name)
            except Exception:
                budget.check_early(run)  # Beam turns its workers' BudgetError into plain text
                raise
        budget.check_complete(run)
        repeats = Repeats(config.engine, run)
        staged = run.counts()
        counts = Counts(
            input=budget.total,
            kept=staged.kept - len(repeats.entries),
            rejected=staged.rejected + len(repeats.entries),
            failed=staged.failed,
        )
        digest = SampleDigest()

        def kept(batch: pa.RecordBatch) -> pa.RecordBatch:
            rows = repeats.without(batch)
            digest.add(rows)
            return rows

        return publish(
            tables,
            run,
            counts=counts,
            entries=[*run.entries(), *repeats.entries],
            write=lambda: tables.replace(
                STAGE, schema.SAMPLES, run.batches(kept), f"drop = {quote(drop.name)}"
            ),
            output=lambda: digest.hex,
            resumed=resumed,
        )


class UnitWork:
    """Reads one unit: batches of sample rows, then the ledger entries of its other records.

    An error in a record costs that record only. This holds for unexpected errors too, and for
    records that crash the process (see `CrashMarkers`).
    """

    def __init__(
        self,
        unit: Unit,
        limits: Limits,
        run: StageRun,
        budget: Budget,
        blocked: Blocked = NOTHING,
    ):
        self.unit, self.limits = unit, limits
        self.run, self.budget, self.blocked = run, budget, blocked
        self.kept = 0
        self.entries: list[Entry] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self.budget.check_throttled(self.run)
        rows: list[dict] = []
        size = 0
        for record in self._records():
            try:
                row = {"drop": self.unit.drop, **sample_row(record, self.limits)}
            except Exception as error:
                self._fail(record.source, record.key, as_record_error(error))
                continue
            if self.blocked.holds(row):
                self.entries.append(takedowns.entry(record.source, row["id"]))
                continue
            rows.append(row)
            size += len(record.image or b"") + len(record.audio or b"")
            if len(rows) == _BATCH_ROWS or size > _BATCH_BYTES:
                yield from self._batches(rows)
                rows, size = [], 0
        yield from self._batches(rows)

    def _records(self) -> Iterator[Record]:
        """The unit's good records. A crash marker is set before each; bad ones go to the ledger."""
        markers = CrashMarkers(self.run, self.unit.name)
        items = iter(read_unit(self.unit, self.limits))
        try:
            for number in count():
                position = f"record {number}"
                if markers.deaths.get(position, 0) > DEADLY_DEATHS:
                    # It was not decoded after two crashes, and crashed again: the reader does it.
                    return self._fail_rest(number, RecordError("record.crashed", _CRASHED))
                markers.at(position)
                try:
                    item = next(items, None)
                except Exception as error:
                    if isinstance(error, IsotropeError) and not isinstance(error, RecordError):
                        raise  # for example: a file system is not installed
                    return self._fail_rest(number, as_record_error(error))
                if item is None:
                    return None
                if not isinstance(item, Record):
                    self._fail(item.source, item.key, item.error)
                elif markers.is_deadly(position):
                    self._fail(item.source, item.key, RecordError("record.crashed", _CRASHED))
                else:
                    yield item
        finally:
            markers.close()

    def _fail(self, source: str, key: str, error: RecordError) -> None:
        self.entries.append(Entry.of(source, key, error))

    def _fail_rest(self, number: int, error: RecordError) -> None:
        """Add a ledger entry for each record from this one on, since reading cannot go on."""
        source = printable(self.unit.paths[0])
        for index in range(number, count_records(self.unit)):
            self._fail(source, f"record-{index}", error)

    def _batches(self, rows: list[dict]) -> Iterator[pa.RecordBatch]:
        """Convert rows to Arrow batches. A row that Arrow refuses goes to the ledger."""
        if not rows:
            return

        def convert(start: int, stop: int) -> pa.RecordBatch:
            return pa.RecordBatch.from_pylist(rows[start:stop], schema=schema.SAMPLES)

        for start, batch in isolate_failures(len(rows), convert):
            if isinstance(batch, Exception):
                self._fail(rows[start]["source"], rows[start]["key"], as_record_error(batch))
            else:
                self.kept += batch.num_rows
                yield batch

    def outcome(self) -> UnitOutcome:
        """The counts and ledger entries of the unit, after its rows."""
        total = self.kept + len(self.entries)
        return UnitOutcome(total, self.kept, self.entries, len(broken(self.entries)))


def _unit_name(unit: Unit) -> str:
    return unit.name
