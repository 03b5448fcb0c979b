"""Which errors of a stage are tried again: with Dagster's own executor."""

import dagster as dg
import pytest
from obstore.exceptions import GenericError, PermissionDeniedError
from ray.exceptions import NodeDiedError

from assets.retries import MAX_RETRIES, is_transient, retry
from store.errors import BusyError, ClusterError, DamagedTableError, SourceError, StoreError


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        BusyError("another run"),
        ClusterError("no answer"),
        caused(StoreError("throttled"), GenericError("503 SlowDown")),
        caused(RuntimeError("a stage failed"), NodeDiedError("a node")),
    ],
)
def test_what_passes_by_itself_is_tried_again(error):
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        SourceError("no such folder"),
        DamagedTableError("torn"),
        ValueError("a bug"),
        caused(StoreError("refused"), PermissionDeniedError("403")),
        caused(StoreError("no bucket"), FileNotFoundError("NoSuchBucket")),
    ],
)
def test_what_does_not_pass_is_not(error):
    assert not is_transient(error)


def test_dagster_waits_longer_each_time_and_then_gives_up(monkeypatch):
    monkeypatch.setattr("assets.retries._FIRST_SECONDS", 0.01)

    @dg.asset
    def busy(context: dg.AssetExecutionContext) -> None:
        raise retry(context.retry_number) from BusyError("another run")

    result = dg.materialize([busy], raise_on_error=False)
    assert not result.success
    waited = [
        event.event_specific_data.seconds_to_wait
        for event in result.all_events
        if event.event_type_value == "STEP_UP_FOR_RETRY"
    ]
    assert waited == pytest.approx([0.01, 0.03, 0.09])
    assert len(waited) == MAX_RETRIES
