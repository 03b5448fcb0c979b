"""The parts that a gallery holds: those of kept samples, each once, and what changed among them.

Parts are compared with the rows of the last gallery, so that only rows that come out differently
are made and written. There may be more parts than memory holds: they are scratch tables of
`KeptSamples`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.decisions.kept_samples import KeptSamples
from pipelines.engine.scratch_tables import batches_in_order
from pipelines.gallery.fit import TILE, VectorRows
from store.tables.lance_tables import Tables, one_of, quote
from store.tables.table_version import TableVersion

# The first sample of a part is that of the smallest number; `drops` starts with its drop. A list of
# one element is null until tiles are made: most are, and DuckDB holds the lists of all groups in
# memory.
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
  own.repair_text, vectors.row AS vector_row, sample_ids, nullif(drops, [own."drop"]) AS drops
FROM first JOIN own ON own.number = first.number
JOIN (FROM vectors WHERE in_range(part_id)) vectors ON vectors.part_id = first.part_id
LEFT JOIN several ON several.part_id = first.part_id
"""
_COMPARED = """
SELECT parts.*, last.row AS last_row,
  coalesce({reuse} AND last.cluster = parts.cluster AND unfitted.cluster IS NULL, false) AS same,
  coalesce(
    same AND last.id = parts.id AND last."drop" = parts."drop"
    AND last.sample_ids IS NOT DISTINCT FROM parts.sample_ids
    AND last.drops IS NOT DISTINCT FROM parts.drops AND unchanged."drop" IS NOT NULL, false
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
SELECT compared.* REPLACE (
    coalesce(sample_ids, [compared.id]) AS sample_ids, coalesce(drops, [compared."drop"]) AS drops
  ), signals.row AS signal_row
FROM (FROM compared_{t} WHERE {where} AND in_range(id)) compared
JOIN (FROM signals WHERE in_range(id)) signals USING ("drop", id)
"""
_OTHERS = """
SELECT part_id, vector_row, cluster FROM parts_{t} ANTI JOIN chosen USING (cluster)
WHERE in_range(part_id)
"""
_SAMPLED = """
SELECT part_id, vector_row, cluster FROM parts_{t} SEMI JOIN chosen USING (cluster)
WHERE in_range(part_id)
UNION ALL
SELECT part_id, vector_row, cluster FROM others SEMI JOIN drawn USING (number)
WHERE in_range(part_id)
"""
_LAST = {
    "part_id": "part_id",
    "id": "id",
    "cluster": "cluster",
    "drop": "drops[1]",
    "sample_ids": "nullif(sample_ids, make_array(id))",
    "drops": "nullif(drops, make_array(drops[1]))",
    "row": "_rowid",
}
_LISTS = pa.list_(pa.string())
_LAST_TYPES = {"sample_ids": _LISTS, "drops": _LISTS, "row": pa.uint64()}
_NO_LAST = pa.schema([(name, _LAST_TYPES.get(name, pa.string())) for name in _LAST])


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
        name: of their scratch tables. Default: the modality.

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
        self._scratch = scratch = samples.scratch
        self._parts = f"parts_{self._name}"
        first, part = f"first_{self._name}", f"{modality}_id"
        names = {"m": modality, "t": self._name}
        scratch.create(first, _FIRST.format(**names), kept=part)
        self.kept = scratch.count(first)
        embedded = f"modality = {quote(modality)} AND encoder = {quote(fingerprint)}"
        scratch.scan("vectors", vectors, {"part_id": "part_id", "row": "_rowid"}, embedded)
        by = {"kept": part, first: "part_id", "vectors": "part_id"}
        scratch.create(self._parts, _PARTS.format(**names), **by)
        scratch.drop(first, "vectors")
        self.count = scratch.count(self._parts)

    def vector_rows(self) -> Iterator[VectorRows]:
        """All parts, a tile at a time, in the order of their part ids."""
        columns = "vector_row, cluster"
        yield from map(self._rows, self._scratch.in_order(self._parts, ["part_id"], columns, TILE))

    def sample(self, clusters: pa.Array, others: int, seed: int) -> tuple[VectorRows, pa.Table]:
        """The parts of some clusters, and others at random.

        Returns:
            The rows of their vectors, and the columns part_id and cluster; both sorted by part id.
        """
        t, scratch = self._name, self._scratch
        scratch.load("chosen", pa.table({"cluster": clusters.cast(pa.string())}))
        scratch.create("unordered", _OTHERS.format(t=t), **{self._parts: "part_id"})
        scratch.number("others", "unordered", ["part_id"])
        count = scratch.count("others")
        positions = np.arange(count)
        if count > others:
            positions = np.random.default_rng(seed).choice(count, others, replace=False)
        scratch.load("drawn", pa.table({"number": pa.array(positions + 1, pa.int64())}))
        by = {self._parts: "part_id", "others": "part_id"}
        scratch.create("sampled", _SAMPLED.format(t=t), **by)
        table = scratch.select("FROM sampled ORDER BY part_id", "sampled")
        scratch.drop("chosen", "unordered", "others", "drawn", "sampled")
        return self._rows(table), table

    def compare(
        self,
        last: TableVersion | None,
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
        t, scratch = self._name, self._scratch
        if last is None:
            scratch.load("last", _NO_LAST.empty_table())
        else:
            scratch.scan("last", last, _LAST, where)
        clusters = pa.array(sorted(changed_clusters or ()), pa.string())
        drops = pa.array(sorted(unchanged_drops), pa.string())
        scratch.load("unfitted", pa.table({"cluster": clusters}))
        scratch.load("unchanged", pa.table({"drop": drops}))
        reuse = "false" if changed_clusters is None else "true"
        by = {self._parts: "part_id", "last": "part_id"}
        scratch.create(f"compared_{t}", _COMPARED.format(t=t, reuse=reuse), **by)
        scratch.create(f"removed_{t}", _REMOVED.format(t=t), **by)
        changed = scratch.count(f"compared_{t}", "NOT is_unchanged")
        comparison = Comparison(changed, scratch.count(f"removed_{t}"), scratch.count("last"))
        scratch.drop("last", "unfitted", "unchanged")
        return comparison

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
        scratch, compared = self._scratch, f"compared_{self._name}"
        where = "NOT is_unchanged" if only_changed else "true"
        some = scratch.select(
            f'SELECT DISTINCT "drop", is_unchanged FROM {compared} WHERE {where}', compared
        )
        drops = some["drop"].unique().to_pylist()
        if not drops:
            return
        signals = TableVersion(tables, "signals", tables.version("signals"))
        columns = {"drop": "drop", "id": "id", "row": "_rowid"}
        scratch.scan("signals", signals, columns, one_of("drop", drops))
        query = _TILED.format(t=self._name, where=where)
        scratch.create("tiled", query, **{compared: "id", "signals": "id"})
        scratch.drop("signals")
        yield from scratch.in_order("tiled", ["number"], '* EXCLUDE ("drop")', rows)

    def removed(self) -> Iterator[pa.RecordBatch]:
        """The part ids of rows of the last gallery that are no longer parts."""
        return batches_in_order(self._scratch, f"removed_{self._name}", ["part_id"])

    def _rows(self, table: pa.Table) -> VectorRows:
        return VectorRows(
            self.vectors,
            table["vector_row"].to_numpy(),
            table["cluster"].to_numpy(zero_copy_only=False).astype(str),
        )


def drop_outputs(outputs: Mapping[str, str], last: Mapping[str, str]) -> set[str]:
    """The drops with the same outputs as before."""
    return {drop for drop, output in outputs.items() if last.get(drop) == output}
