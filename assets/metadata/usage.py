"""What making a table took, as metadata: time, processor time, memory, rate and cost."""

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from store.config.engine import Prices

_HOUR = 3600
_INTERVAL = 1.0  # seconds


@dataclass
class Usage:
    """What a block of code took. Processes of other machines are not counted.

    Attributes:
        seconds: wall-clock time.
        processor_seconds: of this process and its descendants, such as the workers of a local Ray.
        peak_bytes: the largest resident memory of this process.
        gpu_seconds: time that the GPUs of this machine computed, all together, by nvidia-smi. None:
            there is no GPU.
    """

    seconds: float = 0
    processor_seconds: float = 0
    peak_bytes: int = 0
    gpu_seconds: float | None = None

    def metadata(self, record: Mapping[str, Any], prices: Prices | None) -> dict[str, float]:
        """For Dagster's page, which plots numbers over time.

        Args:
            record: of the stage, whose input gives the rate.
            prices: of corpus.yaml; without them there is no cost.
        """
        shown = {
            "processor_seconds": round(self.processor_seconds, 3),
            "peak_memory_mb": round(self.peak_bytes / 1e6, 1),
            "inputs_per_second": round(record["input"] / max(self.seconds, 1e-3), 1),
        }
        if self.gpu_seconds is not None:
            shown["gpu_seconds"] = round(self.gpu_seconds, 1)
        if prices is not None:
            shown["cost"] = round(self.seconds / _HOUR * prices.machine_hour, 6)
        return shown


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure a block; the values are there once it has ended."""
    usage = Usage()
    with suppress(OSError):  # without it, the peak is that of the process's whole life
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    started = time.monotonic()
    with _ProcessorSeconds() as processors, _GpuSeconds() as gpus:
        yield usage
    usage.seconds = time.monotonic() - started
    usage.processor_seconds = processors.total()
    usage.peak_bytes = _peak_bytes()
    usage.gpu_seconds = gpus.total


class _ProcessorSeconds(threading.Thread):
    """Sums the processor time of this process and its descendants during a block.

    It looks at them every second, because the actors of a pool end with the block: the kernel adds
    the time of an ended process to its parent, which for them is no longer Ray.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._first = _seconds_by_process()
        self._last = dict(self._first)
        self._ended = threading.Event()

    def __enter__(self) -> "_ProcessorSeconds":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self._last |= _seconds_by_process()

    def run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._last |= _seconds_by_process()

    def total(self) -> float:
        """Seconds between the start and the end of the block."""
        return sum(self._last.values()) - sum(self._first.values())


class _GpuSeconds:
    """Sums the time that all GPUs of this machine computed during a block.

    nvidia-smi samples the busy share of each GPU every second. It needs no import of torch, which
    would cost each stage seconds and memory.
    """

    def __init__(self) -> None:
        self.total: float | None = None
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "_GpuSeconds":
        if command := shutil.which("nvidia-smi"):
            query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            every = ["-lms", str(round(1000 * _INTERVAL))]
            self._process = subprocess.Popen(
                [command, *query, *every],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self._reader.start()
        return self

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError):  # "[N/A]", or a message that no GPU is there
                self.total = (self.total or 0) + float(line) / 100 * _INTERVAL

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()  # SIGTERM may be ignored, as it is by this process
            self._process.wait()
            self._reader.join()


def _seconds_by_process() -> dict[tuple[int, float], float]:
    """User and system time by process id and start."""
    current = psutil.Process()
    # Of its own time a process can ask more exactly than by the kernel's ticks of 10 ms.
    seconds = {(current.pid, current.create_time()): time.process_time()}
    for process in current.children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            times = process.cpu_times()
            seconds[process.pid, process.create_time()] = times.user + times.system
    return seconds


def _peak_bytes() -> int:
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return int(psutil.Process().memory_info().rss)
