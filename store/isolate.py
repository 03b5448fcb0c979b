"""Find the items that make a batch fail: process the batch, on failure its halves."""

from collections.abc import Callable, Iterator
from typing import TypeVar

Result = TypeVar("Result")


def isolate_failures(
    count: int,
    process: Callable[[int, int], Result],
    fatal: tuple[type[Exception], ...] = (),
) -> Iterator[tuple[int, Result | Exception]]:
    """Process `count` items as one batch; where that fails, bisect down to the failing items.

    One failing item costs about 2 log2(count) further calls of `process`.

    Args:
        count: the number of items.
        process: processes the items from a start index up to a stop index.
        fatal: errors that no single item causes. They are raised, never bisected.

    Yields:
        In the order of the items: (start index, result) for each batch that was processed, and
        (index, error) for each item that fails alone.
    """
    yield from _halves(0, count, process, fatal)


def _halves(
    start: int,
    stop: int,
    process: Callable[[int, int], Result],
    fatal: tuple[type[Exception], ...],
) -> Iterator[tuple[int, Result | Exception]]:
    outcome: Result | Exception
    try:
        outcome = process(start, stop)
    except fatal:
        raise
    except Exception as error:
        if stop - start > 1:
            middle = (start + stop) // 2
            yield from _halves(start, middle, process, fatal)
            yield from _halves(middle, stop, process, fatal)
            return
        if start == stop:
            raise
        outcome = error
    yield start, outcome
