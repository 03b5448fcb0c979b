"""Where the samples lie that `duplicates` names, lost ones and those that stand for them.

Finding them among tens of millions of ids takes seconds, so decisions leave a file of what they
found, by which other policies are judged: it holds for the files of the two tables that it names.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from store import identity
from store.identity import PACKED, pack, words
from store.tables import schema
from store.tables.lance_tables import Tables

COLUMNS = ["drop", "id", "cluster", "kind"]
LOST = "NOT representative"
_FILE, _OF = "_lost.arrow", b"of"
_BITS = 24
_FOUND = pa.schema(
    [
        ("row", pa.int64()),  # of the samples, in ascending order
        ("name", pa.int32()),  # a number for its id
        ("place", pa.int32()),  # its row among those of `duplicates` that are lost; null: it is not
        ("survivor", pa.int32()),  # the name of what it is lost to, -1 where that is no sample
        ("kind", pa.dictionary(pa.int32(), pa.string())),
    ]
)


def find(found: pa.Table, samples: pa.Table) -> pa.Table:
    """A row of `_FOUND` for each sample that is named.

    Args:
        found: the rows of `duplicates` that are lost, `COLUMNS` of them.
        samples: `drop` and `id`, as `pipelines.policy.signal_columns.packed` gives them.
    """
    own, cluster = _packed(found["id"]), pa.nulls(found.num_rows, PACKED)
    near = pc.invert(_stands_anyway(found["kind"])).combine_chunks()
    cluster = pc.replace_with_mask(cluster, near, _packed(found["cluster"].filter(near)))
    rows, ids = _likely(samples["id"], [own, cluster.drop_null()])
    # Those that `found` names come first.
    number = _numbered(pa.concat_arrays([own, cluster, ids]))
    own_name, survivor, name = np.split(number, [len(own), 2 * len(own)])
    known = name <= max(own_name.max(initial=-1), survivor.max(initial=-1))
    rows, name = rows[known], name[known]
    # An id may be in several drops, and lost in some of them only.
    drops = samples["drop"].combine_chunks()
    drop = pc.index_in(found["drop"], value_set=drops.dictionary.cast(pa.string()))
    drop = pc.fill_null(drop, -1).to_numpy().astype(np.int64)
    count = len(drops.dictionary) + 1
    there = pa.array(own_name * count + drop)
    place = pc.index_in(pa.array(name * count + drops.indices.to_numpy()[rows]), value_set=there)
    lost_to = pa.array(survivor, pa.int32()).take(place)
    kinds = found["kind"].combine_chunks().dictionary_encode().take(place)
    return pa.table([pa.array(rows), pa.array(name, pa.int32()), place, lost_to, kinds], _FOUND)


def hold(tables: Tables, found: pa.Table, of: bytes) -> None:
    """Leave what was found; `of` are the tables' `files`, asked for before it was looked for: what
    is published meanwhile leaves it of no use, and not wrong."""
    place = Path(tables.root, _FILE)
    part = place.with_suffix(".part")
    told = found.replace_schema_metadata({_OF: of})
    feather.write_feather(told, str(part), compression="uncompressed")
    os.replace(part, place)


def held(tables: Tables) -> pa.Table | None:
    """What was left, where it was found among these tables."""
    try:
        found = feather.read_table(f"{tables.root}/{_FILE}", memory_map=True)
    except (OSError, pa.ArrowInvalid):
        return None
    told = (found.schema.metadata or {}).get(_OF)
    return found if told == files(tables) and found.schema.equals(_FOUND) else None


def files(tables: Tables) -> bytes:
    """A digest of the files that the rows are in, and of what says which of these are deleted."""
    found = [
        [str(fragment.metadata.files), str(fragment.metadata.deletion_file)]
        for name in ("signals", "duplicates")
        if tables.exists(name)
        for fragment in tables.open(name).get_fragments()
    ]
    return identity.run_key(found).encode()


def _numbered(ids: pa.Array) -> np.ndarray:
    """(n,) int64, one number for each id in the order in which they come; -1 where one is null."""
    high, low = words(ids).T
    numbered = _encoded(pa.array(high.astype(np.uint64), mask=np.asarray(ids.is_null())))
    first = np.flatnonzero(np.diff(np.maximum.accumulate(numbered), prepend=-1))
    # Half of an id tells it from others, unless somebody takes pains.
    if (low[first[numbered]] == low)[numbered >= 0].all():
        return numbered
    return _encoded(ids)


def _encoded(values: pa.Array) -> np.ndarray:
    return pc.fill_null(values.dictionary_encode().indices, -1).to_numpy().astype(np.int64)


def _packed(ids: pa.ChunkedArray) -> pa.Array:
    return pack(ids.combine_chunks())


def _likely(ids: pa.ChunkedArray, names: list[pa.Array]) -> tuple[np.ndarray, pa.Array]:
    """Rows whose id may be among names, and these ids: by the first bits, every one whose is, and
    few others."""
    wanted = np.zeros(1 << _BITS, bool)
    for some in names:
        wanted[_first_bits(some)] = True
    start, rows, likely = 0, [np.zeros(0, np.int64)], [pa.array([], PACKED)]
    for chunk in ids.chunks:
        places = np.flatnonzero(wanted[_first_bits(chunk)])
        rows.append(places + start)
        likely.append(chunk.take(pa.array(places)))
        start += len(chunk)
    return np.concatenate(rows), pa.concat_arrays(likely)


def _first_bits(ids: pa.Array) -> np.ndarray:
    return (words(ids, ">u4")[:, 0] >> np.uint32(32 - _BITS)).astype(np.int32)


def _stands_anyway(kind: pa.ChunkedArray) -> pa.ChunkedArray:
    """Equal content has equal signals, and evaluation samples are never judged."""
    return pc.or_(pc.equal(kind, "exact"), pc.starts_with(kind, schema.EVALUATION))
