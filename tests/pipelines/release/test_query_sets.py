"""The random items of an evaluation are those of the smallest part ids."""

import numpy as np
import pyarrow as pa

from pipelines.release.query_sets import smallest_parts


def test_the_smallest_parts_of_all_batches_are_kept() -> None:
    parts = [f"{n:08x}" for n in np.random.default_rng(2).permutation(1000).tolist()]
    smallest = pa.array([], pa.string())
    for start, stop in ((0, 7), (7, 300), (300, 301), (301, 301), (301, 1000)):
        smallest = smallest_parts(smallest, pa.array(parts[start:stop], pa.string()), 50)
        assert smallest.to_pylist() == sorted(parts[:stop])[:50]
