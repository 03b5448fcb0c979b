"""Finds samples that a drop holds more than once. Of equal samples the first survives.

The order is by source, then by key. DuckDB groups the samples in a file; Beam does it if it is
configured, since its workers may be elsewhere (its local runner would hold all of them in memory).
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engine.duckdb_scratch import create_by_range, database, execute
from store.config.engine import Engine
from store.tables.staging import Entry, StageRun

_LOCATION = ("id", "source", "key")
_REPEATS = pa.schema(
    [
        *((name, pa.string()) for name in _LOCATION),
        ("survivor", pa.string()),
        ("same_location", pa.bool_()),
    ]
)
_FIND = """
SELECT id, source, key, survivor, location = survivor_location AS same_location FROM (
  SELECT id, source, key, [source, key] AS location, first_value([source, key]) OVER w
    AS survivor_location, first_value(source || '/' || key) OVER w AS survivor,
    row_number() OVER w AS number
  FROM staged SEMI JOIN (
    SELECT id FROM staged WHERE in_range(id) GROUP BY id HAVING count(*) > 1
  ) USING (id) WHERE in_range(id)
  WINDOW w AS (PARTITION BY id ORDER BY source, key)
) WHERE number > 1
"""


class Repeats:
    """The staged samples of a drop that repeat another one (grouped by content id).

    `entries` is a ledger entry for each repeat, which names the survivor. A repeat may even have
    the same source and key as the survivor, for example two equal lines of a manifest. Then the
    first row that comes survives.
    """

    def __init__(self, engine: Engine, run: StageRun):
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


def _find_repeats(engine: Engine, run: StageRun) -> pa.Table:
    if not engine.beam.is_default:
        from pipelines.samples.repeats_on_beam import find_repeats  # imports Beam

        return find_repeats(engine.beam, run, _LOCATION, _REPEATS)
    with database(run.scratch, engine.duckdb) as connection:
        staged = run.scan(list(_LOCATION))
        execute(connection, "CREATE TABLE staged AS FROM stream", stream=staged)
        create_by_range(connection, "repeats", _FIND, "staged")
        repeats = connection.sql("FROM repeats ORDER BY id, source, key").to_arrow_table()
        return repeats.cast(_REPEATS)
