"""Worker processes of Beam's local runner that die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import apache_beam as beam
import pytest

from pipelines.engine import beam_workers
from pipelines.engine.beam import run_pipeline
from store.config.engine import Beam
from store.errors import CrashError

INTERRUPTED = """
import signal, time
import apache_beam as beam
from pipelines.engine.beam import run_pipeline
from store.config.engine import Beam

def work(_):
    print("working", flush=True)
    for _ in range(600):  # records of a unit
        time.sleep(0.1)

# A process in the background may have been started with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
run_pipeline(Beam(), lambda p: p | beam.Create([1]) | beam.Map(work))
"""
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


def test_an_interrupted_pipeline_ends_with_the_record_that_is_worked_on() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(50)
    assert time.monotonic() - started < 15
