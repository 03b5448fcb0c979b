"""One alert after three failures in a row, sent to a real HTTP server."""

from collections.abc import Iterator

import dagster as dg
import pytest

from orchestration.alarm import FAILURES, VARIABLE, alarm, send
from tests.helpers.alerts import alerts


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The texts that were posted to the address in the variable."""
    with alerts() as (address, texts):
        monkeypatch.setenv(VARIABLE, address)
        yield texts


@dg.op(config_schema={"fails": bool})
def work(context: dg.OpExecutionContext) -> None:
    if context.op_config["fails"]:
        raise RuntimeError("the disk is gone")


@dg.job
def a_job() -> None:
    work()


def run(
    instance: dg.DagsterInstance, fails: bool, drop: str = "first"
) -> dg.ExecuteInProcessResult:
    """Run the job."""
    return a_job.execute_in_process(
        run_config={"ops": {"work": {"config": {"fails": fails}}}},
        instance=instance,
        tags={"dagster/partition": drop},
        raise_on_error=False,
    )


def report(instance: dg.DagsterInstance, failed: dg.ExecuteInProcessResult) -> None:
    """Give the sensor a run that failed."""
    context = dg.build_run_status_sensor_context(
        "alarm", failed.get_run_failure_event(), instance, failed.dagster_run
    )
    alarm(context.for_run_failure())


def fail(instance: dg.DagsterInstance, drop: str = "first") -> None:
    """Fail the job, and give the run to the sensor at once."""
    report(instance, run(instance, fails=True, drop=drop))


def test_three_failures_in_a_row_raise_one_alert(received):
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(FAILURES - 1):
            fail(instance)
            fail(instance, drop="second")
        assert received == []
        fail(instance)
        assert len(received) == 1
        assert "a_job of drop first has failed 3 times in a row" in received[0]
        assert received[0].endswith("the disk is gone")
        fail(instance)
        assert len(received) == 1  # the same row of failures
        run(instance, fails=False)
        for _ in range(FAILURES):
            fail(instance)
        assert len(received) == 2


def test_failures_of_one_tick_raise_one_alert(received):
    with dg.DagsterInstance.ephemeral() as instance:
        for failed in [run(instance, fails=True) for _ in range(FAILURES + 1)]:
            report(instance, failed)
    assert len(received) == 1


def test_only_http_addresses_are_opened(tmp_path):
    with pytest.raises(ValueError, match="starts with https://"):
        send(f"file://{tmp_path}", "text")
