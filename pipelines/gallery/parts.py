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
CREATE OR REPLACE TEMP TABLE first_{t} AS
SELECT {m}_id AS part_id, min(number) AS number, count(*) AS samples
FROM kept WHERE {m}_id IS NOT NULL GROUP BY {m}_id
"""
_PARTS = """
CREATE TABLE parts_{t} AS
WITH several AS (
  SELECT part_id, list(id ORDER BY kept.number) AS sample_ids,
    list_sort(list_distinct(list("drop"))) AS drops
  FROM kept JOIN first_{t} ON part_id = {m}_id WHERE samples > 1 GROUP BY part_id
)
SELECT part_id, number, kept.id, kept."drop", kept.cluster, kept.key, kept.row AS sample_row,
  kept.repair_text, vectors.row AS vector_row, coalesce(sample_ids, [kept.id]) AS sample_ids,
  coalesce(drops, [kept."drop"]) AS drops
FROM first_{t} JOIN kept USING (number) JOIN vectors USING (part_id)
LEFT JOIN several USING (part_id)
"""
_COMPARED = """
CREATE TABLE compared_{t} AS
SELECT parts.*, last.row AS last_row,
  coalesce({reuse} AND last.cluster = parts.cluster AND unfitted.cluster IS NULL, false) AS same,
  coalesce(
    same AND last.id = parts.id AND last.sample_ids = parts.sample_ids AND last.drops = parts.drops
    AND unchanged."drop" IS NOT NULL, false
  ) AS is_unchanged
FROM parts_{t} parts
LEFT JOIN last USING (part_id)
LEFT JOIN unfitted ON unfitted.cluster = parts.cluster
LEFT JOIN unchanged ON unchanged."drop" = parts."drop"
"""
_REMOVED = """
CREATE TABLE removed_{t} AS
SELECT part_id FROM last ANTI JOIN parts_{t} USING (part_id)
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
        parts = _PARTS.format(m=modality, t=self._name)
        samples.execute(_FIRST.format(m=modality, t=self._name))
        samples.execute(parts, vectors=embedded.to_reader())
        samples.execute(f"DROP TABLE first_{self._name}")
        self.count = samples.value(f"SELECT count(*) FROM parts_{self._name}")
        self.kept = samples.value(f"SELECT count(DISTINCT {modality}_id) FROM kept")

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
        m, samples = self._name, self.samples
        chosen = pa.table({"cluster": clusters.cast(pa.string())})
        samples.execute(
            f"CREATE OR REPLACE TABLE others AS"
            f" SELECT part_id, row_number() OVER (ORDER BY part_id) - 1 AS position"
            f" FROM parts_{m} ANTI JOIN chosen USING (cluster)",
            chosen=chosen.to_reader(),
        )
        count = samples.value("SELECT count(*) FROM others")
        positions = np.arange(count)
        if count > others:
            positions = np.random.default_rng(seed).choice(count, others, replace=False)
        drawn = pa.table({"position": pa.array(positions, pa.int64())})
        samples.execute(
            f"CREATE OR REPLACE TABLE sampled AS"
            f" SELECT part_id, vector_row, cluster FROM parts_{m}"
            f" WHERE part_id NOT IN (SELECT part_id FROM others)"
            f" OR part_id IN (SELECT part_id FROM others SEMI JOIN drawn USING (position))",
            drawn=drawn.to_reader(),
        )
        table = samples.table("FROM sampled ORDER BY part_id")
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
        samples.execute("CREATE OR REPLACE TABLE last AS FROM stream", stream=stream)
        clusters = pa.table({"cluster": pa.array(sorted(changed_clusters or ()), pa.string())})
        drops = pa.table({"drop": pa.array(sorted(unchanged_drops), pa.string())})
        samples.execute(
            _COMPARED.format(t=t, reuse="false" if changed_clusters is None else "true"),
            unfitted=clusters.to_reader(),
            unchanged=drops.to_reader(),
        )
        samples.execute(_REMOVED.format(t=t))
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
        samples.execute(
            f"CREATE OR REPLACE TABLE tiled AS"
            f" SELECT compared.*, signals.row AS signal_row FROM compared_{m} compared"
            f' JOIN signals USING ("drop", id) WHERE {where}',
            signals=signals.to_reader(),
        )
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
