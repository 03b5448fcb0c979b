"""Work on spans of rows, in as many threads as there are cores to use.

On numpy each of our threads multiplies with a single BLAS thread. Threads of both kinds at once
cost half the speed: a product waits for all of its threads, and those wait for the cores that our
other threads hold. One thread a core, which multiplies and then looks at what it has multiplied,
never waits.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from store.corrections.kernels.arrays import Array, is_torch

Span = tuple[int, int]  # (start, stop)

ROWS = 1024  # of a span on numpy: its tiles of scores stay in the last-level cache
DEVICE_ROWS = 2048  # and on a device, which wants few, large products
SHARES = 8  # into which few rows are divided, so that every core gets some,
LEAST_ROWS = 128  # but not into spans smaller than this, where products lose speed


def blocks(rows: int, size: int = DEVICE_ROWS) -> Iterator[Span]:
    """(start, stop) of consecutive blocks."""
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def each(work: Callable[[Span], None], rows: int, x: Array) -> None:
    """Do work on every span of so many rows, in threads where it computes on numpy, as x is.

    Spans depend on the number of rows alone, not on the machine: results are the same everywhere.
    """
    if is_torch(x):
        for span in blocks(rows):
            work(span)
        return
    spans = list(blocks(rows, min(ROWS, max(LEAST_ROWS, -(-rows // SHARES)))))
    threads = min(workers(), len(spans))
    with one_blas_thread():
        if threads < 2:  # small products, too, are faster than threads that wait for each other
            for span in spans:
                work(span)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, spans):
                pass


def workers() -> int:
    """Cores to use: what OMP_NUM_THREADS grants, as Ray sets it for its actors, or all of ours."""
    granted = os.environ.get("OMP_NUM_THREADS", "")
    if granted.isdigit() and int(granted):
        return int(granted)
    if hasattr(os, "sched_getaffinity"):  # Linux: a container or `taskset` may grant fewer
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # finding the libraries takes longer than limiting them


_lock = threading.Lock()
_inside: list[Any] = []  # one entry for each caller within `one_blas_thread`


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within, products use one thread each, in the whole process. The last of several callers at
    once to leave puts back what the first one found."""
    with _lock:
        limit = _inside[0] if _inside else _libraries().limit(limits=1, user_api="blas")
        _inside.append(limit)
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if not _inside:
                limit.restore_original_limits()
