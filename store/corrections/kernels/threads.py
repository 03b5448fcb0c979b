"""Process spans of rows in one thread per available core.

With numpy, each of these threads multiplies with a single BLAS thread. If both kinds of threads run
at once, the speed drops by half: a product waits for all of its BLAS threads, and those wait for
cores that the other threads use. With one thread per core, which multiplies and then processes the
product, nothing waits.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from store.cores import thread_count
from store.corrections.kernels.arrays import Array, is_torch

Span = tuple[int, int]  # (start, stop)

SPAN_ROWS = 1024  # of a span on numpy: its tiles of scores stay in the last-level cache
DEVICE_SPAN_ROWS = 2048  # of a span on a device, where few large products are faster
LEAST_SPANS = 8  # a small number of rows is divided into this many spans, so all cores get work,
LEAST_SPAN_ROWS = 128  # but spans are not smaller than this, because products become slow


def spans(rows: int, size: int = DEVICE_SPAN_ROWS) -> Iterator[Span]:
    """(start, stop) of consecutive spans of at most `size` rows."""
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def for_each_span(work: Callable[[Span], None], rows: int, x: Array) -> None:
    """Call `work` once for every span of `rows` rows, in threads if `x` is a numpy array.

    Spans depend only on the number of rows, not on the machine, so results are the same on all
    machines. An exception in a thread is raised again.
    """
    if is_torch(x):
        for span in spans(rows):
            work(span)
        return
    size = min(SPAN_ROWS, max(LEAST_SPAN_ROWS, -(-rows // LEAST_SPANS)))
    jobs = list(spans(rows, size))
    threads = min(thread_count(), len(jobs))
    with one_blas_thread():
        if threads < 2:  # one BLAS thread is faster for small products, too
            for span in jobs:
                work(span)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, jobs):
                pass


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # finding the BLAS libraries takes longer than limiting them


_lock = threading.Lock()
_limits: list[Any] = []  # one entry for each caller that is inside `one_blas_thread`


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread per product, in the whole process.

    If several callers overlap, the last one to leave restores the limit that the first one found.
    """
    with _lock:
        limit = _limits[0] if _limits else _libraries().limit(limits=1, user_api="blas")
        _limits.append(limit)
    try:
        yield
    finally:
        with _lock:
            _limits.pop()
            if not _limits:
                limit.restore_original_limits()
