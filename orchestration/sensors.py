"""Sensors: new or changed drops are ingested, the corpus follows, and corrections are fitted anew
when what is asked has drifted from what they were fitted to.

All look at the tables and the sources, never at Dagster's log, so that work done from the
command line is not done again.
"""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.materialise import DROPS
from orchestration.jobs import corpus_job, drift_job, drop_job, refit_job
from pipelines.sources.drops import listing_hash
from pipelines.stages import staleness
from store import identity
from store.errors import IsotropeError, NotFoundError
from store.search import query_log
from store.tables import releases, schema
from store.tables.drift import last_measured
from store.tables.lance_tables import one_of
from store.tables.stages import BY_DROP
from store.workspace import Workspace

_SECONDS = 30
_DRIFT_SECONDS = 300
_QUERIES = 1_000
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
        drops = staleness.drops(corpus)
        now = {name: listing_hash(drop) for name, drop in drops.items()}
    except IsotropeError as error:
        return dg.SkipReason(str(error))
    before = json.loads(context.cursor or "{}")
    settled = [name for name, listing in now.items() if before.get(name) == listing]
    requests = [
        dg.RunRequest(partition_key=name, run_key=f"{name}:{now[name]}:{_settings(corpus)}")
        for name in settled
        if staleness.stale(corpus, drops[name])
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
    if not staleness.known_drops(corpus):
        return dg.SkipReason("no drop has been read yet")
    running = context.instance.get_runs_count(
        dg.RunsFilter(job_name=drop_job.name, statuses=_UNFINISHED)
    )
    if running:
        return dg.SkipReason(f"{running} runs of drops come first")
    if not (stages := staleness.stale(corpus, None)):
        return dg.SkipReason("everything is up to date")
    columns, by_drop = ["drop", "stage", "output"], one_of("stage", BY_DROP)
    read = corpus.tables.scan("stages", schema.STAGES, columns, by_drop)
    rows = sorted(zip(*read.to_pydict().values(), strict=True))
    return dg.RunRequest(
        run_key=f"{identity.run_key(rows)}:{_settings(corpus)}",
        tags={"isotrope/stale": ",".join(stages)},
    )


@dg.sensor(jobs=[drift_job, refit_job], minimum_interval_seconds=_DRIFT_SECONDS)
def drift(
    context: dg.SensorEvaluationContext, corpus: dg.ResourceParam[Workspace]
) -> dg.RunRequest | dg.SkipReason:
    """Requests a measurement when enough was asked, or a day has passed; after one that says that
    the release has drifted, a refit.

    Measuring is a run of its own: it may take longer than a sensor may, and its table and picture
    are seen with the release's checks.
    """
    try:
        release = releases.latest(corpus.tables)
    except NotFoundError as error:
        return dg.SkipReason(str(error))
    found = last_measured(corpus.tables, release)
    since = found[0].measured_at if found else release.created_at
    asked = query_log.count(corpus.tables, release.space, since)
    moment = f"{release.number}:{since.isoformat()}"
    if asked >= _QUERIES or datetime.now(UTC) - since >= timedelta(days=1):
        return dg.RunRequest(job_name=drift_job.name, run_key=f"measure:{moment}")
    if drifted := [d for d in found if d.drifted]:
        said = "; ".join(f"{d.direction}: {d.note}" for d in drifted)
        context.log.info(f"release {release.number} has drifted: {said}")
        tags = {"isotrope/drifted": ",".join(d.direction for d in drifted)}
        return dg.RunRequest(job_name=refit_job.name, run_key=f"refit:{moment}", tags=tags)
    return dg.SkipReason(
        f"release {release.number}: {asked} queries were logged since {since:%Y-%m-%d %H:%M}; it is"
        f" measured after {_QUERIES}, or a day"
    )


def _settings(corpus: Workspace) -> str:
    # A run key is asked for once: what failed is tried again when files or corpus.yaml change.
    return identity.run_key(corpus.config.model_dump())


SENSORS = [deliveries, changes, drift]
