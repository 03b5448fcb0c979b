"""Make scratch databases work by several hash ranges, as they do for millions of rows."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipelines.engine import duckdb_scratch


@contextmanager
def small_ranges(are_small: bool = True) -> Iterator[None]:
    """In the `with` block, a range has 16 rows; not if `are_small` is false."""
    with pytest.MonkeyPatch.context() as patch:
        if are_small:
            patch.setattr(duckdb_scratch, "_RANGE_BYTES", 16_000_000)
        yield
