"""The samples that the decisions keep, and the clusters in which they hang together.

A cluster holds samples that share a part, directly or through others (five captions of one
image; one caption of three images). Splits and masks go by cluster, so that nothing of a test
pair is ever seen by a bank.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.arrays import connected_components
from store.tables import schema
from store.workspace import Workspace

_PARTS = [f"{m}_id" for m in schema.MODALITIES]
_COLUMNS = ["drop", "id", "key", *_PARTS, "text"]


def kept_samples(workspace: Workspace) -> pa.Table:
    """One row a kept sample: drop, id, key, part ids, text, `row` (its row id), `cluster`.

    Sorted by drop, key and id, so that what is built of it does not depend on arrival.
    """
    tables = workspace.tables
    decisions = tables.scan("decisions", schema.DECISIONS, ["drop", "id"], "keep")
    samples = tables.open("samples").to_table(columns=_COLUMNS, with_row_id=True)
    samples = samples.rename_columns([*_COLUMNS, "row"])
    places = _places(samples)
    kept = samples.filter(pc.is_in(places, value_set=_places(decisions)))
    kept = kept.sort_by([("drop", "ascending"), ("key", "ascending"), ("id", "ascending")])
    return kept.append_column("cluster", clusters(kept))


def clusters(samples: pa.Table) -> pa.Array:
    """The cluster of each sample: the least sample id of its connected component."""
    count = samples.num_rows
    if not count:
        return pa.array([], pa.string())
    parts = pa.concat_arrays(
        [samples[c].combine_chunks().cast(pa.string()) for c in _PARTS]
    ).dictionary_encode()
    code = pc.fill_null(parts.indices, -1).to_numpy().astype(np.int64)
    sample = np.tile(np.arange(count), len(_PARTS))
    present = code >= 0
    nodes = count + len(parts.dictionary)
    component = connected_components(sample[present], count + code[present], nodes)[:count]
    ids = samples["id"].to_numpy(zero_copy_only=False)
    order = np.lexsort((ids, component))
    starts = np.r_[True, component[order][1:] != component[order][:-1]]
    least = np.empty(component.max() + 1, dtype=object)
    least[component[order][starts]] = ids[order][starts]
    return pa.array(least[component], pa.string())


def _places(table: pa.Table) -> pa.Array:
    joined = pc.binary_join_element_wise(table["drop"], table["id"], "\n")
    return joined.combine_chunks()
