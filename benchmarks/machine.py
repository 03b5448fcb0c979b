"""Helpers of the benchmarks: test vectors, timing, peak memory, speed of matrix products."""

import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from store.cores import thread_count
from store.corrections.kernels.bank_scan import BANK_TILE
from store.corrections.kernels.threads import SPAN_ROWS, one_blas_thread


def unit_rows(rows: int, dims: int, seed: int) -> np.ndarray:
    """(rows, dims) float32 rows of unit length with a common direction, as the embeddings of one
    modality have."""
    x = np.random.default_rng(seed).standard_normal((rows, dims), dtype=np.float32)
    x += 0.5
    for start in range(0, rows, 8192):
        block = x[start : start + 8192]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return x


class Seconds(NamedTuple):
    """Duration of work: wall-clock time, and processor time of all threads of the process."""

    wall: float
    cpu: float

    def __truediv__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall / other.wall, self.cpu / other.cpu)


def timed(work: Callable[[], Any]) -> tuple[Seconds, Any]:
    """The duration of `work`, and its result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu), result


def time_per_multiply_add(gallery: np.ndarray, bank: np.ndarray, tiles: int = 12) -> Seconds:
    """The time of one multiply-add in a product of one tile of `fit`, without other work.

    The product is measured with numpy's threads and with one BLAS thread per worker thread; the
    smaller time is returned.
    """
    a, b = gallery[:SPAN_ROWS], bank[:BANK_TILE]

    def multiply(times: int) -> None:
        out = np.empty((len(a), len(b)), np.float32)
        for _ in range(times):
            np.matmul(a, b.T, out=out)

    blas_threads, _ = timed(lambda: multiply(tiles))
    with one_blas_thread(), ThreadPoolExecutor(thread_count()) as pool:
        shares = [-(-tiles // thread_count())] * thread_count()
        own_threads, _ = timed(lambda: list(pool.map(multiply, shares)))
    size = len(a) * len(b) * a.shape[1]
    return Seconds(
        *(
            min(x / tiles, y / sum(shares)) / size
            for x, y in zip(blas_threads, own_threads, strict=True)
        )
    )


def peak_memory() -> float:
    """Peak memory of this process, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, getrusage starts at the peak of the parent process
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
