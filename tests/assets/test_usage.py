"""What a block of code takes: processes that ended count, and those of others do not."""

import subprocess
import sys
import time

import numpy as np

from assets.metadata.usage import Usage, measured
from store.config.engine import Prices

BUSY = "import time; end = time.process_time() + {}\nwhile time.process_time() < end: pass"


def test_processes_that_end_within_the_block_count():
    with measured() as usage:
        # Neither process runs any more when the block ends, as the actors of a pool.
        child = (
            f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BUSY.format(2)!r}])"
        )
        subprocess.run([sys.executable, "-c", f"{child}.wait()"], check=True)
        memory = np.ones(30_000_000)
    assert 1.0 < usage.processor_seconds < 60
    assert usage.peak_bytes > memory.nbytes


def test_busy_gpus_count_where_there_are_some(tmp_path, monkeypatch):
    """The test's machine has none, so its nvidia-smi writes what that of two GPUs does."""
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '50\\n100\\n[N/A]\\n'; exec sleep 60\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with measured() as usage:
        time.sleep(0.5)
    assert usage.gpu_seconds == 1.5
    assert usage.metadata({"input": 1}, None)["gpu_seconds"] == 1.5
    monkeypatch.setenv("PATH", "/nowhere")
    with measured() as without:
        pass
    assert "gpu_seconds" not in without.metadata({"input": 1}, None)


def test_time_that_is_slept_costs_money_but_no_processor():
    with measured() as usage:
        time.sleep(0.3)
    assert usage.processor_seconds < 0.25
    shown = usage.metadata({"input": 60}, Prices(machine_hour=3600))
    assert 0.3 <= shown["cost"] == round(usage.seconds, 6)
    assert shown["inputs_per_second"] <= 200
    assert "cost" not in Usage().metadata({"input": 0}, None)
