"""Elect survivors among the samples that are near to others; all others take no part in it."""

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.duplicates.near import NearParts
from pipelines.duplicates.pair_joins import Pairs
from pipelines.duplicates.survivors import NearPairs, elect_survivors, rank_samples
from pipelines.engine.duckdb_scratch import execute, load_table
from pipelines.policy.row_rules import passes, row_tests
from store.tables import schema
from store.tables.columns import missing, with_nulls
from store.tables.names import pairs_table
from store.tables.table_version import take_rows
from store.workspace import Workspace

# Samples that are lost: `cluster` is the survivor, or the key of an evaluation's sample.
LOST = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("id", "cluster", "kind")),
        pa.field("similarity", pa.float32()),
    ]
)
_SIGNALS = ["image_width", "image_height", "text_chars"]


def lost_to_survivors(
    workspace: Workspace,
    connection: duckdb.DuckDBPyConnection,
    near: Sequence[NearParts],
    contaminated: pa.Array,
) -> pa.Table:
    """The samples that are lost to a survivor, as `LOST` has them.

    Args:
        workspace: the corpus.
        connection: to a database with the table `facts`.
        near: the near pairs of each kind; kinds that come first count first.
        contaminated: ids of samples that neither survive nor are lost to one.
    """
    of_kinds, pairs = _touched(connection, near, contaminated)
    samples = connection.sql(
        'SELECT id, "drop", measured FROM facts SEMI JOIN touched USING (id) ORDER BY id'
    ).to_arrow_table()
    ids = samples["id"].combine_chunks()
    compared = []
    for each, (sample_ids, nodes), of_nodes in zip(near, of_kinds, pairs, strict=True):
        of_samples = np.full(len(ids), -1, np.int64)
        of_samples[pc.index_in(sample_ids, value_set=ids).to_numpy()] = nodes
        compared.append(NearPairs(each.kind, of_samples, of_samples, of_nodes))
    lost = elect_survivors(_rank(workspace, connection, samples), compared)
    columns = [
        ids.take(pa.array(lost.sample)),
        ids.take(pa.array(lost.survivor)),
        pa.array([near[kind].kind for kind in lost.kind], pa.string()),
        pa.array(lost.similarity),
    ]
    return pa.table(columns, schema=LOST)


def _touched(
    connection: duckdb.DuckDBPyConnection, near: Sequence[NearParts], contaminated: pa.Array
) -> tuple[list[tuple[pa.Array, np.ndarray]], list[Pairs]]:
    """Make the table `touched`: ids of the samples of near parts.

    Returns:
        For each kind: ids of its samples, with the numbers of their nodes; and the pairs of nodes.
    """
    connection.execute("CREATE OR REPLACE TABLE touched (id VARCHAR)")
    excluded = pa.table({"id": contaminated})
    query = "CREATE OR REPLACE TABLE excluded AS SELECT id FROM stream"
    execute(connection, query, stream=excluded.to_reader())
    of_kinds, pairs = [], []
    for each in near:
        nodes = pa.chunked_array(
            [*each.pairs["a"].chunks, *each.pairs["b"].chunks], pa.string()
        ).unique()
        connection.register("near_nodes", pa.table({"node": nodes, "number": range(len(nodes))}))
        rows = connection.sql(
            f"SELECT id, number FROM facts JOIN near_nodes ON node = {each.part}_id"
            f" ANTI JOIN excluded USING (id) WHERE {each.where}"
        ).to_arrow_table()
        connection.unregister("near_nodes")
        connection.register("added", rows)
        connection.execute("INSERT INTO touched SELECT id FROM added")
        connection.unregister("added")
        of_kinds.append((rows["id"].combine_chunks(), rows["number"].to_numpy()))
        a, b = (
            pc.index_in(each.pairs[side], value_set=nodes).to_numpy().astype(np.int64)
            for side in "ab"
        )
        pairs.append(Pairs(a, b, each.pairs["similarity"].to_numpy()))
    return of_kinds, pairs


def _rank(
    workspace: Workspace, connection: duckdb.DuckDBPyConnection, samples: pa.Table
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
        table = pairs_table(workspace.config.space)
        load_table(connection, workspace, table, schema.PAIRS, ["drop", "id", *of_pairs])
        paired = connection.sql(
            f"SELECT {', '.join(of_pairs)} FROM facts SEMI JOIN touched USING (id)"
            f' LEFT JOIN {table} USING ("drop", id) ORDER BY id'
        ).to_arrow_table()
        for name in of_pairs:
            columns = columns.append_column(name, paired[name])
    pixels = pc.multiply(columns["image_width"].cast("int64"), columns["image_height"])
    caption = pc.fill_null(columns["text_chars"], 0).cast("int64")
    return rank_samples(
        passes(tests, columns), caption.to_numpy(), pc.fill_null(pixels, 0).to_numpy()
    )
