"""Find exact duplicates: samples with the same content in several drops.

The drop whose name comes first represents the others. Repeats within a drop never become rows of
`samples`: they are in the ledger. DuckDB groups the ids in a file, in memory of bounded size.
"""

import pyarrow as pa

from pipelines.engine.duckdb_scratch import ROWS, database, execute
from store.tables import schema
from store.tables.staging import StageRun
from store.workspace import Workspace

_COPIED = """
CREATE TABLE copied AS
SELECT id, min("drop") AS first FROM samples GROUP BY id HAVING count(*) > 1
"""
_ROWS = """
SELECT id, "drop", id AS cluster, 'exact' AS kind, "drop" = first AS representative,
  1.0::FLOAT AS similarity
FROM samples JOIN copied USING (id)
"""


def find_exact(workspace: Workspace, run: StageRun) -> pa.Table:
    """Rows of `duplicates` for all samples that are in several drops, the representatives too."""
    ids = workspace.tables.open("samples").scanner(columns=["id", "drop"], batch_size=ROWS)
    with database(run.scratch) as connection:
        execute(connection, "CREATE TABLE samples AS FROM stream", stream=ids.to_reader())
        connection.execute(_COPIED)
        rows = connection.sql(_ROWS).to_arrow_table()
    return rows.select(schema.DUPLICATES.names).cast(schema.DUPLICATES)
