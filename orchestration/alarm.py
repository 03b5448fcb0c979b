"""One alert when the same work has failed several times in a row.

The alert is an error in the log of the sensor, and a message to the address in the environment
variable ISOTROPE_ALERT_URL, in the form that chat programs take: `{"text": "..."}`.
"""

import json
import os
import urllib.request

import dagster as dg

VARIABLE = "ISOTROPE_ALERT_URL"
FAILURES = 3
_PARTITION = "dagster/partition"
_SECONDS = 10
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


@dg.run_failure_sensor(
    name="alarm",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=f"Raises one alert when the same job of the same drop has failed {FAILURES} times"
    f" in a row. {VARIABLE} is where it is sent to.",
)
def alarm(context: dg.RunFailureSensorContext) -> None:
    """Raise an alert, once for each row of failures."""
    run = context.dagster_run
    if failures_in_a_row(context.instance, run) != FAILURES:
        return
    drop = run.tags.get(_PARTITION)
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    work = (assets or run.job_name) + (f" of drop {drop}" if drop else "")
    reason = _reason(context).strip().partition("\n")[0]
    text = (
        f"isotrope: {work} has failed {FAILURES} times in a row, last in run {run.run_id}: {reason}"
    )
    context.log.error(text)
    if address := os.environ.get(VARIABLE):
        send(address, text)


def _reason(context: dg.RunFailureSensorContext) -> str:
    """What the first step that failed raised; of a run that failed otherwise, what Dagster says."""
    for event in context.get_step_failure_events():
        if error := event.step_failure_data.error:
            return (error.cause or error).message
    return context.failure_event.message or ""


def failures_in_a_row(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    """The place of a failed run in its row of failures of the same job and drop, from 1.

    Runs that started later do not count: a tick of the sensor can meet several failures at once.
    Rows longer than FAILURES are not counted to their end: the result is at most FAILURES + 1.
    """
    tags = {_PARTITION: run.tags[_PARTITION]} if _PARTITION in run.tags else {}
    same = dg.RunsFilter(job_name=run.job_name, tags=tags, statuses=_ENDED)
    count = 1
    for earlier in instance.get_runs(same, cursor=run.run_id, limit=FAILURES):
        if earlier.status != dg.DagsterRunStatus.FAILURE:
            break
        count += 1
    return count


def send(address: str, text: str) -> None:
    """Post a message to an http or https address.

    Raises:
        ValueError: the address is of another kind.
        OSError: it cannot be reached, or refuses.
    """
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"{VARIABLE} is an address that starts with https://, not {address!r}")
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(address, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=_SECONDS):
        pass
