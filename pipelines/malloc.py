"""When memory that was freed goes back to the system. GNU's malloc alone; others stay as they are.

A page that comes back costs a fault: 40% of the time in which pictures are measured, and a third of
the time in which ten million samples are judged.
"""

import ctypes
from contextlib import suppress

import pyarrow as pa

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_MOST = 1 << 30


def keep_little(block: int = 16 << 20, loose: int = 64 << 20) -> None:
    """For a process that lives long: blocks of so many bytes go back as soon as they are free, and
    so does what is free at the heap's end beyond `loose`.

    By itself, malloc raises its threshold for such blocks where they come and go, and keeps them
    from then on: a worker grew by 250 MB over its first units.
    """
    with suppress(OSError, AttributeError):  # another C library has no such call
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, block)
        mallopt(_M_TRIM_THRESHOLD, loose)


def keep_all() -> None:
    """For a process that lives for seconds: nothing goes back, Arrow's memory neither."""
    keep_little(_MOST, _MOST)
    pa.set_memory_pool(pa.system_memory_pool())
