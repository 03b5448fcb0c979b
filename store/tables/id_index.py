"""An index of the column `id`, so that one sample is read without a scan of all ids.

Of token vectors, which a query reads for some parts: an index of `part_id`.

Maintenance builds it. Rows that are added later are scanned beside it, until they are a tenth of
the table.
"""

from store.tables.lance_tables import Tables
from store.tables.names import kind_of
from store.tables.reindex import unindexed_rows

LEAST_ROWS = 100_000  # fewer are scanned in some milliseconds
_UNINDEXED = 0.1  # share of the rows


def index_ids(tables: Tables, name: str) -> None:
    """Build the index of a table with many ids, or add the rows that are not in it.

    Args:
        tables: of the corpus.
        name: of the table. Nothing is done if it has no such column, or fewer than `LEAST_ROWS`
            rows, or a complete index.
    """
    column = "part_id" if kind_of(name) == "tokens" else "id"
    with tables.lock(name):
        table = tables.open(name)
        if column not in table.schema.names or (rows := table.count_rows()) < LEAST_ROWS:
            return
        present = (i for i in table.describe_indices() if column in i.field_names)
        index = next(present, None)
        if index is None:
            table.create_scalar_index(column, "BTREE", name=f"{column}_idx")
        elif unindexed_rows(table, index) > _UNINDEXED * rows:
            table.optimize.optimize_indices(index_names=[index.name])
