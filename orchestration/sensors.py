"""Sensors: new or changed drops are ingested, and the corpus follows.

Both look at the tables and the sources, never at Dagster's log, so that work done from the
command line is not done again.
"""

import json

import dagster as dg

from assets.partitions import DROPS
from orchestration.jobs import corpus_job, drop_job
from pipelines import plan
from pipelines.sources import listing_hash
from store import identity, schema
from store.errors import IsotropeError
from store.tables import one_of
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
    """Requests a drop's tables once its files have stayed as they are for two ticks.

    The cursor holds each drop's listing hash as it was at the last tick.
    """
    try:
        drops = plan.drops(corpus)
        now = {name: listing_hash(drop) for name, drop in drops.items()}
    except IsotropeError as error:
        return dg.SkipReason(str(error))
    before = json.loads(context.cursor or "{}")
    settled = [name for name, listing in now.items() if before.get(name) == listing]
    requests = [
        dg.RunRequest(partition_key=name, run_key=f"{name}:{now[name]}:{_settings(corpus)}")
        for name in settled
        if plan.stale(corpus, drops[name])
    ]
    known = set(context.instance.get_dynamic_partitions(str(DROPS.name)))
    added = sorted(set(now) - known)
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[DROPS.build_add_request(added)] if added else [],
        cursor=json.dumps(now),
    )


@dg.sensor(job=corpus_job, minimum_interval_seconds=_SECONDS)
def changes(
    context: dg.SensorEvaluationContext, corpus: dg.ResourceParam[Workspace]
) -> dg.RunRequest | dg.SkipReason:
    """Requests the tables of the corpus when they are out of date and no drop is being made."""
    if not plan.known_drops(corpus):
        return dg.SkipReason("no drop has been read yet")
    running = context.instance.get_runs_count(
        dg.RunsFilter(job_name=drop_job.name, statuses=_UNFINISHED)
    )
    if running:
        return dg.SkipReason(f"{running} runs of drops come first")
    if not (stages := plan.stale(corpus, None)):
        return dg.SkipReason("everything is up to date")
    columns, by_drop = ["drop", "stage", "output"], one_of("stage", schema.BY_DROP)
    read = corpus.tables.scan("stages", schema.STAGES, columns, by_drop)
    rows = sorted(zip(*read.to_pydict().values(), strict=True))
    return dg.RunRequest(
        run_key=f"{identity.run_key(rows)}:{_settings(corpus)}",
        tags={"isotrope/stale": ",".join(stages)},
    )


def _settings(corpus: Workspace) -> str:
    # A run key is asked for once: what failed is tried again when files or corpus.yaml change.
    return identity.run_key(corpus.config.model_dump())


SENSORS = [deliveries, changes]
