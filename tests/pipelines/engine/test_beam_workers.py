"""Worker processes of Beam's local runner that die."""

import os
import signal
from pathlib import Path

import apache_beam as beam
import pytest

from pipelines.engine import beam_workers
from pipelines.engine.beam import run_pipeline
from store.config.engine import Beam
from store.errors import CrashError

WORKERS = Beam(options={"direct_running_mode": "multi_processing", "direct_num_workers": 1})


def test_results_come_from_worker_processes(tmp_path: Path) -> None:
    folder = str(tmp_path / "pids")
    run_pipeline(
        WORKERS,
        lambda p: (
            p
            | "Numbers" >> beam.Create(range(5))
            | "Pids" >> beam.Map(lambda _: str(os.getpid()))
            | "Write" >> beam.io.WriteToText(folder)
        ),
    )
    lines = [line for file in tmp_path.glob("pids*") for line in file.read_text().split()]
    assert len(lines) == 5
    assert str(os.getpid()) not in lines


# The runner's own threads fail when their worker is gone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_ends_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam_workers, "_GRACE_SECONDS", 2.0)
    with pytest.raises(CrashError, match="a worker process of Beam died"):
        run_pipeline(
            WORKERS,
            lambda p: (
                p
                | "One" >> beam.Create([1])
                | "Kill" >> beam.Map(lambda _: os.kill(os.getpid(), signal.SIGKILL))
            ),
        )
