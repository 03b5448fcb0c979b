"""The samples that the decisions keep, and their clusters, in a scratch database.

A cluster holds samples that share a part, directly or through other samples (five captions of one
image, one caption of three images). Splits and masks go by cluster, so that no bank contains
anything of a test pair.

There may be more samples than memory holds, so DuckDB joins and groups them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.engine.components import label_components
from pipelines.engine.duckdb_scratch import ROWS, create_by_range, database, execute, query_value
from store.tables import schema
from store.workspace import Workspace

_PARTS = [f"{m}_id" for m in schema.MODALITIES]
_COLUMNS = ["drop", "id", "key", *_PARTS]
_JOINED = """
SELECT stored.* REPLACE (coalesce(repair_text_id, text_id) AS text_id), repair_text
FROM (FROM stored WHERE in_range(id)) stored
JOIN (FROM decided WHERE in_range(id)) USING ("drop", id)
"""
_KEPT = """
CREATE TABLE kept AS
SELECT row_number() OVER () AS number, * FROM (FROM joined ORDER BY "drop", key, id)
"""
# Samples of the same parts, and only those: the others are clusters of their own.
_LINKS = "".join(
    f"""
SELECT DISTINCT id, {m} AS part FROM kept SEMI JOIN (
  SELECT {m} FROM kept WHERE in_range({m}) GROUP BY {m} HAVING min(id) < max(id)
) USING ({m}) WHERE in_range({m})
{"" if m == _PARTS[-1] else "UNION ALL"}"""
    for m in _PARTS
)
_CLUSTERED = """
SELECT kept.*, coalesce(labels.cluster, kept.id) AS cluster
FROM (FROM kept WHERE in_range(id)) kept
LEFT JOIN (FROM labels WHERE in_range(id)) labels USING (id)
"""


class KeptSamples:
    """The kept samples, one row each, in the table `kept` of a database.

    Its columns are `number` (the order by drop, key and id, which does not depend on arrival),
    drop, id, key, image_id, text_id, audio_id, `row` (the row id in `samples`), `repair_text` and
    `cluster` (the smallest sample id of the cluster). If the policy repaired the caption, its new
    text is `repair_text`, and `text_id` is that of the new text.

    Attributes:
        connection: to the database.
        count: the number of kept samples.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self.connection = connection
        self.count = query_value(connection, "SELECT count(*) FROM kept")

    def execute(self, query: str, **streams: pa.RecordBatchReader) -> None:
        """Run a query that reads Arrow streams by their names."""
        execute(self.connection, query, **streams)

    def load(self, table: str, stream: pa.RecordBatchReader) -> None:
        """Copy a stream into a table, which is replaced."""
        self.execute(f"CREATE OR REPLACE TABLE {table} AS FROM stream", stream=stream)

    def create(self, table: str, query: str, *tables: str) -> None:
        """Create a table by hash ranges (`create_by_range`) from `kept` or other tables."""
        create_by_range(self.connection, table, query, "kept", *tables)

    def value(self, query: str) -> int:
        """The single value of a query."""
        return query_value(self.connection, query)

    def table(self, query: str) -> pa.Table:
        """The rows of a query, in memory."""
        return self.connection.sql(query).to_arrow_table()

    def batches(self, query: str, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """The rows of a query, streamed."""
        # A cursor of its own: another query would end the stream.
        yield from self.connection.cursor().sql(query).to_arrow_reader(rows)

    def having(self, column: str, values: Iterable[str]) -> pa.Table:
        """The kept samples with one of some values in a column, such as `image_id`, in order."""
        wanted = pa.table({column: pa.array(sorted(set(values)), pa.string())})
        self.connection.register("wanted", wanted)
        rows = self.table(f"FROM kept SEMI JOIN wanted USING ({column}) ORDER BY number")
        self.connection.unregister("wanted")
        return rows


@contextmanager
def kept_samples(workspace: Workspace, folder: Path) -> Iterator[KeptSamples]:
    """Read the kept samples and find their clusters.

    Args:
        workspace: the corpus.
        folder: where the database file is made.
    """
    tables = workspace.tables
    columns = {c: c for c in _COLUMNS} | {"row": "_rowid"}
    samples = tables.open("samples").scanner(columns=columns, batch_size=ROWS)
    decisions = tables.open("decisions")
    stored = {
        c: c if c in decisions.schema.names else "CAST(NULL AS STRING)"
        for c in ("drop", "id", "repair_text_id", "repair_text")
    }
    decided = decisions.scanner(columns=stored, filter="keep", batch_size=ROWS)
    with database(folder, workspace.config.engine.duckdb) as connection:
        execute(connection, "CREATE TABLE stored AS FROM stream", stream=samples.to_reader())
        execute(connection, "CREATE TABLE decided AS FROM stream", stream=decided.to_reader())
        create_by_range(connection, "joined", _JOINED, "stored")
        connection.execute(_KEPT)
        connection.execute("DROP TABLE stored; DROP TABLE decided; DROP TABLE joined")
        cluster_samples(connection)
        yield KeptSamples(connection)


def cluster_samples(connection: duckdb.DuckDBPyConnection) -> None:
    """Add the column `cluster` to the table `kept`: the components of samples and their parts.

    Args:
        connection: to a database whose table `kept` has `id` and the ids of parts.
    """
    create_by_range(connection, "links", _LINKS, "kept")
    label_components(connection)
    create_by_range(connection, "kept", _CLUSTERED, "kept")
