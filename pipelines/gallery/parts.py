"""The parts that a gallery holds: those of kept samples, each once, and what changed among them.

Parts are compared with the rows of the last gallery, so that only rows that come out differently
are made and written. There may be more parts than memory holds: they are tables of the database of
`KeptSamples`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa

from pipelines.decisions.kept_samples import KeptSamples
from pipelines.engine.duckdb_scratch import ROWS
from pipelines.gallery.fit import TILE, VectorRows
from store.tables.lance_tables import Tables, one_of, quote
from store.tables.table_version import TableVersion

# The first sample of a part is that of the smallest number; `drops` starts with its drop. Lists are
# made for parts of several samples only: DuckDB holds the lists of all groups in memory.
_FIRST = """
SELECT {m}_id AS part_id, min(number) AS number, count(*) AS samples
FROM kept WHERE {m}_id IS NOT NULL AND in_range({m}_id) GROUP BY {m}_id
"""
_PARTS = """
WITH own AS (SELECT *, {m}_id AS part_id FROM kept WHERE in_range({m}_id)),
first AS (FROM first_{t} WHERE in_range(part_id)),
several AS (
  SELECT part_id, list(id ORDER BY own.number) AS sample_ids,
    list_sort(list_distinct(list("drop"))) AS drops
  FROM own JOIN first USING (part_id) WHERE samples > 1 GROUP BY part_id
)
SELECT first.part_id, own.number, own.id, own."drop", own.cluster, own.key, own.row AS sample_row,
  own.repair_text, vectors.row AS vector_row, coalesce(sample_ids, [own.id]) AS sample_ids,
  coalesce(drops, [own."drop"]) AS drops
FROM first JOIN own ON own.number = first.number
JOIN (FROM vectors WHERE in_range(part_id)) vectors ON vectors.part_id = first.part_id
LEFT JOIN several ON several.part_id = first.part_id
"""
_COMPARED = """
SELECT parts.*, last.row AS last_row,
  coalesce({reuse} AND last.cluster = parts.cluster AND unfitted.cluster IS NULL, false) AS same,
  coalesce(
    same AND last.id = parts.id AND last.sample_ids = parts.sample_ids AND last.drops = parts.drops
    AND unchanged."drop" IS NOT NULL, false
  ) AS is_unchanged
FROM (FROM parts_{t} WHERE in_range(part_id)) parts
LEFT JOIN (FROM last WHERE in_range(part_id)) last USING (part_id)
LEFT JOIN unfitted ON unfitted.cluster = parts.cluster
LEFT JOIN unchanged ON unchanged."drop" = parts."drop"
"""
_REMOVED = """
SELECT part_id FROM (SELECT part_id FROM last WHERE in_range(part_id))
ANTI JOIN (SELECT part_id FROM parts_{t} WHERE in_range(part_id)) USING (part_id)
"""
_TILED = """
SELECT compared.*, signals.row AS signal_row
FROM (FROM compared_{t} WHERE {where} AND in_range(id)) compared
JOIN (FROM signals WHERE in_range(id)) signals USING ("drop", id)
"""
_OTHERS = """
CREATE OR REPLACE TABLE others AS
SELECT row_number() OVER () - 1 AS position, * FROM (
  SELECT part_id, vector_row, cluster FROM parts_{t} ANTI JOIN chosen USING (cluster)
  ORDER BY part_id
)
"""
_SAMPLED = """
SELECT part_id, vector_row, cluster FROM (
  SELECT part_id, vector_row, cluster FROM parts_{t} SEMI JOIN chosen USING (cluster)
  UNION ALL SELECT part_id, vector_row, cluster FROM others SEMI JOIN drawn USING (position)
) ORDER BY part_id
"""
_LAST = ["part_id", "id", "cluster", "sample_ids", "drops"]
_LAST_SCHEMA = pa.schema(
    [
        *(pa.field(n, pa.string()) for n in _LAST[:3]),
        *(pa.field(n, pa.list_(pa.string())) for n in _LAST[3:]),
        pa.field("row", pa.uint64()),
    ]
)


class Comparison(NamedTuple):
    """How many rows of a gallery are made anew or removed, of how many in the last one."""

    changed: int
    removed: int
    last: int

    @property
    def is_small(self) -> bool:
        """Whether replacing rows is cheaper than writing all rows: they are at most half."""
        return 2 * (self.changed + self.removed) <= self.last


class GalleryParts:
    """The parts of one modality that are kept and embedded.

    Args:
        samples: the kept samples.
        vectors: the space's table of vectors.
        modality: of the parts.
        fingerprint: of the encoder whose vectors count.
        name: of their tables in the database of `samples`. Default: the modality.

    Attributes:
        count: the number of these parts.
        kept: the number of parts of kept samples, embedded or not.
    """

    def __init__(
        self,
        samples: KeptSamples,
        vectors: TableVersion,
        modality: str,
        fingerprint: str,
        name: str = "",
    ):
        self.samples = samples
        self.vectors = vectors
        self.modality = modality
        self._name = name or modality
        embedded = vectors.open().scanner(
            columns={"part_id": "part_id", "row": "_rowid"},
            filter=f"modality = {quote(modality)} AND encoder = {quote(fingerprint)}",
            batch_size=ROWS,
        )
        first, parts = f"first_{self._name}", f"parts_{self._name}"
        names = {"m": modality, "t": self._name}
        samples.create(first, _FIRST.format(**names))
        self.kept = samples.value(f"SELECT count(*) FROM {first}")
        samples.load("vectors", embedded.to_reader())
        samples.create(parts, _PARTS.format(**names), "vectors")
        samples.execute(f"DROP TABLE {first}; DROP TABLE vectors")
        self.count = samples.value(f"SELECT count(*) FROM {parts}")

    def vector_rows(self) -> Iterator[VectorRows]:
        """All parts, a tile at a time, in the order of their part ids."""
        query = f"SELECT vector_row, cluster FROM parts_{self._name} ORDER BY part_id"
        for batch in self.samples.batches(query, TILE):
            yield self._rows(pa.Table.from_batches([batch]))

    def sample(self, clusters: pa.Array, others: int, seed: int) -> tuple[VectorRows, pa.Table]:
        """The parts of some clusters, and others at random.

        Returns:
            The rows of their vectors, and the columns part_id and cluster; both sorted by part id.
        """
        t, samples = self._name, self.samples
        samples.load("chosen", pa.table({"cluster": clusters.cast(pa.string())}).to_reader())
        samples.execute(_OTHERS.format(t=t))
        count = samples.value("SELECT count(*) FROM others")
        positions = np.arange(count)
        if count > others:
            positions = np.random.default_rng(seed).choice(count, others, replace=False)
        samples.load("drawn", pa.table({"position": pa.array(positions, pa.int64())}).to_reader())
        table = samples.table(_SAMPLED.format(t=t))
        return self._rows(table), table

    def compare(
        self,
        last: lance.LanceDataset | None,
        changed_clusters: set[str] | None,
        unchanged_drops: set[str],
        where: str | None = None,
    ) -> Comparison:
        """Compare the parts with the rows of the last gallery.

        Args:
            last: the last gallery; None if there is none.
            changed_clusters: clusters whose fitted values are no longer valid; None if no fitted
                value is valid.
            unchanged_drops: drops whose samples, signals and repaired captions are those of the
                last gallery.
            where: an SQL condition on the rows of the last gallery that are compared; of each part
                one at most.
        """
        t, samples = self._name, self.samples
        stream = _LAST_SCHEMA.empty_table().to_reader()
        if last is not None:
            columns = {c: c for c in _LAST} | {"row": "_rowid"}
            stream = last.scanner(columns=columns, filter=where, batch_size=ROWS).to_reader()
        samples.load("last", stream)
        clusters = pa.table({"cluster": pa.array(sorted(changed_clusters or ()), pa.string())})
        drops = pa.table({"drop": pa.array(sorted(unchanged_drops), pa.string())})
        samples.load("unfitted", clusters.to_reader())
        samples.load("unchanged", drops.to_reader())
        reuse = "false" if changed_clusters is None else "true"
        samples.create(f"compared_{t}", _COMPARED.format(t=t, reuse=reuse), "last")
        samples.create(f"removed_{t}", _REMOVED.format(t=t), "last")
        counts = (
            samples.value(f"SELECT count(*) FROM {table}")
            for table in (f"compared_{t} WHERE NOT is_unchanged", f"removed_{t}", "last")
        )
        return Comparison(*counts)

    def tiles(self, tables: Tables, rows: int, only_changed: bool) -> Iterator[pa.Table]:
        """The compared parts, or those that changed, in the order of their first samples.

        Rows of a tile are thus close to each other in `samples`, `signals` and `vectors`.

        Args:
            tables: of the corpus.
            rows: of a tile.
            only_changed: leave out the rows that would come out as they are in the last gallery.

        Yields:
            Columns part_id, id, cluster, key, sample_ids, drops, repair_text; row ids: sample_row,
            vector_row, signal_row and last_row (null for a part that is new); and `same` (bool:
            the fitted values of the last gallery are valid).
        """
        m, samples = self._name, self.samples
        where = "NOT is_unchanged" if only_changed else "true"
        drops = samples.table(f'SELECT DISTINCT "drop" FROM compared_{m} WHERE {where}')
        if not drops.num_rows:
            return
        signals = tables.open("signals").scanner(
            columns={"drop": "drop", "id": "id", "row": "_rowid"},
            filter=one_of("drop", drops["drop"].to_pylist()),
            batch_size=ROWS,
        )
        samples.load("signals", signals.to_reader())
        samples.create("tiled", _TILED.format(t=m, where=where), "signals")
        samples.execute("DROP TABLE signals")
        for batch in samples.batches('SELECT * EXCLUDE ("drop") FROM tiled ORDER BY number', rows):
            for start in range(0, batch.num_rows, rows):
                yield pa.Table.from_batches([batch.slice(start, rows)])

    def removed(self) -> Iterator[pa.RecordBatch]:
        """The part ids of rows of the last gallery that are no longer parts."""
        yield from self.samples.batches(f"FROM removed_{self._name}")

    def _rows(self, table: pa.Table) -> VectorRows:
        return VectorRows(
            self.vectors,
            table["vector_row"].to_numpy(),
            table["cluster"].to_numpy(zero_copy_only=False).astype(str),
        )


def drop_outputs(outputs: Mapping[str, str], last: Mapping[str, str]) -> set[str]:
    """The drops with the same outputs as before."""
    return {drop for drop, output in outputs.items() if last.get(drop) == output}
