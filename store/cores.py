"""The processor cores of this process."""

import os


def core_count() -> int:
    """Number of cores that this process may use: a container or `taskset` may allow fewer."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_count() -> int:
    """Number of threads to use: OMP_NUM_THREADS, which Ray sets for its actors, or all cores."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return int(limit) if limit.isdigit() and int(limit) else core_count()
