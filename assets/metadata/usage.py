"""What making a table took, as metadata: time, processor time, memory, rate and cost."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from store.config.engine import Prices

_HOUR = 3600


@dataclass
class Usage:
    """What a block of code took. Processes of other machines are not counted.

    Attributes:
        seconds: wall-clock time.
        processor_seconds: of this process and its descendants, such as the workers of a local Ray.
        peak_bytes: the largest resident memory of this process.
    """

    seconds: float = 0
    processor_seconds: float = 0
    peak_bytes: int = 0

    def metadata(self, record: Mapping[str, Any], prices: Prices | None) -> dict[str, float]:
        """For Dagster's page, which plots numbers over time.

        Args:
            record: of the stage, whose input gives the rate.
            prices: of corpus.yaml; without them there is no cost.
        """
        shown = {
            "processor_seconds": round(self.processor_seconds, 1),
            "peak_memory_mb": round(self.peak_bytes / 1e6, 1),
            "inputs_per_second": round(record["input"] / max(self.seconds, 1e-3), 1),
        }
        if prices is not None:
            shown["cost"] = round(self.seconds / _HOUR * prices.machine_hour, 6)
        return shown


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure a block; the values are there once it has ended."""
    usage = Usage()
    with suppress(OSError):  # without it, the peak is that of the process's whole life
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    started, before = time.monotonic(), _processor_seconds()
    yield usage
    usage.seconds = time.monotonic() - started
    usage.processor_seconds = max(_processor_seconds() - before, 0)
    usage.peak_bytes = _peak_bytes()


def _processor_seconds() -> float:
    process = psutil.Process()
    seconds = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):  # it has ended, and its parent has its seconds
            times = each.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def _peak_bytes() -> int:
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return int(psutil.Process().memory_info().rss)
