"""Keep the results of comparisons: a new drop costs what is new, no pair is compared twice.

The table `compared` lists the nodes that were compared, by kind of comparison, and `near_pairs`
the pairs that were found. Both store a hash of the settings: with other settings all nodes are
compared again. Nodes that are no longer in the corpus are deleted.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.tables.lance_tables import Tables, quote

_TEXT = {name: pa.field(name, pa.string(), nullable=False) for name in ("kind", "settings", "node")}
# a and b are nodes, which are part ids; in a comparison with an evaluation set b is a sample's key.
NEAR_PAIRS = pa.schema(
    [
        _TEXT["kind"],
        _TEXT["settings"],
        pa.field("a", pa.string(), nullable=False),
        pa.field("b", pa.string(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
    ]
)
COMPARED = pa.schema(list(_TEXT.values()))
MINHASHES = pa.schema([_TEXT["node"], pa.field("signature", pa.binary(256), nullable=False)])
_HASHES = 128

# (nodes, index of the first new one) -> a, b and similarity of the pairs with a new node
Find = Callable[[pa.Array, int], tuple[pa.Array, pa.Array, np.ndarray]]


def near_pairs(
    tables: Tables, kind: str, settings: str, nodes: pa.Array, find: Find, among: bool = True
) -> pa.Table:
    """All near pairs of the current nodes; only new nodes are compared.

    Args:
        tables: the tables of the corpus.
        kind: the name of the comparison.
        settings: a hash of everything that its results depend on beside the nodes.
        nodes: the current nodes, unique strings.
        find: compares nodes; it gets those that were compared before first.
        among: whether nodes are compared with each other, so that b is a node too.

    Returns:
        Columns a, b, similarity.
    """
    current = f"kind = {quote(kind)} AND settings = {quote(settings)}"
    compared = tables.scan("compared", COMPARED, ["node"], current)["node"].combine_chunks()
    was_compared = pc.is_in(nodes, value_set=compared)
    old, new = nodes.filter(was_compared), nodes.filter(pc.invert(was_compared))
    columns = ["a", "b", "similarity"]
    pairs = tables.scan("near_pairs", NEAR_PAIRS, columns, current)
    for side in ("a", "b") if among else ("a",):
        pairs = pairs.filter(pc.is_in(pairs[side], value_set=old))
    if not len(new) and len(old) == len(compared):
        return pairs
    if len(new):
        a, b, similarity = find(pa.concat_arrays([old, new]), len(old))
        found = pa.table([a, b, pa.array(similarity, pa.float32())], names=columns)
        pairs = pa.concat_tables([pairs, found.cast(pairs.schema)])
    # Pairs are written first. If the run dies in between, the new nodes are compared again, and
    # the pairs of nodes that are not listed as compared are filtered out above.
    _replace(tables, "near_pairs", NEAR_PAIRS, kind, settings, pairs)
    _replace(tables, "compared", COMPARED, kind, settings, pa.table({"node": nodes}))
    return pairs


def signatures(
    tables: Tables, nodes: pa.Array, sign: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The MinHash signatures of texts, stored in the table `minhashes`; only new ones are computed.

    Args:
        tables: the tables of the corpus.
        nodes: part ids of the texts.
        sign: indices (k,) of nodes -> their signatures (k, 128) uint16.

    Returns:
        (n, 128) uint16.
    """
    stored = tables.scan("minhashes", MINHASHES)
    stored_row = pc.index_in(nodes, value_set=stored["node"].combine_chunks())
    new = np.flatnonzero(pc.is_null(stored_row).to_numpy(zero_copy_only=False))
    out = np.empty((len(nodes), _HASHES), np.uint16)
    column_type = MINHASHES.field("signature").type
    computed = sign(new)
    if len(new):
        buffer = pa.py_buffer(np.ascontiguousarray(computed))
        column = pa.FixedSizeBinaryArray.from_buffers(column_type, len(new), [None, buffer])
        rows = pa.table([nodes.take(pa.array(new)), column], schema=MINHASHES)
        tables.replace("minhashes", MINHASHES, rows.to_batches(), "false")
    out[new] = computed
    old = np.setdiff1d(np.arange(len(nodes)), new)
    if len(old):
        rows = stored["signature"].combine_chunks().take(stored_row.take(pa.array(old)))
        out[old] = binary_matrix(rows, np.uint16)
    return out


def forget_signatures(tables: Tables, nodes: pa.Array) -> None:
    """Delete the stored signatures of texts that are not among `nodes`."""
    stored = tables.scan("minhashes", MINHASHES, ["node"])["node"].combine_chunks()
    gone = stored.filter(pc.invert(pc.is_in(stored, value_set=nodes))).to_pylist()
    if gone:
        ids = ", ".join(map(quote, gone))
        tables.replace("minhashes", MINHASHES, [], f"node IN ({ids})")


def binary_matrix(column: pa.Array, dtype: type) -> np.ndarray:
    """A column of fixed-size binaries without nulls as a matrix (n, values), a view."""
    width = column.type.byte_width
    flat = np.frombuffer(column.buffers()[1], np.uint8)
    flat = flat[column.offset * width : (column.offset + len(column)) * width]
    return flat.reshape(len(column), width).view(dtype)


def _replace(
    tables: Tables, name: str, columns: pa.Schema, kind: str, settings: str, rows: pa.Table
) -> None:
    """Replace all rows of a kind, those of other settings too."""
    constants = {"kind": kind, "settings": settings}
    arrays = [
        pa.array([constants[f.name]] * rows.num_rows, pa.string())
        if f.name in constants
        else rows[f.name]
        for f in columns
    ]
    batches = pa.table(arrays, schema=columns).to_batches()
    tables.replace(name, columns, batches, f"kind = {quote(kind)}")
