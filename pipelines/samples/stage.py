"""samples: a drop's records, read, validated, hashed and stored unchanged.

Two passes. The first does units (a tar shard, some files of a folder, a part of a manifest): every
record is read, its parts decoded once to prove that they are whole, and stored as delivered. The
second (Apache Beam) groups what was staged by content: of equal samples in one drop the first by
source and key survives.
"""

from collections.abc import Iterator
from functools import partial
from itertools import count

import pyarrow as pa

from pipelines.engine.crash_markers import BLAMED, CrashMarkers
from pipelines.engine.progress import watch
from pipelines.engine.units import run_units
from pipelines.samples.error_budget import Budget, broken
from pipelines.samples.sample_row import sample_row
from pipelines.sources.manifest_rows import unexpected
from pipelines.sources.read import count_records, read_unit
from pipelines.sources.records import Record, Unit, printable
from pipelines.sources.units import list_units
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store import identity
from store.config.limits import Limits
from store.errors import IsotropeError, RecordError
from store.tables import schema
from store.tables.lance_tables import quote
from store.tables.staging import Counts, Entry, StageRun, UnitOutcome, begin, publish

STAGE = "samples"
_BATCH_ROWS = 64
_BATCH_BYTES = 32 << 20
_CRASHED = "its process died over it, time and again"


def ingest(context: StageContext) -> Counts:
    """Make the `samples` rows of a drop, and its ledger.

    Raises:
        SourceError: the drop cannot be read at all.
        BudgetError: more of it failed than `errors` allows. Nothing was published, and what was
            read stays staged: with a larger budget it is not read again.
        ConservationError: records were lost; nothing was published.
    """
    from pipelines.samples.repeats_in_drop import (
        Repeats,  # Beam, of which Ray's workers have no need
    )

    tables, config = context.tables, context.config
    key, drop = run_keys.samples(context), context.delivery
    with begin(tables, STAGE, key, schema.SAMPLES, drop.name) as run:
        # In no order of theirs, so that the first ones tell of the rest.
        units = sorted(list_units(drop), key=lambda u: identity.run_key(u.name))
        resumed = len(run.done())
        source = config.sources.get(drop.source)
        errors = (source and source.errors) or config.errors
        budget = Budget(errors, total=sum(count_records(u) for u in units))
        work = partial(UnitWork, limits=config.limits, run=run, budget=budget)
        with watch(run, len(units)):
            try:
                run_units(config.engine, run, units, work, _unit_name)
            except Exception:
                budget.look(run)  # Beam passes on what its workers raise as words
                raise
        budget.check(run)
        repeats = Repeats(config.engine.beam, run)
        staged = run.counts()
        counts = Counts(
            input=budget.total,
            kept=staged.kept - len(repeats.entries),
            rejected=staged.rejected + len(repeats.entries),
            failed=staged.failed,
        )
        digest = _Digest()

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
    """Reads one unit: batches of sample rows, then what became of its records.

    Whatever goes wrong with a record costs that record, be it an error that nobody has thought of,
    or (`crumbs`) one that takes the process down.
    """

    def __init__(self, unit: Unit, limits: Limits, run: StageRun, budget: Budget):
        self.unit, self.limits = unit, limits
        self.run, self.budget = run, budget
        self.kept = 0
        self.entries: list[Entry] = []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self.budget.glance(self.run)
        rows: list[dict] = []
        held = 0
        for record in self._records():
            try:
                row = {"drop": self.unit.drop, **sample_row(record, self.limits)}
            except RecordError as error:
                self._lose(record.source, record.key, error)
                continue
            except Exception as error:
                self._lose(record.source, record.key, unexpected(error))
                continue
            rows.append(row)
            held += len(record.image or b"") + len(record.audio or b"")
            if len(rows) == _BATCH_ROWS or held > _BATCH_BYTES:
                yield from self._batches(rows)
                rows, held = [], 0
        yield from self._batches(rows)

    def _records(self) -> Iterator[Record]:
        """The unit's records, a crumb before each; what is bad goes to the ledger."""
        crumbs = CrashMarkers(self.run, self.unit.name)
        items = iter(read_unit(self.unit, self.limits))
        try:
            for number in count():
                place = f"record {number}"
                if crumbs.deaths.get(place, 0) > BLAMED:  # it is not decoded any more, yet kills
                    return self._lose_rest(number, RecordError("record.crashed", _CRASHED))
                crumbs.at(place)
                try:
                    item = next(items, None)
                except RecordError as error:
                    return self._lose_rest(number, error)
                except IsotropeError:  # such as a file system that is not installed
                    raise
                except Exception as error:
                    return self._lose_rest(number, unexpected(error))
                if item is None:
                    return None
                if not isinstance(item, Record):
                    self._lose(item.source, item.key, item.error)
                elif crumbs.is_deadly(place):
                    self._lose(item.source, item.key, RecordError("record.crashed", _CRASHED))
                else:
                    yield item
        finally:
            crumbs.close()

    def _lose(self, source: str, key: str, error: RecordError) -> None:
        self.entries.append(Entry.of(source, key, error))

    def _lose_rest(self, number: int, error: RecordError) -> None:
        """Records that reading never comes to, from this one on: they are lost one by one."""
        source = printable(self.unit.paths[0])
        for lost in range(number, count_records(self.unit)):
            self._lose(source, f"record-{lost}", error)

    def _batches(self, rows: list[dict]) -> Iterator[pa.RecordBatch]:
        """Rows as Arrow has them; where it will not, halves of them, down to the culprit."""
        if not rows:
            return
        try:
            batch = pa.RecordBatch.from_pylist(rows, schema=schema.SAMPLES)
        except Exception as error:
            if len(rows) == 1:
                self._lose(rows[0]["source"], rows[0]["key"], unexpected(error))
                return
            middle = len(rows) // 2
            yield from self._batches(rows[:middle])
            yield from self._batches(rows[middle:])
            return
        self.kept += len(rows)
        yield batch

    def outcome(self) -> UnitOutcome:
        total = self.kept + len(self.entries)
        return UnitOutcome(total, self.kept, self.entries, len(broken(self.entries)))


def _unit_name(unit: Unit) -> str:
    return unit.name


class _Digest:
    """Of what later stages read of a drop, whatever the order of its rows."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, batch: pa.RecordBatch) -> None:
        columns = [batch[c].to_pylist() for c in ("id", "source", "key", "meta")]
        self.total += identity.unordered(repr(row) for row in zip(*columns, strict=True))

    @property
    def hex(self) -> str:
        return f"{self.total % (1 << 128):032x}"
