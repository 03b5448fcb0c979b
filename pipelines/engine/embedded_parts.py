"""Which parts of samples are embedded, in scratch tables."""

from collections.abc import Iterable

from pipelines.engine.scratch_tables import ScratchTables
from store.tables.table_version import TableVersion

_WITH_ROW = """
SELECT own.* REPLACE (part_id AS {m}_id), embedded.row AS {m}_row
FROM (FROM {table} WHERE in_range({m}_id)) own
LEFT JOIN (FROM embedded WHERE in_range(part_id)) embedded ON part_id = {m}_id
"""


def add_vector_rows(
    scratch: ScratchTables,
    table: str,
    vectors: TableVersion,
    where: str,
    modalities: Iterable[str],
) -> None:
    """Add to a table, for each modality, the column `{modality}_row`: the row of the vector.

    `{modality}_row` and `{modality}_id` are null where the part is not embedded.

    Args:
        scratch: the tables.
        table: its name; it has the columns `{modality}_id`, the ids of parts.
        vectors: the table of vectors.
        where: a condition of Lance on its rows; each part has one row at most.
        modalities: of the parts.
    """
    scratch.scan("embedded", vectors, {"part_id": "part_id", "row": "_rowid"}, where)
    for m in modalities:
        query = _WITH_ROW.format(m=m, table=table)
        scratch.create(table, query, **{table: f"{m}_id", "embedded": "part_id"})
    scratch.drop("embedded")
