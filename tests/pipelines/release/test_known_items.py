"""The random items of an evaluation are those of the smallest part ids."""

import numpy as np
import pyarrow as pa

from pipelines.release.known_items import smallest_parts


def test_the_smallest_parts_of_all_batches_are_kept() -> None:
    rng = np.random.default_rng(2)
    parts = [f"{n:08x}" for n in rng.permutation(1000).tolist()]
    is_candidate = rng.random(1000) < 0.9
    rows = pa.record_batch({"part_id": parts, "_rowid": range(1000)})
    smallest = rows.slice(0, 0)
    for start, stop in ((0, 7), (7, 300), (300, 301), (301, 301), (301, 1000)):
        more, mask = rows.slice(start, stop - start), pa.array(is_candidate[start:stop])
        smallest = smallest_parts(smallest, more, mask, 50)
        candidates = [
            part for part, own in zip(parts[:stop], is_candidate[:stop], strict=True) if own
        ]
        assert smallest["part_id"].to_pylist() == sorted(candidates)[:50]
    assert [parts[row] for row in smallest["_rowid"].to_pylist()] == smallest["part_id"].to_pylist()
