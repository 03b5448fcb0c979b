"""The checks that warn, run by themselves: every day, and after enough queries were logged.

They cover every space of the corpus, so they are made from its checks.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import dagster as dg

from assets.checks import named
from assets.space_health import no_drift
from orchestration.jobs import refit_job
from store.errors import NotFoundError
from store.search import query_log
from store.tables import releases
from store.tables.drift import Drift, latest_drift
from store.tables.releases import Release
from store.workspace import Workspace

_DRIFT = no_drift.__name__
_DAILY = ("release_is_fresh", "no_planted_hubs", _DRIFT, "no_secrets", "formats_are_current")
_SENSOR_SECONDS = 300
_QUERIES = 1_000
_LONGEST = timedelta(days=1)


class Monitoring(NamedTuple):
    """The definitions of this file, for a corpus."""

    jobs: list[Any]
    schedule: dg.ScheduleDefinition
    sensor: dg.SensorDefinition


def monitoring(checks: Iterable[dg.AssetChecksDefinition]) -> Monitoring:
    """The jobs, the schedule and the sensor that run the checks that warn.

    Args:
        checks: all those of the corpus.
    """
    checks = list(checks)
    drift_job = dg.define_asset_job(
        "measure_drift",
        selection=dg.AssetSelection.checks(*named(checks, [_DRIFT])),
        description="Test whether recent queries find more hubs than the release's own did.",
    )
    health_job = dg.define_asset_job(
        "health",
        selection=dg.AssetSelection.checks(*named(checks, _DAILY)),
        description="Run the checks that warn: age of the release, planted hubs, drift, secrets,"
        " formats.",
    )
    schedule = dg.ScheduleDefinition(
        name="daily_health",
        job=health_job,
        cron_schedule="0 6 * * *",
        description="Run the checks that warn every day. Off by default.",
    )
    return Monitoring([drift_job, health_job], schedule, _drift_sensor(drift_job))


def _drift_sensor(drift_job: Any) -> dg.SensorDefinition:
    @dg.sensor(jobs=[drift_job, refit_job], minimum_interval_seconds=_SENSOR_SECONDS)
    def drift(
        context: dg.SensorEvaluationContext, corpus: dg.ResourceParam[Workspace]
    ) -> dg.RunRequest | dg.SkipReason:
        """Request a measurement of drift after enough queries or a day, and a refit after drift.

        Drift is measured in a run, because it may take longer than a sensor is allowed to. Its
        table and plots are then shown with the checks of the release.
        """
        watched = [_watched(corpus, release) for release in _newest_releases(corpus)]
        if not watched:
            return dg.SkipReason("no space has a release yet")
        run_key = ",".join(each.moment for each in watched)
        if any(each.is_due for each in watched):
            return dg.RunRequest(job_name=drift_job.name, run_key=f"measure:{run_key}")
        if drifted := [(each.release, d) for each in watched for d in each.measured if d.drifted]:
            notes = "; ".join(f"{release.space} {d.direction}: {d.note}" for release, d in drifted)
            context.log.info(f"drifted: {notes}")
            tags = {"isotrope/drifted": ",".join(f"{r.space}/{d.direction}" for r, d in drifted)}
            return dg.RunRequest(job_name=refit_job.name, run_key=f"refit:{run_key}", tags=tags)
        waits = "; ".join(
            f"{each.release.space}, release {each.release.number}: {each.queries} queries logged"
            f" since {each.since:%Y-%m-%d %H:%M}"
            for each in watched
        )
        return dg.SkipReason(f"{waits}; drift is measured after {_QUERIES} queries or a day")

    return drift


class _Watched(NamedTuple):
    """The newest release of a space, its last measurement of drift, and the queries since."""

    release: Release
    measured: list[Drift]
    since: datetime
    queries: int

    @property
    def moment(self) -> str:
        """A text that changes with the release and with each measurement of it."""
        return f"{self.release.space}:{self.release.number}:{self.since.isoformat()}"

    @property
    def is_due(self) -> bool:
        """Whether drift is to be measured again."""
        return self.queries >= _QUERIES or datetime.now(UTC) - self.since >= _LONGEST


def _newest_releases(corpus: Workspace) -> list[Release]:
    newest = []
    for space in corpus.spaces():
        try:
            newest.append(releases.latest_release(corpus.tables, space.config.space))
        except NotFoundError:
            continue  # the space was not made yet; its run says so if it fails
    return newest


def _watched(corpus: Workspace, release: Release) -> _Watched:
    measured = latest_drift(corpus.tables, release)
    since = measured[0].measured_at if measured else release.created_at
    queries = query_log.count(corpus.tables, release.space, since)
    return _Watched(release, measured, since, queries)
