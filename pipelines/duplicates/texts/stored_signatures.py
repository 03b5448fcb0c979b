"""Keep the MinHash signatures of texts in the table `minhashes`: only new texts are signed.

Texts are signed by tasks, which write the new signatures to the files of the table. On Ray all
signatures stay in the object store, and the driver only commits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import lance
import numpy as np
import pyarrow as pa

from pipelines.duplicates.contents import Texts, binary_matrix
from pipelines.duplicates.incremental import Nodes
from pipelines.duplicates.pair_joins import Rows
from pipelines.duplicates.texts.minhash import HASHES, signatures
from pipelines.engine.duckdb_scratch import ROWS, execute, query_value
from pipelines.engine.ray_tasks import kept_in_order
from pipelines.engine.shared_rows import SharedRows
from store.tables.lance_tables import Tables
from store.tables.table_version import TableVersion, take_rows

MINHASHES = pa.schema(
    [
        pa.field("node", pa.string(), nullable=False),
        pa.field("signature", pa.binary(2 * HASHES), nullable=False),
    ]
)
# Texts of a task. Each task writes a file, so that many texts are signed by larger tasks.
_SIGNED, _SIGNED_OF_MANY, _MANY = 1 << 14, 1 << 16, 1 << 20
_COMMITTED = 1 << 18  # texts of a commit: a run that dies loses one commit
_ROWS = """
SELECT node, coalesce(signed.row::BIGINT, -1) AS row
FROM ordered LEFT JOIN signed USING (node) ORDER BY position
"""


class _Block(NamedTuple):
    """A task: the texts from `start` on, and the row id of each one's signature; -1 without one."""

    start: int
    nodes: pa.Array
    rows: np.ndarray


@dataclass(frozen=True)
class _Signing:
    """What each task reads."""

    texts: Texts
    stored: TableVersion


def stored_signatures(tables: Tables, nodes: Nodes, texts: Texts, *, on_ray: bool) -> Rows:
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
    stored = _list_stored(tables, nodes)
    step = _SIGNED_OF_MANY if nodes.count - nodes.first > _MANY else _SIGNED
    written, rows, blocks = list[lance.FragmentMetadata](), 0, list[np.ndarray]()
    out = None if on_ray else nodes.file("signatures", HASHES, np.uint16)
    with connection.cursor() as cursor:
        batches = cursor.sql(_ROWS).to_arrow_reader(step)
        tasks = _blocks(batches, step)
        signing = _Signing(texts, stored)
        for fragments, block in kept_in_order(_sign, signing, tasks, on_ray=on_ray):
            if out is None:
                blocks.append(block)
            else:
                out[rows : rows + len(block)] = block
                rows += len(block)
            written += fragments
            if sum(fragment.num_rows for fragment in written) >= _COMMITTED:
                _commit(tables, written)
                written = []
    _commit(tables, written)
    gone = "FROM signed ANTI JOIN ordered USING (node)"
    if query_value(connection, f"SELECT count(*) {gone}"):
        removed = connection.sql(f"SELECT node {gone}").to_arrow_reader(ROWS)
        tables.upsert("minhashes", MINHASHES, [], "node", removed=removed)
    if out is None:
        return SharedRows.of_blocks(blocks, step, (nodes.count, HASHES), np.uint16)
    return out


def _list_stored(tables: Tables, nodes: Nodes) -> TableVersion:
    """Make the table `signed` of the stored signatures, `node` and `row`. Returns their version."""
    version = tables.replace("minhashes", MINHASHES, [], "false")  # creates the table
    stored = TableVersion(tables, "minhashes", version)
    columns = {"node": "node", "row": "_rowid"}
    stream = stored.open().scanner(columns=columns, batch_size=ROWS).to_reader()
    execute(nodes.connection, "CREATE OR REPLACE TABLE signed AS FROM stream", stream=stream)
    return stored


def _blocks(batches: pa.RecordBatchReader, step: int) -> Iterator[_Block]:
    """Rows of `_ROWS` in blocks of `step`: DuckDB's batches are smaller."""
    start, held = 0, list[pa.RecordBatch]()
    for batch in batches:
        held.append(batch)
        table = pa.Table.from_batches(held)
        while len(table) >= step:
            yield _block(start, table.slice(0, step))
            start, table = start + step, table.slice(step)
        held = table.to_batches()
    if held:
        yield _block(start, pa.Table.from_batches(held))


def _block(start: int, rows: pa.Table) -> _Block:
    return _Block(start, rows["node"].combine_chunks(), rows["row"].to_numpy())


def _sign(signing: _Signing, block: _Block) -> tuple[list[lance.FragmentMetadata], np.ndarray]:
    """The files of the new signatures of a block, and all of its signatures, (k, 128) uint16."""
    out = np.empty((len(block.rows), HASHES), np.uint16)
    is_new = block.rows < 0
    if not is_new.all():
        rows = block.rows[~is_new].tolist()
        column = take_rows(signing.stored, rows, ["signature"])["signature"].combine_chunks()
        out[~is_new] = binary_matrix(column, np.uint16)
    if not is_new.any():
        return [], out
    signed = out[is_new] = signatures(signing.texts(block.start + np.flatnonzero(is_new)))
    column = pa.FixedSizeBinaryArray.from_buffers(
        MINHASHES.field("signature").type, len(signed), [None, pa.py_buffer(signed)]
    )
    nodes = block.nodes.filter(pa.array(is_new))
    batch = pa.RecordBatch.from_arrays([nodes, column], schema=MINHASHES)
    return signing.stored.write_rows(MINHASHES, [batch]), out


def _commit(tables: Tables, written: list[lance.FragmentMetadata]) -> None:
    if written:
        tables.replace("minhashes", MINHASHES, [], "false", written=written)
