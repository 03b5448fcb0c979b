"""Elect survivors among the samples that are near to others; all others take no part in it.

Samples that are linked by near parts, directly or through others, are judged together. So they are
judged in batches, in which there are some 50,000, or as many as are linked.
"""

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.duplicates.near import NearParts
from pipelines.duplicates.pair_joins import Pairs
from pipelines.duplicates.survivors import NearPairs, elect_survivors, rank_samples
from pipelines.engine.components import label_components
from pipelines.engine.duckdb_scratch import execute, load_table, query_value
from pipelines.engine.scratch_tables import DuckDBTables
from pipelines.policy.row_rules import passes, row_tests
from store.tables import schema
from store.tables.columns import missing, with_nulls
from store.tables.names import pairs_table
from store.tables.table_version import take_rows
from store.workspace import Workspace

# Samples that are lost: `cluster` is the survivor, or the key of an evaluation's sample.
LOST = "CREATE TABLE lost (id VARCHAR, cluster VARCHAR, kind VARCHAR, similarity FLOAT)"
_SIGNALS = ["image_width", "image_height", "text_chars"]
_BATCH = 50_000  # samples
_TOUCHED = """
INSERT INTO touched
SELECT {number}, id, "drop", measured, {part}_id
FROM facts SEMI JOIN (SELECT a AS node FROM {pairs} UNION SELECT b FROM {pairs}) ON node = {part}_id
ANTI JOIN lost USING (id) WHERE {where}
"""
# Nodes are linked by a sample that has them, and by a pair.
_LINKS = """
CREATE OR REPLACE TABLE links AS
SELECT concat_ws(':', kind, node) AS id, id AS part FROM touched
UNION ALL
SELECT concat_ws(':', kind, unnest([a, b])), concat_ws(':', a, b) FROM pairs
"""
_BATCHES = """
CREATE OR REPLACE TABLE batches AS SELECT id, hash(cluster) % {count} AS batch FROM labels
"""
_IN_BATCHES = """
CREATE OR REPLACE TABLE {name} AS
SELECT {name}.*, batch FROM {name} JOIN batches ON batches.id = concat_ws(':', kind, {node})
ORDER BY batch
"""


def add_lost(
    workspace: Workspace, connection: duckdb.DuckDBPyConnection, near: Sequence[NearParts]
) -> None:
    """Add the samples that are lost to a survivor to the table `lost`.

    Args:
        workspace: the corpus.
        connection: to a database with the tables `facts` and `lost`. Samples that are lost already
            neither survive nor are lost to one.
        near: the near pairs of each kind; kinds that come first count first.
    """
    connection.execute(
        "CREATE TABLE touched (kind INT, id VARCHAR, drop VARCHAR, measured BIGINT, node VARCHAR)"
    )
    connection.execute("CREATE TABLE pairs (kind INT, a VARCHAR, b VARCHAR, similarity FLOAT)")
    for number, each in enumerate(near):
        names = {"number": number, "part": each.part, "pairs": each.pairs, "where": each.where}
        connection.execute(_TOUCHED.format(**names))
        connection.execute(f"INSERT INTO pairs SELECT {number}, * FROM {each.pairs}")
    connection.execute(_LINKS)
    label_components(DuckDBTables(connection))
    batches = query_value(connection, "SELECT count(DISTINCT id) FROM touched") // _BATCH + 1
    connection.execute(_BATCHES.format(count=batches))
    for name, node in (("touched", "node"), ("pairs", "a")):
        connection.execute(_IN_BATCHES.format(name=name, node=node))
    _load_pair_signals(workspace, connection)
    for batch in range(batches):
        lost = _lost(workspace, connection, near, batch)
        execute(connection, "INSERT INTO lost FROM stream", stream=lost.to_reader())


def _lost(
    workspace: Workspace,
    connection: duckdb.DuckDBPyConnection,
    near: Sequence[NearParts],
    batch: int,
) -> pa.Table:
    """The lost samples of a batch: the columns of `lost`."""
    samples = connection.sql(
        f'SELECT DISTINCT id, "drop", measured FROM touched WHERE batch = {batch} ORDER BY id'
    ).to_arrow_table()
    ids = samples["id"].combine_chunks()
    compared = []
    for number, each in enumerate(near):
        where = f"WHERE batch = {batch} AND kind = {number}"
        pairs = connection.sql(f"SELECT a, b, similarity FROM pairs {where}").to_arrow_table()
        nodes = pa.chunked_array([*pairs["a"].chunks, *pairs["b"].chunks], pa.string()).unique()
        rows = connection.sql(f"SELECT id, node FROM touched {where}").to_arrow_table()
        of_samples = np.full(len(ids), -1, np.int64)
        of_samples[_numbers(rows["id"], ids)] = _numbers(rows["node"], nodes)
        of_nodes = Pairs(
            _numbers(pairs["a"], nodes),
            _numbers(pairs["b"], nodes),
            pairs["similarity"].to_numpy(),
        )
        compared.append(NearPairs(each.kind, of_samples, of_samples, of_nodes))
    lost = elect_survivors(_rank(workspace, connection, samples, batch), compared)
    columns = [
        ids.take(pa.array(lost.sample)),
        ids.take(pa.array(lost.survivor)),
        pa.array([near[kind].kind for kind in lost.kind], pa.string()),
        pa.array(lost.similarity),
    ]
    return pa.table(columns, ["id", "cluster", "kind", "similarity"])


def _numbers(values: pa.ChunkedArray, names: pa.Array) -> np.ndarray:
    """The index of each value in `names`, (n,) int64."""
    return pc.index_in(values, value_set=names).to_numpy().astype(np.int64)


def _load_pair_signals(workspace: Workspace, connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table of signals of pairs, if the policy tests some."""
    names = [t.signal for t in row_tests(workspace.config.policy) if t.signal in schema.PAIR_TYPES]
    if names:
        table, columns = pairs_table(workspace.config.space), ["drop", "id", *dict.fromkeys(names)]
        load_table(connection, workspace, table, schema.PAIRS, columns)


def _rank(
    workspace: Workspace, connection: duckdb.DuckDBPyConnection, samples: pa.Table, batch: int
) -> np.ndarray:
    """The samples, the best first (`survivors.rank_samples`)."""
    tests = row_tests(workspace.config.policy)
    names = list(dict.fromkeys([*_SIGNALS, *(test.signal for test in tests)]))
    of_pairs = [name for name in names if name in schema.PAIR_TYPES]
    own = [name for name in names if name not in of_pairs]
    signals = workspace.tables.open("signals")
    absent = {f.name for f in missing("signals", signals.schema, schema.SIGNALS, own)}
    present = [name for name in own if name not in absent]
    read = take_rows(signals, samples["measured"].to_pylist(), present)
    columns = with_nulls(read, schema.SIGNALS, own)
    if of_pairs:
        paired = connection.sql(
            f"SELECT {', '.join(of_pairs)}"
            f' FROM (SELECT DISTINCT id, "drop" FROM touched WHERE batch = {batch})'
            f' LEFT JOIN {pairs_table(workspace.config.space)} USING ("drop", id) ORDER BY id'
        ).to_arrow_table()
        for name in of_pairs:
            columns = columns.append_column(name, paired[name])
    pixels = pc.multiply(columns["image_width"].cast("int64"), columns["image_height"])
    caption = pc.fill_null(columns["text_chars"], 0).cast("int64")
    return rank_samples(
        passes(tests, columns), caption.to_numpy(), pc.fill_null(pixels, 0).to_numpy()
    )
