"""What this machine can do, and what a process has taken of it."""

import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from store.corrections.kernels.bank_scan import BANK_TILE
from store.corrections.kernels.threads import SPAN_ROWS, one_blas_thread, workers


def unit_rows(rows: int, dims: int, seed: int) -> np.ndarray:
    """Unit rows that lean one way, as embeddings of one modality do; made in place."""
    x = np.random.default_rng(seed).standard_normal((rows, dims), dtype=np.float32)
    x += 0.5
    for start in range(0, rows, 8192):
        part = x[start : start + 8192]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return x


class Took(NamedTuple):
    """Seconds that work took by the clock, and of all processors' time."""

    clock: float
    busy: float

    def __truediv__(self, other: "Took") -> "Took":
        return Took(self.clock / other.clock, self.busy / other.busy)


def timed(work: Callable[[], Any]) -> tuple[Took, Any]:
    clock, busy = time.perf_counter(), time.process_time()
    result = work()
    return Took(time.perf_counter() - clock, time.process_time() - busy), result


def products(gallery: np.ndarray, bank: np.ndarray, tiles: int = 12) -> Took:
    """What a multiply-add of numpy's product takes, alone, on one of our tiles, into known memory:
    by numpy's own threads, or by ours, whichever take less."""
    a, b = gallery[:SPAN_ROWS], bank[:BANK_TILE]

    def multiply(times: int) -> None:
        out = np.empty((len(a), len(b)), np.float32)
        for _ in range(times):
            np.matmul(a, b.T, out=out)

    own, _ = timed(lambda: multiply(tiles))
    with one_blas_thread(), ThreadPoolExecutor(workers()) as pool:
        shares = [-(-tiles // workers())] * workers()
        ours, _ = timed(lambda: list(pool.map(multiply, shares)))
    one = len(a) * len(b) * a.shape[1]
    return Took(*(min(x / tiles, y / sum(shares)) / one for x, y in zip(own, ours, strict=True)))


def peak() -> float:
    """The most memory that this process has held, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux what getrusage tells begins at the peak of the parent process
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
