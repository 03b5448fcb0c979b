"""When memory that was freed goes back to the system. GNU's malloc alone; others stay as they are.

A page that comes back costs a fault: 40% of the time in which pictures are measured, if each gives
its pages back, and a third of the time in which ten million samples are judged.
"""

import ctypes
from contextlib import suppress

import pyarrow as pa

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_BLOCK, _LOOSE, _MOST = 4 << 20, 8 << 20, 1 << 30  # bytes


def limit_retained_memory() -> None:
    """For what streams media: what is free goes back now, and from now on large blocks do at once.

    By itself, malloc raises its threshold for such blocks where they come and go, and keeps them
    from then on, in a heap for each thread; Arrow's own allocator, where batches of other sizes
    follow each other, holds more of them with every unit.
    """
    _malloc(_BLOCK, _LOOSE, trim=True)


def keep_all() -> None:
    """For a process that lives for seconds: nothing goes back."""
    _malloc(_MOST, _MOST)


def _malloc(block: int, loose: int, trim: bool = False) -> None:
    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(OSError, AttributeError):  # another C library has no such calls
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, block)
        library.mallopt(_M_TRIM_THRESHOLD, loose)
        if trim:
            library.malloc_trim(0)
