"""Every sample of the corpus with the places of its parts' vectors, and what is drawn at random.

What is joined and ordered may be more rows than memory holds, so DuckDB does it, in a file beside
the staging. Ids are hashes of contents, so the least of them are a uniform draw which does not
depend on the order of anything, and which a corpus that grows changes little.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from embedders.spaces import Space
from pipelines.engine.duckdb_scratch import ROWS, database, execute, value
from store.tables.lance_tables import Tables, quote
from store.tables.names import vectors_table
from store.tables.schema import MODALITIES

_FOUND = f"""
CREATE TABLE found AS
SELECT s."drop", s.id, s.row,
  {", ".join(f"of_{m}.part_id AS {m}_id, of_{m}.row AS {m}_row" for m in MODALITIES)}
FROM samples s
{" ".join(f"LEFT JOIN embedded of_{m} ON of_{m}.part_id = s.{m}_id" for m in MODALITIES)}
"""
_DIGEST = f"""
SELECT sum(hash("drop", id, {", ".join(f"{m}_row IS NULL" for m in MODALITIES)})::HUGEINT)
FROM found
"""


class Embedded:
    """The corpus's samples. In all answers `{modality}_id` and `{modality}_row` are a part and its
    row id in the table of vectors, null where the sample has none that is embedded."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self._connection = connection
        self.count = value(connection, "SELECT count(*) FROM found")

    def digest(self) -> str:
        """Of which samples there are and which of their parts are embedded, in any order."""
        return f"{self.count} {value(self._connection, _DIGEST)}"

    def both(self, a: str, b: str, most: int) -> pa.Table:
        """Different samples drawn from those that have vectors in both modalities, by id."""
        columns = f"{a}_id, {a}_row, {b}_id, {b}_row"
        return self._table(
            f"SELECT id, {columns} FROM found WHERE {a}_row IS NOT NULL AND {b}_row IS NOT NULL"
            f" GROUP BY id, {columns} ORDER BY id LIMIT {most}"
        )

    def parts(self, modality: str, most: int) -> pa.Table:
        """Different embedded parts drawn from those of a modality, by part id."""
        return self._table(
            f"SELECT {modality}_id, {modality}_row FROM found WHERE {modality}_row IS NOT NULL"
            f" GROUP BY ALL ORDER BY {modality}_id LIMIT {most}"
        )

    def tiles(self, rows: int) -> Iterator[pa.Table]:
        """Every sample: drop, id, `row` (its row id in `samples`), and its parts, by drop and id.
        All tiles but the last are of so many rows, whatever the engine's batches are."""
        ordered = self._connection.sql('FROM found ORDER BY "drop", id')
        held: list[pa.Table] = []
        for batch in ordered.to_arrow_reader(ROWS):
            held.append(pa.Table.from_batches([batch]))
            while sum(t.num_rows for t in held) >= rows:
                whole = pa.concat_tables(held)
                yield whole.slice(0, rows)
                held = [whole.slice(rows)]
        if rest := sum(t.num_rows for t in held):
            yield pa.concat_tables(held).slice(0, rest)

    def _table(self, query: str) -> pa.Table:
        return self._connection.sql(query).to_arrow_table()


@contextmanager
def embedded(tables: Tables, space: Space, version: int, folder: Path) -> Iterator[Embedded]:
    """The samples of all drops, joined in `folder` with what a version of the space's vectors has
    by the encoders of today."""
    vectors = tables.open(vectors_table(space.name), version).scanner(
        columns={"part_id": "part_id", "row": "_rowid"}, filter=_current(space), batch_size=ROWS
    )
    columns = {n: n for n in ("drop", "id", *(f"{m}_id" for m in MODALITIES))}
    samples = tables.open("samples").scanner(columns=columns | {"row": "_rowid"}, batch_size=ROWS)
    with database(folder) as connection:
        execute(connection, "CREATE TABLE embedded AS FROM vectors", vectors=vectors.to_reader())
        execute(connection, _FOUND, samples=samples.to_reader())
        yield Embedded(connection)


def _current(space: Space) -> str:
    towers: Iterable[str] = sorted(space.towers)
    return " OR ".join(
        f"(modality = {quote(m)} AND encoder = {quote(space.fingerprint(m))})" for m in towers
    )
