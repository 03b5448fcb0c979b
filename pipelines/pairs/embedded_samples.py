"""Joins all samples of the corpus with the row ids of their parts' vectors, and draws from them.

There may be more rows than memory holds, so they are joined and ordered in scratch tables. Ids are
hashes of contents, so the smallest ids are a uniform random draw, which does not depend on the
order in which drops arrived.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from embedders.spaces import Space
from pipelines.engine.embedded_parts import add_vector_rows
from pipelines.engine.open_scratch import scratch_tables
from pipelines.engine.scratch_tables import ScratchTables, batches_in_order
from store.tables.lance_tables import quote
from store.tables.names import vectors_table
from store.tables.schema import MODALITIES
from store.tables.table_version import TableVersion
from store.workspace import Workspace

_CHANGED = """
SELECT coalesce(joined.id, stored.id) AS id
FROM (FROM joined WHERE in_range(id)) joined FULL JOIN (FROM stored WHERE in_range(id)) stored
ON joined.id = stored.id AND joined."drop" = stored."drop"
WHERE joined.id IS NULL OR stored.id IS NULL OR {differs}
UNION SELECT id FROM broken WHERE id IS NOT NULL AND in_range(id)
"""
_DIGEST = f"""hash("drop", id, {", ".join(f"{m}_row IS NULL" for m in MODALITIES)})"""
_ROWS = "FROM (FROM {0} WHERE in_range(id)) {1} JOIN (FROM {2} WHERE in_range(id)) USING (id)"
_DIFFERENCES = {  # none of them has all rows, as the stored rows that stay would
    "made_anew": ("joined", "SEMI", "changed"),
    "removed": ("changed", "ANTI", "joined"),
    "replaced": ("stored", "SEMI", "changed"),
}


class Comparison(NamedTuple):
    """The samples compared with stored rows.

    Attributes:
        changed: the number of samples whose rows are made anew.
        removed: the number of ids of stored rows that no sample has any more.
        unchanged: the number of stored rows that stay.
        digest: of which ids changed or were removed.
    """

    changed: int
    removed: int
    unchanged: int
    digest: str


class EmbeddedSamples:
    """The samples of all drops with the row ids of their vectors.

    In all results `{modality}_id` is the id of a part and `{modality}_row` its row id in the table
    of vectors. Both are null if the sample has no embedded part of this modality.

    Attributes:
        count: the number of samples; a sample counts once in each of its drops.
    """

    def __init__(self, scratch: ScratchTables):
        self._scratch = scratch
        self.count = scratch.count("joined")

    def digest(self) -> str:
        """A digest of which samples exist and which of their parts are embedded, in any order."""
        return f"{self.count} {self._scratch.sum('joined', _DIGEST)}"

    def count_with(self, *modalities: str) -> int:
        """The number of samples that have vectors in all of these modalities."""
        where = " AND ".join(f"{m}_row IS NOT NULL" for m in modalities)
        return self._scratch.count("joined", where)

    def embedded(self, parts: pa.Table) -> pa.Array:
        """Those of some parts that are embedded in a sample.

        Args:
            parts: a column part_id.
        """
        found = [
            self._select(
                f"SELECT {m}_id, min({m}_row) AS {m}_row FROM joined"
                f" SEMI JOIN parts ON parts.part_id = {m}_id"
                f" WHERE {m}_row IS NOT NULL GROUP BY {m}_id",
                parts=parts,
            )[f"{m}_id"]
            for m in MODALITIES
        ]
        return pa.chunked_array([c for ids in found for c in ids.chunks], pa.string()).unique()

    def compare(
        self,
        stored: TableVersion,
        needed: Mapping[str, Sequence[str]],
        broken: pa.Table,
    ) -> Comparison:
        """Compare the samples with stored rows. Call it once.

        All rows of an id count as changed if one of them has other modalities embedded than its
        stored row was made from, or is in another drop.

        Args:
            stored: a table with one row for each drop and id.
            needed: for columns of the table, the modalities without which they are null.
            broken: a column id, of samples that count as changed.
        """
        columns = {n: n for n in ("drop", "id")}
        names = stored.open().schema.names
        present = [name for name in needed if name in names]
        columns |= {name: f"{name} IS NOT NULL" for name in present}
        scratch = self._scratch
        scratch.scan("stored", stored, columns)
        differs = " OR ".join(
            f"({' AND '.join(f'{m}_row IS NOT NULL' for m in modalities)})"
            f" <> {f'stored.{name}' if name in present else 'false'}"
            for name, modalities in needed.items()
        )
        scratch.load("broken", broken)
        scratch.create("changed", _CHANGED.format(differs=differs), joined="id", stored="id")
        for name, (rows, join, others) in _DIFFERENCES.items():
            query = _ROWS.format(rows, join, others)
            scratch.create(name, query, **{rows: "id", others: "id"})
        return Comparison(
            changed=scratch.count("made_anew"),
            removed=scratch.count("removed"),
            unchanged=scratch.count("stored") - scratch.count("replaced"),
            digest=str(scratch.sum("changed", "hash(id)")),
        )

    def removed(self) -> Iterator[pa.RecordBatch]:
        """The ids of compared rows that no sample has any more."""
        return batches_in_order(self._scratch, "removed", ["id"])

    def unchanged(self, ids: pa.Array) -> pa.Array:
        """Those of some ids of compared rows that did not change."""
        changed = self._select(
            "SELECT DISTINCT id FROM changed SEMI JOIN given USING (id)",
            "changed",
            given=pa.table({"id": ids}),
        )
        unique = ids.unique()
        return unique.filter(pc.invert(pc.is_in(unique, changed["id"].combine_chunks())))

    def draw_pairs(self, a: str, b: str, limit: int) -> pa.Table:
        """Distinct samples that have vectors in both modalities: those of the smallest ids.

        Returns:
            A table (id, {a}_id, {a}_row, {b}_id, {b}_row), at most `limit` rows, ordered by id.
        """
        columns = f"{a}_id, {a}_row, {b}_id, {b}_row"
        return self._select(
            f"SELECT id, {columns} FROM joined WHERE {a}_row IS NOT NULL AND {b}_row IS NOT NULL"
            f" GROUP BY id, {columns} ORDER BY id LIMIT {limit}"
        )

    def draw_parts(self, modality: str, limit: int) -> pa.Table:
        """Distinct embedded parts of a modality: those of the smallest part ids.

        Returns:
            A table ({modality}_id, {modality}_row), at most `limit` rows, ordered by part id.
        """
        return self._select(
            f"SELECT {modality}_id, {modality}_row FROM joined WHERE {modality}_row IS NOT NULL"
            f" GROUP BY ALL ORDER BY {modality}_id LIMIT {limit}"
        )

    def with_both(self, a: str, b: str, ids: pa.Array) -> pa.Table:
        """Samples by id that have vectors in both modalities, each id once.

        Returns:
            A table (id, row, {a}_id, {a}_row, {b}_id, {b}_row), ordered by id.
        """
        columns = f"{a}_id, {a}_row, {b}_id, {b}_row"
        return self._select(
            f"SELECT id, min(row) AS row, {columns} FROM joined SEMI JOIN wanted USING (id)"
            f" WHERE {a}_row IS NOT NULL AND {b}_row IS NOT NULL GROUP BY id, {columns}"
            " ORDER BY id",
            wanted=pa.table({"id": ids}),
        )

    def tiles(self, rows: int, only_changed: bool = False) -> Iterator[pa.Table]:
        """Samples, ordered by drop and id, in tables of `rows` rows; the last may be smaller.

        Args:
            rows: of a table.
            only_changed: leave out those that did not change (`compare`).

        Yields:
            Tables (drop, id, row, and id and row of each modality). `row` is the row id in
            `samples`.
        """
        name = "made_anew" if only_changed else "joined"
        yield from self._scratch.in_order(name, ["drop", "id"], rows=rows)

    def _select(self, query: str, name: str = "joined", **given: pa.Table) -> pa.Table:
        """The rows that a query finds in a table; it may read the given tables by their names."""
        for other, table in given.items():
            self._scratch.load(other, table)
        rows = self._scratch.select(query, name)
        self._scratch.drop(*given)
        return rows


@contextmanager
def embedded_samples(
    workspace: Workspace, space: Space, version: int, folder: Path
) -> Iterator[EmbeddedSamples]:
    """Join the samples of all drops with their vectors.

    Vectors of other encoders than the current ones of the space are left out.

    Args:
        workspace: the corpus.
        space: one of its spaces.
        version: of the space's table of vectors.
        folder: where the database file is made.
    """
    tables = workspace.tables
    vectors = TableVersion(tables, vectors_table(space.name), version)
    samples = TableVersion(tables, "samples", tables.version("samples"))
    columns = {n: n for n in ("drop", "id", *(f"{m}_id" for m in MODALITIES))} | {"row": "_rowid"}
    for m in MODALITIES:
        if m not in space.towers:  # none is embedded, so that there is nothing to join
            columns |= {f"{m}_id": "CAST(NULL AS STRING)", f"{m}_row": "CAST(NULL AS BIGINT)"}
    count = samples.open().count_rows()
    with scratch_tables(workspace.config.engine, folder, count) as scratch:
        scratch.scan("joined", samples, columns)
        current = _current_encoders(space)
        add_vector_rows(scratch, "joined", vectors, current, sorted(space.towers))
        yield EmbeddedSamples(scratch)


def _current_encoders(space: Space) -> str:
    """SQL that selects the vectors of the space's current encoders."""
    return " OR ".join(
        f"(modality = {quote(m)} AND encoder = {quote(space.fingerprint(m))})"
        for m in sorted(space.towers)
    )
