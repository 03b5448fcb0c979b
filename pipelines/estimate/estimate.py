"""Estimates what a run will take: time, disk and cost of the stages that are out of date.

Time comes from the rates of earlier runs (the table `stages`), disk from the sizes of the stored
tables, and the number of records from counting what the sources deliver. Nothing is made.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.compute as pc

from pipelines.sources.drops import Drop
from pipelines.sources.read import count_records
from pipelines.sources.units import list_units
from pipelines.stages import staleness
from pipelines.stages.snapshot import Snapshot
from store.config.engine import Prices
from store.tables import schema
from store.tables.lance_tables import Tables, quote
from store.tables.names import (
    gallery_table,
    moment_vectors_table,
    moments_table,
    pairs_table,
    tokens_table,
    vectors_table,
)
from store.tables.stages import BY_DROP, GLOBAL, STAGES
from store.tables.staging import stage_record
from store.workspace import Workspace

_HOUR, _GIGABYTE = 3600, 1e9


@dataclass(frozen=True)
class Rate:
    """What a stage took before, over all of its records.

    Attributes:
        seconds: for one record that goes in.
        kept: the share of the records that it keeps.
        bytes: of its table, for one record that it keeps.
        records: how many records this was measured on.
    """

    seconds: float
    kept: float
    bytes: float
    records: int


@dataclass(frozen=True)
class Estimate:
    """What a stage will take.

    Attributes:
        stage: its name.
        drops: how many drops it is made of; 0 for a stage over all drops.
        input: records that go in.
        rate: measured on earlier runs; None: the stage was never made.
        prices: of corpus.yaml, if any.
    """

    stage: str
    drops: int
    input: int
    rate: Rate | None
    prices: Prices | None = None

    @property
    def seconds(self) -> float | None:
        """Wall-clock time, on machines like those of the earlier runs."""
        return None if self.rate is None else self.input * self.rate.seconds

    @property
    def bytes(self) -> float | None:
        """The size of the rows in the stage's table."""
        if self.rate is None:
            return None
        return self.input * self.rate.kept * self.rate.bytes

    @property
    def cost(self) -> float | None:
        """Of the machines, and of a month of the disk; None without rates or prices."""
        if self.prices is None or self.seconds is None or self.bytes is None:
            return None
        machines = self.seconds / _HOUR * self.prices.machine_hour
        return machines + self.bytes / _GIGABYTE * self.prices.gigabyte_month


def estimate(
    workspace: Workspace,
    drop: str | None = None,
    delivered: dict[str, Drop] | None = None,
    snapshot: Snapshot | None = None,
) -> list[Estimate]:
    """Estimate the stages that `isotrope run` would make, in the order of the data.

    The stages over all drops are estimated for all records, although most update by difference.

    Args:
        workspace: the corpus.
        drop: of the stages by drop, only those of this drop.
        delivered: what `staleness.drops` returned. None: it is called.
        snapshot: of the corpus. None: one is read.

    Raises:
        SourceError: a source cannot be read.
    """
    delivered = staleness.drops(workspace) if delivered is None else delivered
    snapshot = snapshot or Snapshot(workspace)
    chosen = {name: d for name, d in delivered.items() if drop in (None, name)}
    records = {name: _records(workspace, each, snapshot) for name, each in delivered.items()}
    estimates: list[Estimate] = []
    for space in workspace.spaces():
        estimates += _of_space(space, chosen, records, snapshot, bool(estimates))
    return estimates


def _of_space(
    space: Workspace,
    chosen: dict[str, Drop],
    records: dict[str, int],
    snapshot: Snapshot,
    changes: bool,
) -> list[Estimate]:
    """Estimate the stages of one space, and for the main one those that all spaces share.

    Args:
        space: the corpus in the space.
        chosen: the drops whose stages are estimated.
        records: how many records each delivered drop has.
        snapshot: of the corpus.
        changes: a stage of the main space will be made, so all stages over all drops will be.
    """
    names = [s for s in (*BY_DROP, *GLOBAL) if space.main is None or STAGES[s].by_space]
    rates = {stage: measured(space, stage) for stage in (*BY_DROP, *GLOBAL)}
    prices = space.config.engine.prices
    stale = {name: staleness.stale(space, each, snapshot) for name, each in chosen.items()}
    estimates = []
    for stage in (name for name in names if name in BY_DROP):
        drops = [name for name in chosen if stage in stale[name]]
        if drops:
            count = _reaching(stage, sum(records[name] for name in drops), rates)
            label = space.name_of(stage)
            estimates.append(Estimate(label, len(drops), count, rates[stage], prices))
    is_changed = changes or bool(estimates)
    everything = GLOBAL if is_changed else staleness.stale(space, None, snapshot)
    for stage in (name for name in names if name in everything):
        count = _reaching(stage, sum(records.values()), rates)
        estimates.append(Estimate(space.name_of(stage), 0, count, rates[stage], prices))
    return estimates


def measured(workspace: Workspace, stage: str) -> Rate | None:
    """The rate of a stage over all of its records; None: there are none.

    Runs that an interrupted run had begun are left out: they did a part of the work.
    """
    columns = ["input", "kept", "seconds"]
    where = f"stage = {quote(workspace.name_of(stage))} AND resumed = 0 AND input > 0"
    rows = workspace.tables.scan("stages", schema.STAGES, columns, where)
    records, kept, seconds = (pc.sum(rows[name]).as_py() or 0 for name in columns)
    if not records:
        return None
    tables = list(_tables(workspace, stage))
    rows_stored = sum(_count(workspace.tables, name) for name in tables)
    # Some of the parts that have a vector also have token vectors or moments.
    more = {"vectors": (tokens_table, moment_vectors_table), "gallery": (moments_table,)}
    for name_of in more.get(stage, ()):
        tables += [name_of(workspace.config.space, modality) for modality in schema.MODALITIES]
    size = sum(_size(workspace.tables, name) for name in tables) / max(rows_stored, 1)
    return Rate(seconds / records, kept / records, size, records)


def _records(workspace: Workspace, drop: Drop, snapshot: Snapshot) -> int:
    """The records of a drop: those that were counted when it was read, else counted now."""
    done = stage_record(workspace.tables, "samples", drop.name)
    if done is not None and "samples" not in staleness.stale(workspace, drop, snapshot):
        return done["input"]
    return sum(count_records(unit) for unit in list_units(drop))


def _reaching(stage: str, records: int, rates: dict[str, Rate | None]) -> int:
    """How many of the delivered records go into a stage, by the shares of earlier runs.

    Every earlier run of both stages counts, so parts and samples are not confused.
    """
    first, rate = rates["samples"], rates[stage]
    if stage == "samples" or first is None or rate is None:
        return records
    return round(records * rate.records / first.records)


def _tables(workspace: Workspace, stage: str) -> Iterator[str]:
    """The tables of a stage whose rows grow with its records."""
    space = workspace.config.space
    if stage == "vectors":
        yield vectors_table(space)
    elif stage == "pairs":
        yield pairs_table(space)
    elif stage == "gallery":
        yield from (gallery_table(space, modality) for modality in schema.MODALITIES)
    elif stage in ("samples", "signals", "decisions"):
        yield stage


def _count(tables: Tables, name: str) -> int:
    return tables.open(name).count_rows() if tables.exists(name) else 0


def _size(tables: Tables, name: str) -> int:
    """Bytes of the data files of a table's newest version."""
    if not tables.exists(name):
        return 0
    fragments = tables.open(name).get_fragments()
    return sum(file.file_size_bytes or 0 for each in fragments for file in each.data_files())
