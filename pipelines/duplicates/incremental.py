"""What was compared before: a new drop costs what is new, and nothing is compared twice.

`compared` lists what was compared in each kind, and `near_pairs` what was found, both under a hash
of the settings. Other settings begin anew; what is gone is forgotten.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.tables.lance_tables import Tables, quote

_TEXT = {name: pa.field(name, pa.string(), nullable=False) for name in ("kind", "settings", "node")}
# a and b are what was compared: part ids, or a key of an evaluation's sample.
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

# (nodes, place of the first new one) -> nodes, what they are near to, similarity
Find = Callable[[pa.Array, int], tuple[pa.Array, pa.Array, np.ndarray]]


def compare(
    tables: Tables, kind: str, settings: str, nodes: pa.Array, find: Find, among: bool = True
) -> pa.Table:
    """All near pairs (a, b, similarity) of these nodes, of which only new ones are compared.

    Args:
        nodes: what there is now, unique strings; `find` gets them with the known ones first.
        among: whether b is a node too.
    """
    here = f"kind = {quote(kind)} AND settings = {quote(settings)}"
    compared = tables.scan("compared", COMPARED, ["node"], here)["node"].combine_chunks()
    known = pc.is_in(nodes, value_set=compared)
    old, new = nodes.filter(known), nodes.filter(pc.invert(known))
    columns = ["a", "b", "similarity"]
    pairs = tables.scan("near_pairs", NEAR_PAIRS, columns, here)
    for side in ("a", "b") if among else ("a",):
        pairs = pairs.filter(pc.is_in(pairs[side], value_set=old))
    if not len(new) and len(old) == len(compared):
        return pairs
    if len(new):
        a, b, similarity = find(pa.concat_arrays([old, new]), len(old))
        added = pa.table([a, b, pa.array(similarity, pa.float32())], names=columns)
        pairs = pa.concat_tables([pairs, added.cast(pairs.schema)])
    mine = f"kind = {quote(kind)}"
    # Pairs first: a run that dies in between compares what is new once more, and forgets the
    # pairs of what it does not know.
    _replace(tables, "near_pairs", NEAR_PAIRS, kind, settings, pairs, mine)
    whole = pa.table({"node": nodes})
    _replace(tables, "compared", COMPARED, kind, settings, whole, mine)
    return pairs


def signatures(
    tables: Tables, nodes: pa.Array, sign: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Uint16 (n, 128), the MinHash signatures of texts; only new ones are made, by their places."""
    known = tables.scan("minhashes", MINHASHES)
    place = pc.index_in(nodes, value_set=known["node"].combine_chunks())
    new = np.flatnonzero(pc.is_null(place).to_numpy(zero_copy_only=False))
    out = np.empty((len(nodes), 128), np.uint16)
    width = MINHASHES.field("signature").type
    made = sign(new)
    if len(new):
        flat = pa.py_buffer(np.ascontiguousarray(made))
        column = pa.FixedSizeBinaryArray.from_buffers(width, len(new), [None, flat])
        rows = pa.table([nodes.take(pa.array(new)), column], schema=MINHASHES)
        tables.replace("minhashes", MINHASHES, rows.to_batches(), "false")
    out[new] = made
    old = np.setdiff1d(np.arange(len(nodes)), new)
    if len(old):
        rows = known["signature"].combine_chunks().take(place.take(pa.array(old)))
        out[old] = as_rows(rows, np.uint16)
    return out


def forget_signatures(tables: Tables, nodes: pa.Array) -> None:
    """Delete the signatures of texts that are not among `nodes`."""
    known = tables.scan("minhashes", MINHASHES, ["node"])["node"].combine_chunks()
    gone = known.filter(pc.invert(pc.is_in(known, value_set=nodes))).to_pylist()
    if gone:
        listed = ", ".join(map(quote, gone))
        tables.replace("minhashes", MINHASHES, [], f"node IN ({listed})")


def as_rows(column: pa.Array, kind: type) -> np.ndarray:
    """A column of fixed-size binaries without nulls as a matrix."""
    width = column.type.byte_width
    flat = np.frombuffer(column.buffers()[1], np.uint8)
    flat = flat[column.offset * width : (column.offset + len(column)) * width]
    return flat.reshape(len(column), width).view(kind)


def _replace(
    tables: Tables,
    name: str,
    columns: pa.Schema,
    kind: str,
    settings: str,
    rows: pa.Table,
    mine: str,
) -> None:
    marks = {"kind": kind, "settings": settings}
    arrays = [
        pa.array([marks[f.name]] * rows.num_rows, pa.string()) if f.name in marks else rows[f.name]
        for f in columns
    ]
    tables.replace(name, columns, pa.table(arrays, schema=columns).to_batches(), mine)
