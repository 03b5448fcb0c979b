"""Keep the MinHash signatures of texts in the table `minhashes`: only new texts are signed."""

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.duplicates.contents import Texts, binary_matrix, read_column
from pipelines.duplicates.incremental import Nodes
from pipelines.duplicates.texts.minhash import HASHES, signatures
from pipelines.engine.array_files import ArrayFile
from pipelines.engine.duckdb_scratch import ROWS, execute, query_value
from pipelines.engine.ray_tasks import streams_in_order
from store.tables.lance_tables import Tables
from store.tables.table_version import TableVersion

MINHASHES = pa.schema(
    [
        pa.field("node", pa.string(), nullable=False),
        pa.field("signature", pa.binary(2 * HASHES), nullable=False),
    ]
)
_SIGNED = 1 << 14  # texts of a task
# Texts of a commit: Lance holds what it writes in a commit. A run that dies loses one commit.
_COMMITTED = 1 << 18
_UNSIGNED = """
CREATE OR REPLACE TABLE unsigned AS
SELECT position, node, row_number() OVER (ORDER BY position) - 1 AS number
FROM ordered ANTI JOIN signed USING (node) ORDER BY number
"""


def stored_signatures(tables: Tables, nodes: Nodes, texts: Texts, *, on_ray: bool) -> ArrayFile:
    """The signatures of texts. Those of new ones are computed and stored.

    Stored signatures of texts that are not among the nodes are deleted.

    Args:
        tables: the tables of the corpus.
        nodes: the texts.
        texts: reads them by their numbers.
        on_ray: sign by Ray tasks; else in this process.

    Returns:
        (n, 128) uint16.
    """
    connection = nodes.connection
    out = nodes.file("signatures", HASHES, np.uint16)
    _read_stored(tables, nodes, out)
    connection.execute(_UNSIGNED)
    for start in range(0, query_value(connection, "SELECT count(*) FROM unsigned"), _COMMITTED):
        rows = _signed_rows(connection, texts, out, start, on_ray)
        tables.replace("minhashes", MINHASHES, rows, "false")
    gone = "FROM signed ANTI JOIN ordered USING (node)"
    if query_value(connection, f"SELECT count(*) {gone}"):
        removed = connection.sql(f"SELECT node {gone}").to_arrow_reader(ROWS)
        tables.upsert("minhashes", MINHASHES, [], "node", removed=removed)
    return out


def _read_stored(tables: Tables, nodes: Nodes, out: ArrayFile) -> None:
    """Read the stored signatures, and make the table `signed` of their nodes."""
    dataset = tables.open_or_none("minhashes")
    if dataset is None:
        nodes.connection.execute("CREATE OR REPLACE TABLE signed (node VARCHAR, row UBIGINT)")
        return
    columns = {"node": "node", "row": "_rowid"}
    stream = dataset.scanner(columns=columns, batch_size=ROWS).to_reader()
    execute(nodes.connection, "CREATE OR REPLACE TABLE signed AS FROM stream", stream=stream)
    version = TableVersion(tables, "minhashes", dataset.version)
    blocks = nodes.in_order("signed.row", "JOIN signed USING (node)")
    for positions, column in read_column(version, blocks, "signature"):
        out[positions] = binary_matrix(column, np.uint16)


def _signed_rows(
    connection: duckdb.DuckDBPyConnection,
    texts: Texts,
    out: ArrayFile,
    start: int,
    on_ray: bool,
) -> Iterator[pa.RecordBatch]:
    """Sign the texts of a commit, from the unsigned one `start` on; they are written to `out`."""
    query = f"FROM unsigned WHERE number >= {start} AND number < {start + _COMMITTED}"
    with connection.cursor() as cursor:
        names_of = cursor.sql(f"SELECT position, node {query} ORDER BY number")
        batches = names_of.to_arrow_reader(_SIGNED)
        for names, signed in streams_in_order(_sign, texts, batches, on_ray=on_ray):
            out[names["position"].to_numpy()] = signed
            column = pa.FixedSizeBinaryArray.from_buffers(
                MINHASHES.field("signature").type, len(signed), [None, pa.py_buffer(signed)]
            )
            yield pa.RecordBatch.from_arrays([names["node"], column], schema=MINHASHES)


def _sign(texts: Texts, names: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    yield names, signatures(texts(names["position"].to_numpy()))
