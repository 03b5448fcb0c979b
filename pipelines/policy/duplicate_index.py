"""Find the samples that `duplicates` names: those that are lost, and their survivors.

To find them among tens of millions of ids takes seconds. So the stage `decisions` caches the index
in a file beside the tables, and other policies are judged by it. The cache names the data files of
the tables it was built from, and is ignored if these changed.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from pipelines.policy.column_files import Columns
from store import identity
from store.errors import NotFoundError
from store.identity import PACKED, id_words, pack_ids
from store.tables import schema
from store.tables.lance_tables import Tables

COLUMNS = ["drop", "id", "cluster", "kind"]  # of `duplicates`
LOST = "NOT representative"  # SQL for the rows of lost samples
FILE = "_lost.arrow"  # beside the tables
_BUILT_FROM = b"of"
_BITS = 24
_INDEX = pa.schema(
    [
        ("row", pa.int64()),  # of the samples, ascending
        ("name", pa.int32()),  # a number for the sample's id
        ("place", pa.int32()),  # its row among the lost rows of `duplicates`; null: it is not lost
        ("survivor", pa.int32()),  # name of the sample it is lost to; -1 if that is no sample
        ("kind", pa.dictionary(pa.int32(), pa.string())),
    ]
)


def build_index(lost: pa.Table, samples: Columns) -> pa.Table:
    """The index: a row for each sample that `duplicates` names.

    Args:
        lost: the rows of `duplicates` with `LOST`, their `COLUMNS`.
        samples: `drop` and `id`, as `pipelines.policy.signal_columns.packed` gives them.

    Returns:
        Columns row, name, place, survivor, kind.
    """
    ids, survivors = _packed(lost["id"]), pa.nulls(lost.num_rows, PACKED)
    is_near = pc.invert(_has_no_survivor(lost["kind"])).combine_chunks()
    survivors = pc.replace_with_mask(survivors, is_near, _packed(lost["cluster"].filter(is_near)))
    rows, row_ids = _candidate_rows(samples["id"], [ids, survivors.drop_null()])
    # Ids are numbered in the order of their appearance: those that `duplicates` names come first.
    number = _numbered(pa.concat_arrays([ids, survivors, row_ids]))
    lost_name, survivor, name = np.split(number, [len(ids), 2 * len(ids)])
    is_named = name <= max(lost_name.max(initial=-1), survivor.max(initial=-1))
    rows, name = rows[is_named], name[is_named]
    # An id may be in several drops, and lost in some of them only.
    drops = samples["drop"].combine_chunks()
    lost_drop = pc.index_in(lost["drop"], value_set=drops.dictionary.cast(pa.string()))
    lost_drop = pc.fill_null(lost_drop, -1).to_numpy().astype(np.int64)
    count = len(drops.dictionary) + 1
    lost_keys = pa.array(lost_name * count + lost_drop)
    keys = pa.array(name * count + drops.indices.to_numpy()[rows])
    place = pc.index_in(keys, value_set=lost_keys)
    survivor_of = pa.array(survivor, pa.int32()).take(place)
    kinds = lost["kind"].combine_chunks().dictionary_encode().take(place)
    columns = [pa.array(rows), pa.array(name, pa.int32()), place, survivor_of, kinds]
    return pa.table(columns, _INDEX)


def write_cache(tables: Tables, index: pa.Table, digest: bytes) -> None:
    """Cache the index beside the tables.

    Args:
        digest: `tables_digest(tables)`, computed before the index was built. If a table was
            published in between, the cache does not match the tables and is ignored.
    """
    marked = index.replace_schema_metadata({_BUILT_FROM: digest})
    tables.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=tables.scratch) as folder:
        path = Path(folder, FILE)
        feather.write_feather(marked, str(path), compression="uncompressed")
        tables.files.upload(path, FILE)


def read_cache(tables: Tables) -> pa.Table | None:
    """The cached index, memory-mapped; None if there is none for the current tables."""
    try:
        path = tables.files.local_copy(FILE, tables.scratch)
        index = feather.read_table(str(path), memory_map=True)
    except (NotFoundError, OSError, pa.ArrowInvalid):
        return None
    digest = (index.schema.metadata or {}).get(_BUILT_FROM)
    return index if digest == tables_digest(tables) and index.schema.equals(_INDEX) else None


def tables_digest(tables: Tables) -> bytes:
    """A digest of the names of the data files and deletion files of `signals` and `duplicates`."""
    names = [
        [str(fragment.metadata.files), str(fragment.metadata.deletion_file)]
        for name in ("signals", "duplicates")
        if (dataset := tables.open_or_none(name)) is not None
        for fragment in dataset.get_fragments()
    ]
    return identity.run_key(names).encode()


def _numbered(ids: pa.Array) -> np.ndarray:
    """Number distinct packed ids in the order of their appearance.

    Returns:
        (n,) int64, -1 for null.
    """
    high, low = id_words(ids).T
    number = _encoded(pa.array(high.astype(np.uint64), mask=np.asarray(ids.is_null())))
    first = np.flatnonzero(np.diff(np.maximum.accumulate(number), prepend=-1))
    # Half of an id nearly always identifies it, and is faster to encode; ids that were crafted to
    # collide are encoded in full.
    if (low[first[number]] == low)[number >= 0].all():
        return number
    return _encoded(ids)


def _encoded(values: pa.Array) -> np.ndarray:
    return pc.fill_null(values.dictionary_encode().indices, -1).to_numpy().astype(np.int64)


def _packed(ids: pa.ChunkedArray) -> pa.Array:
    return pack_ids(ids.combine_chunks())


def _candidate_rows(ids: pa.ChunkedArray, names: list[pa.Array]) -> tuple[np.ndarray, pa.Array]:
    """Rows whose id has the same first bits as one of `names`, and their ids.

    These are all rows whose id is one of `names`, and few others.
    """
    is_named = np.zeros(1 << _BITS, bool)
    for packed in names:
        is_named[_first_bits(packed)] = True
    start, rows, candidates = 0, [np.zeros(0, np.int64)], [pa.array([], PACKED)]
    for chunk in ids.chunks:
        chunk_rows = np.flatnonzero(is_named[_first_bits(chunk)])
        rows.append(chunk_rows + start)
        candidates.append(chunk.take(pa.array(chunk_rows)))
        start += len(chunk)
    return np.concatenate(rows), pa.concat_arrays(candidates)


def _first_bits(ids: pa.Array) -> np.ndarray:
    return (id_words(ids, ">u4")[:, 0] >> np.uint32(32 - _BITS)).astype(np.int32)


def _has_no_survivor(kind: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether a row is lost whatever the policy decides of the sample that it is lost to.

    Exact copies have the same signals as their representative, so they pass or fail together.
    Samples of an evaluation are not judged.
    """
    return pc.or_(pc.equal(kind, "exact"), pc.starts_with(kind, schema.EVALUATION_PREFIX))
