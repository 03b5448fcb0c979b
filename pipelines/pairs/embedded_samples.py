"""Joins all samples of the corpus with the row ids of their parts' vectors, and draws from them.

There may be more rows than memory holds, so DuckDB joins and orders them in a file beside the
staging. Ids are hashes of contents, so the smallest ids are a uniform random draw, which does not
depend on the order in which drops arrived.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb
import lance
import pyarrow as pa

from embedders.spaces import Space
from pipelines.engine.duckdb_scratch import ROWS, create_by_range, database, execute, query_value
from pipelines.engine.embedded_parts import add_vector_rows
from store.tables.lance_tables import quote
from store.tables.names import vectors_table
from store.tables.schema import MODALITIES
from store.workspace import Workspace

_CHANGED = """
SELECT coalesce(joined.id, stored.id) AS id
FROM (FROM joined WHERE in_range(id)) joined FULL JOIN (FROM stored WHERE in_range(id)) stored
ON joined.id = stored.id AND joined."drop" = stored."drop"
WHERE joined.id IS NULL OR stored.id IS NULL OR {differs}
UNION SELECT id FROM broken WHERE id IS NOT NULL AND in_range(id)
"""
_DIGEST = f"""
SELECT sum(hash("drop", id, {", ".join(f"{m}_row IS NULL" for m in MODALITIES)})::HUGEINT)
FROM joined
"""


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

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self._connection = connection
        self.count = query_value(connection, "SELECT count(*) FROM joined")

    def digest(self) -> str:
        """A digest of which samples exist and which of their parts are embedded, in any order."""
        return f"{self.count} {query_value(self._connection, _DIGEST)}"

    def count_with(self, *modalities: str) -> int:
        """The number of samples that have vectors in all of these modalities."""
        where = " AND ".join(f"{m}_row IS NOT NULL" for m in modalities)
        return int(query_value(self._connection, f"SELECT count(*) FROM joined WHERE {where}"))

    def embedded(self, parts: pa.Table) -> pa.Array:
        """Those of some parts that are embedded in a sample.

        Args:
            parts: a column part_id.
        """
        present = (
            f"SELECT {m}_id AS part_id FROM joined SEMI JOIN parts ON parts.part_id = {m}_id"
            f" WHERE {m}_row IS NOT NULL"
            for m in MODALITIES
        )
        return self._query(" UNION ".join(present), parts=parts)["part_id"].combine_chunks()

    def compare(
        self,
        stored: lance.LanceDataset,
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
        present = [name for name in needed if name in stored.schema.names]
        columns |= {name: f"{name} IS NOT NULL" for name in present}
        stream = stored.scanner(columns=columns, batch_size=ROWS).to_reader()
        execute(self._connection, "CREATE TABLE stored AS FROM stream", stream=stream)
        differs = " OR ".join(
            f"({' AND '.join(f'{m}_row IS NOT NULL' for m in modalities)})"
            f" <> {f'stored.{name}' if name in present else 'false'}"
            for name, modalities in needed.items()
        )
        stream = broken.to_reader()
        execute(self._connection, "CREATE TABLE broken AS FROM stream", stream=stream)
        query = _CHANGED.format(differs=differs)
        create_by_range(self._connection, "changed", query, "joined", "stored")
        counts = (
            "joined SEMI JOIN changed USING (id)",
            "changed ANTI JOIN joined USING (id)",
            "stored ANTI JOIN changed USING (id)",
        )
        changed, removed, unchanged = (
            query_value(self._connection, f"SELECT count(*) FROM {rows}") for rows in counts
        )
        summed = query_value(self._connection, "SELECT sum(hash(id)::HUGEINT) FROM changed")
        return Comparison(changed, removed, unchanged, str(summed))

    def removed(self) -> Iterator[pa.RecordBatch]:
        """The ids of compared rows that no sample has any more."""
        ids = self._connection.sql("SELECT id FROM changed ANTI JOIN joined USING (id)")
        yield from ids.to_arrow_reader(ROWS)

    def unchanged(self, ids: pa.Array) -> pa.Array:
        """Those of some ids of compared rows that did not change."""
        query = "SELECT DISTINCT id FROM given ANTI JOIN changed USING (id)"
        return self._query(query, given=pa.table({"id": ids}))["id"].combine_chunks()

    def draw_pairs(self, a: str, b: str, limit: int) -> pa.Table:
        """Distinct samples that have vectors in both modalities: those of the smallest ids.

        Returns:
            A table (id, {a}_id, {a}_row, {b}_id, {b}_row), at most `limit` rows, ordered by id.
        """
        columns = f"{a}_id, {a}_row, {b}_id, {b}_row"
        return self._query(
            f"SELECT id, {columns} FROM joined WHERE {a}_row IS NOT NULL AND {b}_row IS NOT NULL"
            f" GROUP BY id, {columns} ORDER BY id LIMIT {limit}"
        )

    def draw_parts(self, modality: str, limit: int) -> pa.Table:
        """Distinct embedded parts of a modality: those of the smallest part ids.

        Returns:
            A table ({modality}_id, {modality}_row), at most `limit` rows, ordered by part id.
        """
        return self._query(
            f"SELECT {modality}_id, {modality}_row FROM joined WHERE {modality}_row IS NOT NULL"
            f" GROUP BY ALL ORDER BY {modality}_id LIMIT {limit}"
        )

    def with_both(self, a: str, b: str, ids: pa.Array) -> pa.Table:
        """Samples by id that have vectors in both modalities, each id once.

        Returns:
            A table (id, row, {a}_id, {a}_row, {b}_id, {b}_row), ordered by id.
        """
        columns = f"{a}_id, {a}_row, {b}_id, {b}_row"
        return self._query(
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
        changed = "SEMI JOIN changed USING (id)" if only_changed else ""
        ordered = self._connection.sql(f'FROM joined {changed} ORDER BY "drop", id')
        pending: list[pa.Table] = []
        for batch in ordered.to_arrow_reader(ROWS):
            pending.append(pa.Table.from_batches([batch]))
            while sum(t.num_rows for t in pending) >= rows:
                table = pa.concat_tables(pending)
                yield table.slice(0, rows)
                pending = [table.slice(rows)]
        if rest := sum(t.num_rows for t in pending):
            yield pa.concat_tables(pending).slice(0, rest)

    def _query(self, query: str, **given: pa.Table) -> pa.Table:
        """The rows of a query, which may read the given tables by their names."""
        for name, table in given.items():
            self._connection.register(name, table)
        try:
            return self._connection.sql(query).to_arrow_table()
        finally:
            for name in given:
                self._connection.unregister(name)


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
    vectors = tables.open(vectors_table(space.name), version).scanner(
        columns={"part_id": "part_id", "row": "_rowid"},
        filter=_current_encoders(space),
        batch_size=ROWS,
    )
    columns = {n: n for n in ("drop", "id", *(f"{m}_id" for m in MODALITIES))}
    samples = tables.open("samples").scanner(columns=columns | {"row": "_rowid"}, batch_size=ROWS)
    with database(folder, workspace.config.engine.duckdb) as connection:
        execute(connection, "CREATE TABLE joined AS FROM stream", stream=samples.to_reader())
        add_vector_rows(connection, "joined", vectors.to_reader(), MODALITIES)
        yield EmbeddedSamples(connection)


def _current_encoders(space: Space) -> str:
    """SQL that selects the vectors of the space's current encoders."""
    return " OR ".join(
        f"(modality = {quote(m)} AND encoder = {quote(space.fingerprint(m))})"
        for m in sorted(space.towers)
    )
