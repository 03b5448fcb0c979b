"""When freed memory is returned to the operating system.

Only GNU's malloc can be set; with another C library the functions change Arrow's allocator alone.
Memory that was returned costs page faults when it is needed again: 40% of the time of measuring
images if each image returns its pages, and a third of the time of judging ten million samples.
"""

import ctypes
from contextlib import suppress

import pyarrow as pa

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_MMAP_BYTES, _TRIM_BYTES, _MAX_BYTES = 4 << 20, 8 << 20, 1 << 30


def limit_retained_memory() -> None:
    """Return free memory now, and large blocks as soon as they are freed; for streams of media.

    By default malloc raises its threshold for large blocks when they are allocated and freed in
    turn. Later blocks then stay in a heap for each thread. Arrow's own allocator grows with every
    unit when batches of different sizes follow each other, so malloc replaces it.
    """
    _set_malloc(_MMAP_BYTES, _TRIM_BYTES, trim=True)


def retain_freed_memory() -> None:
    """Return no freed memory; for a process that lives for seconds."""
    _set_malloc(_MAX_BYTES, _MAX_BYTES)


def _set_malloc(mmap_bytes: int, trim_bytes: int, trim: bool = False) -> None:
    """Let Arrow use malloc, and set malloc's thresholds.

    Args:
        mmap_bytes: blocks of this size or more get their own mapping, which is returned when freed.
        trim_bytes: free memory at the end of the heap that is kept.
        trim: return all free memory now.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with suppress(OSError, AttributeError):  # another C library has no such calls
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, mmap_bytes)
        library.mallopt(_M_TRIM_THRESHOLD, trim_bytes)
        if trim:
            library.malloc_trim(0)
