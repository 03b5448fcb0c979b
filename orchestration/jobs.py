"""Jobs and schedules: the tables of a drop, the tables of all drops, everything; fitting anew,
aligning, exporting, and what becomes of the query log.
"""

from pathlib import Path
from typing import Any

import dagster as dg

from assets.drift_check import no_drift
from assets.materialise import CORPUS_GROUP, DROP_GROUP, DROPS, FORCE
from store.search import query_log
from store.tables.names import query_log_table
from store.workspace import Workspace

_BY_DROP = dg.AssetSelection.groups(DROP_GROUP)
_CORPUS = dg.AssetSelection.groups(CORPUS_GROUP)

drop_job = dg.define_asset_job(
    "drop",
    selection=_BY_DROP,
    partitions_def=DROPS,
    description="Samples, signals and vectors of one drop.",
)

corpus_job = dg.define_asset_job(
    "corpus",
    selection=_CORPUS,
    description="Pairs, duplicates, decisions, banks, gallery and a release, from all drops.",
)

everything_job = dg.define_asset_job(
    "everything",
    selection=_BY_DROP | _CORPUS,
    partitions_def=DROPS,
    description="One drop, and after it the corpus.",
)

refit_job = dg.define_asset_job(
    "refit",
    selection=dg.AssetSelection.assets("banks", "gallery", "release"),
    tags={FORCE: "banks"},
    description="Banks drawn anew from today's corpus and queries; where they came out otherwise, a"
    " gallery fitted to them, and a release.",
)

drift_job = dg.define_asset_job(
    "measure_drift",
    selection=dg.AssetSelection.checks(no_drift),
    description="Whether fresh queries find more hubs than the release's own did.",
)


@dg.op
def forget(context: dg.OpExecutionContext, corpus: dg.ResourceParam[Workspace]) -> None:
    """Delete what the query log may not keep any longer, from the disk too."""
    gone = query_log.forget(corpus.tables, corpus.config.space, corpus.config.query_log)
    context.log.info(f"{gone} rows of the query log were deleted")


@dg.job
def retention() -> None:
    """Delete what the query log may not keep any longer."""
    forget()


@dg.op
def learn(context: dg.OpExecutionContext, corpus: dg.ResourceParam[Workspace]) -> None:
    """Learn the projections of the space's aligned towers, from samples that decisions keep."""
    from pipelines.vectors.align import align_space

    for learned in align_space(corpus, say=context.log.info):
        context.log.info(f"{learned.modality}: {learned.file}, {learned.figures}")


@dg.job
def align() -> None:
    """Learn the projections of the space's aligned towers; vectors are out of date after it."""
    learn()


class Target(dg.Config):
    """Where to, and what is written; see `pipelines.export.stage.Options`."""

    folder: str
    to: str = "webdataset"
    signals: bool = False
    mask: bool = False
    overwrite: bool = False


@dg.op
def write(
    context: dg.OpExecutionContext, config: Target, corpus: dg.ResourceParam[Workspace]
) -> None:
    """Write the samples that the decisions keep to a folder; a killed run is gone on with."""
    from pipelines.export.stage import Options
    from pipelines.export.stage import export as write_out

    options = Options(config.to, config.signals, config.mask)
    folder = Path(config.folder).expanduser().resolve()
    done = write_out(corpus, folder, options, config.overwrite)
    context.log.info(f"{done.samples} samples in {done.shards} shards, {done.bytes} bytes")


@dg.job
def export() -> None:
    """Write the samples that the decisions keep to a folder."""
    write()


nightly = dg.ScheduleDefinition(
    name="nightly",
    job=corpus_job,
    cron_schedule="0 3 * * *",
    description="Makes what is out of date of the corpus at night; off until it is switched on.",
)

refresh = dg.ScheduleDefinition(
    name="refresh",
    job=refit_job,
    cron_schedule="0 4 * * 0",
    description="Draws the banks anew every week and fits what they change; off until it is"
    " switched on.",
)


@dg.schedule(
    job=retention,
    cron_schedule="30 2 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Keeps the query log's promise every night, also where nothing is asked or logged"
    " any more; idle where there is no log.",
)
def forgetting(corpus: dg.ResourceParam[Workspace]) -> dg.RunRequest | dg.SkipReason:
    """Requests `retention` where there is a log."""
    if not corpus.tables.exists(query_log_table(corpus.config.space)):
        return dg.SkipReason("nothing has been logged")
    return dg.RunRequest()


JOBS: list[Any] = [
    drop_job,
    corpus_job,
    everything_job,
    refit_job,
    drift_job,
    retention,
    align,
    export,
]
SCHEDULES = [nightly, refresh, forgetting]
