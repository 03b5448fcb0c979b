"""Make the table `duplicates`: exact copies, near-duplicates and contamination, over all drops.

The stage is global, and its result does not depend on the order in which drops arrived. Each
sample is lost at most once, by the first of these rules that applies:

1. It is near to a sample of an evaluation set (contaminated).
2. It is near to a better sample, its survivor. All of its copies in other drops are lost too.
3. It is a copy of a sample in a drop whose name comes first.

A sample that passes the policy's tests is never lost to one that does not, and none is lost to a
contaminated one.
"""

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from pipelines.duplicates.contamination import find_contaminated
from pipelines.duplicates.lost_samples import LOST, add_lost
from pipelines.duplicates.near import find_near
from pipelines.duplicates.sample_facts import add_facts, all_samples
from pipelines.engine.duckdb_scratch import ROWS, query_value
from pipelines.stages import run_keys
from pipelines.stages.context import StageContext
from store.tables import schema
from store.tables.staging import Counts, Entry, begin, publish

STAGE = "duplicates"
_NEAR = ("image", "crops", "audio", "text", "semantic")  # settings of kinds of near-duplicates
# The first drop of a sample. A cluster of contaminated samples has the key of another one as its
# name, and no representative.
_ROWS = """
CREATE TABLE rows AS
SELECT id, "drop", id AS cluster, 'exact' AS kind, "drop" = first AS representative,
  1.0::FLOAT AS similarity
FROM samples JOIN copied USING (id) ANTI JOIN lost USING (id) WHERE {exact}
UNION ALL
SELECT id, "drop", cluster, kind, false, similarity FROM samples JOIN lost USING (id)
UNION ALL
SELECT id, min("drop"), id, kind, true, 1.0::FLOAT
FROM samples
JOIN (SELECT DISTINCT cluster, kind FROM lost WHERE NOT starts_with(kind, '{evaluation}'))
  ON id = cluster
GROUP BY id, kind
"""


def find_duplicates(context: StageContext) -> Counts:
    """Make the table `duplicates` from all drops.

    Returns:
        Counts of samples; kept are those that are not lost.

    Raises:
        NotFoundError: a drop has no signals yet, or there are no vectors to compare.
        SourceError: an evaluation set that corpus.yaml names does not exist.
        ConservationError: a sample is lost twice; nothing was published.
    """
    workspace, tables, settings = context.workspace, context.tables, context.config.duplicates
    key = run_keys.duplicates(context)
    with (
        begin(tables, STAGE, key, schema.DUPLICATES) as run,
        all_samples(workspace, run.scratch) as connection,
    ):
        connection.execute(LOST)
        entries = list[Entry]()
        if context.config.decontaminate or any(getattr(settings, n) is not None for n in _NEAR):
            add_facts(workspace, connection)
            for evaluation in workspace.config.decontaminate:
                entries += find_contaminated(workspace, connection, run.scratch, evaluation)
            add_lost(workspace, connection, find_near(context, connection, run.scratch))
        exact = "true" if settings.exact else "false"
        connection.execute(_ROWS.format(exact=exact, evaluation=schema.EVALUATION_PREFIX))
        total, rejected, distinct = (
            query_value(connection, f"SELECT count(*) FROM {rows}")
            for rows in (
                "samples",
                "rows WHERE NOT representative",
                '(SELECT DISTINCT "drop", id FROM rows WHERE NOT representative)',
            )
        )
        return publish(
            tables,
            run,
            counts=Counts(input=total, kept=total - distinct, rejected=rejected),
            entries=entries,
            write=lambda: tables.replace(STAGE, schema.DUPLICATES, _rows(connection), None),
            output=lambda: key,
        )


def _rows(connection: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    columns = ", ".join(f'"{name}"' for name in schema.DUPLICATES.names)
    ordered = connection.sql(f'SELECT {columns} FROM rows ORDER BY cluster, kind, "drop", id')
    for batch in ordered.to_arrow_reader(ROWS):
        yield pa.RecordBatch.from_arrays(batch.columns, schema=schema.DUPLICATES)
