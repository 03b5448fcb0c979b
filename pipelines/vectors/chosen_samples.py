"""The samples that a space with `only_for` embeds, chosen with the vectors of the main space.

Vectors of two towers are not in one space, so a small tower cannot stand for a large one. It says
which samples the large one needs to encode: those that the decisions keep, and, if there are rules,
those that pass them: uncertain samples, which another policy might keep.
"""

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from pipelines.engine.duckdb_scratch import execute, stream_columns
from pipelines.policy.row_rules import RowTest, passes, row_tests
from store.config.policy import Policy
from store.tables import schema
from store.tables.lance_tables import quote
from store.tables.names import pairs_table
from store.workspace import Workspace

_ID = pa.schema([pa.field("id", pa.string())])
# A kept sample may have the caption of another one, which must then have a vector too.
_KEPT = """
CREATE TABLE chosen AS
SELECT id FROM decided WHERE keep AND "drop" = $name
UNION SELECT repair_from FROM decided WHERE keep AND repair_from IS NOT NULL
"""


def load_chosen(connection: duckdb.DuckDBPyConnection, workspace: Workspace, drop: str) -> str:
    """Make the table `chosen` of the ids of a drop's samples that the space embeds.

    There are none as long as the main space has no decisions, or no signals of pairs.

    Returns:
        SQL that restricts samples to these; "" for a space that embeds all.
    """
    main = workspace.main
    only_for = None if main is None else main.config.only_for(workspace.config.space)
    if main is None or only_for is None:
        return ""
    columns = ["drop", "id", "keep", "repair_from"]
    decided = stream_columns(main.tables, "decisions", schema.DECISIONS, columns)
    execute(connection, "CREATE TABLE decided AS FROM decided", decided=decided)
    connection.execute(_KEPT, {"name": drop})
    if isinstance(only_for, Policy):
        tables = _load_passed(connection, main, row_tests(only_for), drop)
        passed = " INTERSECT ".join(f"SELECT id FROM {table}" for table in tables)
        connection.execute(f"INSERT INTO chosen {passed}")
    return "SEMI JOIN chosen USING (id)"


def _load_passed(
    connection: duckdb.DuckDBPyConnection, main: Workspace, tests: list[RowTest], drop: str
) -> list[str]:
    """Make a table of the ids that pass for each table of signals that the tests read."""
    sources = {
        "passed_signals": ("signals", schema.SIGNALS),
        "passed_pairs": (pairs_table(main.config.space), schema.PAIRS),
    }
    made = []
    for name, (table, columns) in sources.items():
        own = [test for test in tests if test.signal in columns.names]
        if not own:
            continue
        read = ["id", *dict.fromkeys(test.signal for test in own)]
        where = f"drop = {quote(drop)}"
        rows = stream_columns(main.tables, table, columns, read, filter=where)
        stream = pa.RecordBatchReader.from_batches(_ID, _passed(rows, own))
        execute(connection, f"CREATE TABLE {name} AS FROM stream", stream=stream)
        made.append(name)
    return made


def _passed(rows: pa.RecordBatchReader, tests: list[RowTest]) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        yield batch.select(["id"]).filter(pa.array(passes(tests, batch))).cast(_ID)
