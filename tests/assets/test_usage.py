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


def test_time_that_is_slept_costs_money_but_no_processor():
    with measured() as usage:
        time.sleep(0.3)
    assert usage.processor_seconds < 0.25
    shown = usage.metadata({"input": 60}, Prices(machine_hour=3600))
    assert 0.3 <= shown["cost"] == round(usage.seconds, 6)
    assert shown["inputs_per_second"] <= 200
    assert "cost" not in Usage().metadata({"input": 0}, None)
