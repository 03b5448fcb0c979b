"""Read the samples that the decisions keep, and group them into clusters.

A cluster holds samples that share a part, directly or through other samples (five captions of one
image, one caption of three images). Splits and masks go by cluster, so that no bank contains
anything of a test pair.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.arrays import connected_components
from store.arrow import joined_keys
from store.tables import schema
from store.workspace import Workspace

_PARTS = [f"{m}_id" for m in schema.MODALITIES]
_COLUMNS = ["drop", "id", "key", *_PARTS, "text"]


def kept_samples(workspace: Workspace) -> pa.Table:
    """The kept samples, one row each, sorted by drop, key and id.

    The order is fixed, so that what is built from the samples does not depend on their arrival.
    A caption that the policy repaired is the new one.

    Returns:
        Columns drop, id, key, image_id, text_id, audio_id, text, `row` (the row id in `samples`)
        and `cluster`.
    """
    tables = workspace.tables
    columns = ["drop", "id", "repair_text_id", "repair_text"]
    decisions = tables.scan("decisions", schema.DECISIONS, columns, "keep")
    samples = tables.open("samples").to_table(columns=_COLUMNS, with_row_id=True)
    samples = samples.rename_columns([*_COLUMNS, "row"])
    kept_keys = joined_keys(decisions, ["drop", "id"])
    decision = pc.index_in(joined_keys(samples, ["drop", "id"]), value_set=kept_keys)
    kept = samples.filter(pc.is_valid(decision))
    decided = decisions.take(decision.drop_null())
    for name in ("text_id", "text"):
        repaired = pc.coalesce(decided[f"repair_{name}"], kept[name])
        kept = kept.set_column(kept.column_names.index(name), name, repaired)
    kept = kept.sort_by([("drop", "ascending"), ("key", "ascending"), ("id", "ascending")])
    return kept.append_column("cluster", clusters(kept))


def clusters(samples: pa.Table) -> pa.Array:
    """The cluster of each sample: the smallest sample id of its connected component."""
    count = samples.num_rows
    if not count:
        return pa.array([], pa.string())
    parts = pa.concat_arrays(
        [samples[c].combine_chunks().cast(pa.string()) for c in _PARTS]
    ).dictionary_encode()
    code = pc.fill_null(parts.indices, -1).to_numpy().astype(np.int64)
    sample = np.tile(np.arange(count), len(_PARTS))
    present = code >= 0
    # A graph of samples and parts: nodes 0 to count - 1 are samples, the others parts.
    nodes = count + len(parts.dictionary)
    component = connected_components(sample[present], count + code[present], nodes)[:count]
    ids = samples["id"].to_numpy(zero_copy_only=False)
    order = np.lexsort((ids, component))
    is_first = np.r_[True, component[order][1:] != component[order][:-1]]
    smallest = np.empty(component.max() + 1, dtype=object)
    smallest[component[order][is_first]] = ids[order][is_first]
    return pa.array(smallest[component], pa.string())
