"""Finds samples that a drop holds more than once. Of equal samples the first survives.

The order is by source, then by key.
"""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engine.beam import ReadLance, collect_table
from store.config.engine import Beam
from store.tables.staging import Entry, StageRun

_LOCATION = ("id", "source", "key")
_REPEATS = pa.schema(
    [
        *((name, pa.string()) for name in _LOCATION),
        ("survivor", pa.string()),
        ("same_location", pa.bool_()),
    ]
)


class Repeats:
    """The staged samples of a drop that repeat another one (found by Beam, grouped by content id).

    `entries` is a ledger entry for each repeat, which names the survivor. A repeat may even have
    the same source and key as the survivor, for example two equal lines of a manifest. Then the
    first row that comes survives.
    """

    def __init__(self, engine: Beam, run: StageRun):
        repeats = _find_repeats(engine, run)
        self.entries = [
            Entry(r["source"], r["key"], "duplicate.in_drop", id=r["id"], value=r["survivor"])
            for r in repeats.to_pylist()
        ]
        locations, is_same = _locations(repeats), repeats["same_location"].combine_chunks()
        self._elsewhere = locations.filter(pc.invert(is_same))
        self._at_survivor = locations.filter(is_same)
        self._passed: set[str] = set()  # of `_at_survivor`: those whose first row has passed

    def without(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch's rows without the repeats. Pass each staged row once."""
        locations = _locations(batch)
        is_elsewhere = pc.is_in(locations, value_set=self._elsewhere)
        survives = pc.invert(is_elsewhere).to_numpy(zero_copy_only=False)
        is_ambiguous = pc.is_in(locations, value_set=self._at_survivor)
        for row in np.flatnonzero(is_ambiguous.to_numpy(zero_copy_only=False)).tolist():
            location = locations[row].as_py()
            survives[row] = location not in self._passed
            self._passed.add(location)
        return batch.filter(pa.array(survives))


def _locations(rows: pa.RecordBatch | pa.Table) -> pa.Array:
    """Id, source and key of each row as one string."""
    joined = pc.binary_join_element_wise(*(rows[c] for c in _LOCATION), "\n")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _find_repeats(engine: Beam, run: StageRun) -> pa.Table:
    def repeats(group: tuple[str, Iterable[tuple[str, str]]]) -> Iterator[dict]:
        sample, locations = group
        first, *others = sorted(locations)
        for location in others:
            row = dict(zip(_LOCATION, (sample, *location), strict=True))
            yield row | {"survivor": "/".join(first), "same_location": location == first}

    return collect_table(
        engine,
        run.tables.files,
        f"{run.folder}/repeats",
        _REPEATS,
        lambda p: (
            p
            | "Staged" >> ReadLance(run.commit_rows(), list(_LOCATION))
            | "ById" >> beam.Map(lambda r: (r["id"], (r["source"], r["key"])))
            | "Group" >> beam.GroupByKey()
            | "Repeats" >> beam.FlatMap(repeats)
        ),
    )
