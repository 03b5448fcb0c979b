"""Joins all samples of the corpus with the row ids of their parts' vectors, and draws from them.

There may be more rows than memory holds, so DuckDB joins and orders them in a file beside the
staging. Ids are hashes of contents, so the smallest ids are a uniform random draw. The draw does
not depend on the order in which drops arrived, and it changes little when the corpus grows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from embedders.spaces import Space
from pipelines.engine.duckdb_scratch import ROWS, database, execute, query_value
from store.tables.lance_tables import Tables, quote
from store.tables.names import vectors_table
from store.tables.schema import MODALITIES

_JOIN = f"""
CREATE TABLE joined AS
SELECT s."drop", s.id, s.row,
  {", ".join(f"of_{m}.part_id AS {m}_id, of_{m}.row AS {m}_row" for m in MODALITIES)}
FROM samples s
{" ".join(f"LEFT JOIN embedded of_{m} ON of_{m}.part_id = s.{m}_id" for m in MODALITIES)}
"""
_DIGEST = f"""
SELECT sum(hash("drop", id, {", ".join(f"{m}_row IS NULL" for m in MODALITIES)})::HUGEINT)
FROM joined
"""


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
        wanted = pa.table({"id": ids})
        self._connection.register("wanted", wanted)
        columns = f"{a}_id, {a}_row, {b}_id, {b}_row"
        try:
            return self._query(
                f"SELECT id, min(row) AS row, {columns} FROM joined SEMI JOIN wanted USING (id)"
                f" WHERE {a}_row IS NOT NULL AND {b}_row IS NOT NULL GROUP BY id, {columns}"
                " ORDER BY id"
            )
        finally:
            self._connection.unregister("wanted")

    def tiles(self, rows: int) -> Iterator[pa.Table]:
        """All samples, ordered by drop and id, in tables of `rows` rows; the last may be smaller.

        Yields:
            Tables (drop, id, row, and id and row of each modality). `row` is the row id in
            `samples`.
        """
        ordered = self._connection.sql('FROM joined ORDER BY "drop", id')
        pending: list[pa.Table] = []
        for batch in ordered.to_arrow_reader(ROWS):
            pending.append(pa.Table.from_batches([batch]))
            while sum(t.num_rows for t in pending) >= rows:
                table = pa.concat_tables(pending)
                yield table.slice(0, rows)
                pending = [table.slice(rows)]
        if rest := sum(t.num_rows for t in pending):
            yield pa.concat_tables(pending).slice(0, rest)

    def _query(self, query: str) -> pa.Table:
        return self._connection.sql(query).to_arrow_table()


@contextmanager
def embedded_samples(
    tables: Tables, space: Space, version: int, folder: Path
) -> Iterator[EmbeddedSamples]:
    """Join the samples of all drops with their vectors.

    Vectors of other encoders than the current ones of the space are left out.

    Args:
        version: of the space's table of vectors.
        folder: where the database file is made.
    """
    vectors = tables.open(vectors_table(space.name), version).scanner(
        columns={"part_id": "part_id", "row": "_rowid"},
        filter=_current_encoders(space),
        batch_size=ROWS,
    )
    columns = {n: n for n in ("drop", "id", *(f"{m}_id" for m in MODALITIES))}
    samples = tables.open("samples").scanner(columns=columns | {"row": "_rowid"}, batch_size=ROWS)
    with database(folder) as connection:
        execute(connection, "CREATE TABLE embedded AS FROM vectors", vectors=vectors.to_reader())
        execute(connection, _JOIN, samples=samples.to_reader())
        yield EmbeddedSamples(connection)


def _current_encoders(space: Space) -> str:
    """SQL that selects the vectors of the space's current encoders."""
    return " OR ".join(
        f"(modality = {quote(m)} AND encoder = {quote(space.fingerprint(m))})"
        for m in sorted(space.towers)
    )
