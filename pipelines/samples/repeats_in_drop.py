"""Samples that a drop has twice: of equal ones the first by source and key survives."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engine.beam import ReadLance, gather
from store.config.engine import Beam
from store.tables.staging import Entry, StageRun

_PLACE = ("id", "source", "key")
_FOUND = pa.schema(
    [*((name, pa.string()) for name in _PLACE), ("survivor", pa.string()), ("same", pa.bool_())]
)


class Repeats:
    """What is staged of a drop and repeats a sample of it (found by Beam, grouped by content).

    `entries` tell each and what survives it. A repetition may share even its place with the
    survivor, such as two equal lines of a manifest: then the first that comes stays.
    """

    def __init__(self, engine: Beam, run: StageRun):
        found = _find(engine, run)
        self.entries = [
            Entry(r["source"], r["key"], "duplicate.in_drop", id=r["id"], value=r["survivor"])
            for r in found.to_pylist()
        ]
        places, same = _places(found), found["same"].combine_chunks()
        self._lost = places.filter(pc.invert(same))
        self._twice = places.filter(same)
        self._seen: set[str] = set()

    def without(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch's rows that survive. Each row is to be asked about once."""
        places = _places(batch)
        stays = pc.invert(pc.is_in(places, value_set=self._lost)).to_numpy(zero_copy_only=False)
        copied = pc.is_in(places, value_set=self._twice).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(copied).tolist():
            place = places[row].as_py()
            stays[row] = place not in self._seen
            self._seen.add(place)
        return batch.filter(pa.array(stays))


def _places(rows: pa.RecordBatch | pa.Table) -> pa.Array:
    joined = pc.binary_join_element_wise(*(rows[c] for c in _PLACE), "\n")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _find(engine: Beam, run: StageRun) -> pa.Table:
    def losers(group: tuple[str, Iterable[tuple[str, str]]]) -> Iterator[dict]:
        sample, places = group
        first, *others = sorted(places)
        for place in others:
            row = dict(zip(_PLACE, (sample, *place), strict=True))
            yield row | {"survivor": "/".join(first), "same": place == first}

    return gather(
        engine,
        run.folder / "repeats",
        _FOUND,
        lambda p: (
            p
            | "Staged" >> ReadLance(run.rows_uri, list(_PLACE))
            | "ById" >> beam.Map(lambda r: (r["id"], (r["source"], r["key"])))
            | "Group" >> beam.GroupByKey()
            | "Losers" >> beam.FlatMap(losers)
        ),
    )
