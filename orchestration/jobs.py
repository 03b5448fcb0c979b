"""Dagster's jobs and schedules: making tables, refitting corrections, learning projections,
exporting, maintenance, and deleting old rows of the query log.
"""

import operator
from datetime import timedelta
from functools import reduce
from typing import Any

import dagster as dg
from pydantic import Field

from assets.materialise import DROPS, FORCE, MADE, OF_CORPUS, OF_DROP, STAGE
from pipelines.removal.unreferenced import delete_unreferenced
from store.search import query_log
from store.tables import maintain as maintenance
from store.tables.files import absolute
from store.tables.names import query_log_table
from store.workspace import Workspace

_BY_DROP = dg.AssetSelection.tag(MADE, OF_DROP)
_CORPUS = dg.AssetSelection.tag(MADE, OF_CORPUS)
_REFITTED = [dg.AssetSelection.tag(STAGE, n) for n in ("banks", "gallery", "index", "release")]

drop_job = dg.define_asset_job(
    "drop",
    selection=_BY_DROP,
    partitions_def=DROPS,
    description="Make the samples, signals and vectors of one drop.",
)

corpus_job = dg.define_asset_job(
    "corpus",
    selection=_CORPUS,
    description="Make pairs, duplicates, decisions, banks, gallery and a release from all drops.",
)

everything_job = dg.define_asset_job(
    "everything",
    selection=_BY_DROP | _CORPUS,
    partitions_def=DROPS,
    description="Make the tables of one drop, then those of all drops.",
)

refit_job = dg.define_asset_job(
    "refit",
    selection=reduce(operator.or_, _REFITTED),
    tags={FORCE: "banks"},
    description="Draw the banks again from the present corpus and queries. If they differ, fit the"
    " corrections to them and make a gallery and a release.",
)


@dg.op
def forget(context: dg.OpExecutionContext, corpus: dg.ResourceParam[Workspace]) -> None:
    """Delete the rows of the query log whose retention has ended, from the disk too."""
    for space in corpus.spaces():
        name = space.config.space
        deleted = query_log.delete_expired(corpus.tables, name, corpus.config.query_log)
        context.log.info(f"{name}: deleted {deleted} rows of the query log")


@dg.job
def retention() -> None:
    """Delete the rows of the query log whose retention has ended."""
    forget()


class Period(dg.Config):
    """Versions that were the newest one within this many hours are kept."""

    older_than_hours: float = 1.0


@dg.op
def tidy(
    context: dg.OpExecutionContext, config: Period, corpus: dg.ResourceParam[Workspace]
) -> None:
    """Compact the tables; delete old versions, stale staging, and vectors that no sample needs."""
    for name, count in delete_unreferenced(corpus).items():
        context.log.info(f"{name}: deleted {count:,} vectors of parts that no sample has")
    for done in maintenance.maintain(corpus.tables, timedelta(hours=config.older_than_hours)):
        context.log.info(str(done))
    for name in maintenance.remove_stale_staging(corpus.tables):
        context.log.info(f"deleted stale staging: {name}")


@dg.job
def maintain() -> None:
    """Compact the tables, and delete old versions and stale staging. Safe beside runs."""
    tidy()


class Items(dg.Config):
    """What is taken down; see `pipelines.takedown.selection.Selection`."""

    ids: list[str] = Field([])
    parts: list[str] = Field([])
    keys: list[str] = Field([])
    sources: list[str] = Field([])
    drop: str | None = None
    reason: str = ""


@dg.op
def remove(
    context: dg.OpExecutionContext, config: Items, corpus: dg.ResourceParam[Workspace]
) -> None:
    """Remove samples from all tables, kept releases, caches and pages, for good."""
    from pipelines.takedown.selection import Selection
    from pipelines.takedown.takedown import take_down

    names = (config.ids, config.parts, config.keys, config.sources)
    ids, parts, keys, sources = map(frozenset, names)
    receipt = take_down(corpus, Selection(ids, parts, keys, sources, config.drop), config.reason)
    context.log.info(receipt.text())


@dg.job
def takedown() -> None:
    """Remove samples for good. What Dagster's pages show of earlier runs stays: for that, use the
    command `isotrope takedown`."""
    remove()


class AlignedSpace(dg.Config):
    """The space whose towers are aligned. None: the main one."""

    space: str | None = None


@dg.op
def learn(
    context: dg.OpExecutionContext, config: AlignedSpace, corpus: dg.ResourceParam[Workspace]
) -> None:
    """Learn the projections of a space's aligned towers, from samples that are kept."""
    from pipelines.vectors.align import align_space

    for learned in align_space(corpus.of_space(config.space), say=context.log.info):
        context.log.info(f"{learned.modality}: {learned.file}, {learned.figures}")


@dg.job
def align() -> None:
    """Learn the projections of a space's aligned towers. Vectors are out of date afterwards."""
    learn()


class Target(dg.Config):
    """The folder and the options of an export; see `pipelines.export.stage.Options`."""

    folder: str
    to: str = "webdataset"
    signals: bool = False
    mask: bool = False
    overwrite: bool = False


@dg.op
def write(
    context: dg.OpExecutionContext, config: Target, corpus: dg.ResourceParam[Workspace]
) -> None:
    """Write the kept samples to a folder. An export that was killed is resumed."""
    from pipelines.export.stage import Options
    from pipelines.export.stage import export as write_out

    options = Options(config.to, config.signals, config.mask)
    done = write_out(corpus, absolute(config.folder), options, config.overwrite)
    context.log.info(f"{done.samples} samples in {done.shards} shards, {done.bytes} bytes")


@dg.job
def export() -> None:
    """Write the kept samples to a folder."""
    write()


tidying = dg.ScheduleDefinition(
    name="tidying",
    job=maintain,
    cron_schedule="30 3 * * *",
    description="Compact the tables and delete old versions every night. Off by default.",
)

nightly = dg.ScheduleDefinition(
    name="nightly",
    job=corpus_job,
    cron_schedule="0 3 * * *",
    description="Update the tables of all drops every night. Off by default.",
)

refresh = dg.ScheduleDefinition(
    name="refresh",
    job=refit_job,
    cron_schedule="0 4 * * 0",
    description="Draw the banks again every week, and fit the corrections to them. Off by default.",
)


@dg.schedule(
    job=retention,
    cron_schedule="30 2 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Delete old rows of the query log every night, even if nothing is logged any more."
    " Skipped if there is no log.",
)
def forgetting(corpus: dg.ResourceParam[Workspace]) -> dg.RunRequest | dg.SkipReason:
    """Request `retention` if there is a query log."""
    logs = [query_log_table(space.config.space) for space in corpus.spaces()]
    if not any(map(corpus.tables.exists, logs)):
        return dg.SkipReason("there is no query log")
    return dg.RunRequest()


JOBS: list[Any] = [
    drop_job,
    corpus_job,
    everything_job,
    refit_job,
    retention,
    maintain,
    align,
    export,
    takedown,
]
SCHEDULES = [nightly, refresh, forgetting, tidying]
