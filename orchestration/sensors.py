"""Dagster's sensors: they request the tables of new or changed drops, and the tables of all drops.

They read the tables and the sources, not Dagster's log. So they do not repeat what the command line
has done.
"""

from datetime import UTC, datetime

import dagster as dg

from assets.materialise import DROPS
from orchestration.alarm import alarm
from orchestration.deliveries_cursor import DeliveriesCursor
from orchestration.jobs import corpus_job, drop_job
from pipelines.sources.drops import listing_hash
from pipelines.stages import staleness
from pipelines.stages.snapshot import Snapshot
from store import identity
from store.errors import IsotropeError
from store.tables.stages import BY_DROP
from store.workspace import Workspace

_SECONDS = 30
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.sensor(job=drop_job, minimum_interval_seconds=_SECONDS)
def deliveries(
    context: dg.SensorEvaluationContext, corpus: dg.ResourceParam[Workspace]
) -> dg.SensorResult | dg.SkipReason:
    """Request the tables of a drop once its files have not changed for two ticks.

    Drops that have settled are listed in turn, a number of them at a tick, so that a tick does not
    list all files again. After an error, the sensor waits for longer each time.
    """
    cursor = DeliveriesCursor.read(context.cursor)
    now = datetime.now(UTC).timestamp()
    if now < cursor.retry_at:
        return dg.SkipReason(f"waiting after {cursor.errors} errors: {cursor.error}")
    try:
        drops = staleness.drops(corpus)
        chosen = cursor.choose(list(drops))
        listings = {name: listing_hash(drops[name]) for name in chosen}
    except IsotropeError as error:
        context.update_cursor(cursor.failed(str(error), now).text())
        return dg.SkipReason(str(error))
    settled = [name for name in chosen if cursor.listings.get(name, "") == listings[name]]
    snapshot, settings = Snapshot(corpus), _settings(corpus)
    requests = [
        dg.RunRequest(partition_key=name, run_key=f"{name}:{listings[name]}:{settings}")
        for name in settled
        if any(staleness.stale(space, drops[name], snapshot) for space in corpus.spaces())
    ]
    partitions = set(context.instance.get_dynamic_partitions(str(DROPS.name)))
    added = sorted(set(drops) - partitions)
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[DROPS.build_add_request(added)] if added else [],
        cursor=cursor.listed(list(drops), listings, settled).text(),
    )


@dg.sensor(job=corpus_job, minimum_interval_seconds=_SECONDS)
def changes(
    context: dg.SensorEvaluationContext, corpus: dg.ResourceParam[Workspace]
) -> dg.RunRequest | dg.SkipReason:
    """Request the tables of all drops if they are out of date, and every drop is complete."""
    snapshot = Snapshot(corpus)
    if not snapshot.records.drops("samples"):
        return dg.SkipReason("no drop has been read yet")
    running = context.instance.get_runs_count(
        dg.RunsFilter(job_name=drop_job.name, statuses=_UNFINISHED)
    )
    if running:
        return dg.SkipReason(f"waiting for {running} runs of drops")
    spaces = corpus.spaces()
    if missing := _missing(snapshot, spaces):
        return dg.SkipReason(f"waiting for {missing}: its run failed, was cancelled, or will start")
    stages = [s.name_of(stage) for s in spaces for stage in staleness.stale(s, None, snapshot)]
    if not stages:
        return dg.SkipReason("everything is up to date")
    names = dict.fromkeys(space.name_of(stage) for space in spaces for stage in BY_DROP)
    outputs = [(name, snapshot.records.outputs(name)) for name in names]
    return dg.RunRequest(
        run_key=f"{identity.run_key(outputs)}:{_settings(corpus)}",
        tags={"isotrope/stale": ",".join(stages)},
    )


def _missing(snapshot: Snapshot, spaces: list[Workspace]) -> str | None:
    """A stage that a drop with samples lacks. A gallery cannot be made without its vectors."""
    drops = snapshot.records.drops("samples")
    for name in dict.fromkeys(space.name_of(stage) for space in spaces for stage in BY_DROP):
        made = set(snapshot.records.drops(name))
        for drop in drops:
            if drop not in made:
                return f"{name} of drop {drop}"
    return None


def _settings(corpus: Workspace) -> str:
    # Dagster runs a run key once: a failed run is repeated when files or corpus.yaml change.
    return identity.run_key(corpus.config.model_dump())


SENSORS = [deliveries, changes, alarm]
