"""What this machine can do, and what a process has taken of it."""

import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from store.corrections.blocks import BANK_TILE
from store.corrections.threads import ROWS, one_blas_thread, workers


def unit_rows(rows: int, dims: int, seed: int) -> np.ndarray:
    """Unit rows that lean one way, as embeddings of one modality do; made in place."""
    x = np.random.default_rng(seed).standard_normal((rows, dims), dtype=np.float32)
    x += 0.5
    for start in range(0, rows, 8192):
        part = x[start : start + 8192]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return x


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def product_rate(gallery: np.ndarray, bank: np.ndarray, products: int = 12) -> float:
    """Multiply-adds a second of numpy's product of one of our tiles, alone, into memory at hand:
    by numpy's own threads, or by ours, whichever is faster."""
    a, b = gallery[:ROWS], bank[:BANK_TILE]

    def multiply(times: int) -> None:
        out = np.empty((len(a), len(b)), np.float32)
        for _ in range(times):
            np.matmul(a, b.T, out=out)

    together, _ = timed(lambda: multiply(products))
    with one_blas_thread(), ThreadPoolExecutor(workers()) as pool:
        shares = [products // workers()] * workers()
        apart, _ = timed(lambda: list(pool.map(multiply, shares)))
    return len(a) * len(b) * a.shape[1] * max(products / together, sum(shares) / apart)


def peak() -> float:
    """The most memory that this process has held, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux what getrusage tells begins at the peak of the parent process
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
