"""Times and sizes as people read them."""

from datetime import timedelta

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def time_text(seconds: float) -> str:
    """Such as "0:02:10"; of more than a day, "1 day, 3:00:00"."""
    return str(timedelta(seconds=round(seconds)))


def size_text(size: float) -> str:
    """Bytes in the largest unit that leaves a number of at least 1, such as "1.25 GB"."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.3g} {unit}"
