"""Make scratch tables work by several hash ranges, or on Ray, as they do for millions of rows."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipelines.engine import duckdb_scratch, open_scratch


@contextmanager
def small_ranges(are_small: bool = True) -> Iterator[None]:
    """In the `with` block, a range has 16 rows; not if `are_small` is false."""
    with pytest.MonkeyPatch.context() as patch:
        if are_small:
            patch.setattr(duckdb_scratch, "_RANGE_BYTES", 16_000_000)
        yield


@contextmanager
def on_ray() -> Iterator[None]:
    """In the `with` block, scratch tables are on the connected Ray, by ranges of 32 rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb_scratch, "_RANGE_BYTES", 8_000_000)
        patch.setattr(open_scratch, "_WORTH", 0)
        patch.setattr(open_scratch, "_COST", 0)
        patch.setenv("RAY_ADDRESS", "of the connected one")
        yield
