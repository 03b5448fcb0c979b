"""Which parts of samples are embedded, in a scratch database."""

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from pipelines.engine.duckdb_scratch import create_by_range, execute

_WITH_ROW = """
SELECT own.* REPLACE (part_id AS {m}_id), embedded.row AS {m}_row
FROM (FROM {table} WHERE in_range({m}_id)) own
LEFT JOIN (FROM embedded WHERE in_range(part_id)) embedded ON part_id = {m}_id
"""


def add_vector_rows(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    embedded: pa.RecordBatchReader,
    modalities: Iterable[str],
) -> None:
    """Add to a table, for each modality, the column `{modality}_row`: the row of the vector.

    `{modality}_row` and `{modality}_id` are null where the part is not embedded.

    Args:
        connection: to the database.
        table: its name; it has the columns `{modality}_id`, the ids of parts.
        embedded: a stream (part_id, row) of embedded parts.
        modalities: of the parts.
    """
    execute(connection, "CREATE TABLE embedded AS FROM stream", stream=embedded)
    for m in modalities:
        query = _WITH_ROW.format(m=m, table=table)
        create_by_range(connection, table, query, table, "embedded")
    connection.execute("DROP TABLE embedded")
