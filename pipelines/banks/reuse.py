"""Banks that stay as they were drawn while the corpus grows: new rows then cost what they cost.

Corrections are measured on fixed samples, so a bank that is drawn anew is a fit of everything. The
banks are kept until their settings change, until something in them is gone, until what was apart
has come to belong together, or until the corpus would fill a bank twice as large: rows that
arrive one by one are fitted anew a number of times that grows with the logarithm of their number.
"""

import pyarrow as pa
import pyarrow.compute as pc

from store.errors import NotFoundError
from store.tables import schema
from store.tables.lance_tables import Tables

GROWTH = 2
HELD_OUT = ("validation", "test")


def last_banks(tables: Tables, name: str) -> pa.Table | None:
    """The banks as they were drawn last, or None."""
    try:
        return tables.open(name).to_table()
    except NotFoundError:
        return None


def hold(last: pa.Table | None, draw: str, samples: pa.Table, pairs: int) -> pa.Table | None:
    """The last banks with today's clusters, or None where they are to be drawn anew.

    Args:
        last: rows of `banks__{space}`.
        draw: what today's banks would be drawn by.
        samples: kept samples (`pipelines.decisions.kept_samples`).
        pairs: how many pairs today's bank would have.
    """
    if last is None or not last.num_rows or "draw" not in last.schema.names:
        return None
    if pc.unique(last["draw"]).to_pylist() != [draw]:
        return None
    of_corpus = pc.equal(last["origin"], "corpus").to_pylist()
    splits, ids = last["split"].to_pylist(), last["sample_id"].to_pylist()
    held = {i for i, split in zip(ids, splits, strict=True) if split == "bank"}
    by_sample = _clusters(samples, "id")
    gone = any(mine and i not in by_sample for mine, i in zip(of_corpus, ids, strict=True))
    if gone or pairs >= GROWTH * len(held):
        return None
    by_part: dict[str, str] = {}
    for modality in schema.MODALITIES:
        by_part |= _clusters(samples, f"{modality}_id")
    clusters = [
        by_sample[i] if mine else by_part.get(part, old)
        for mine, i, part, old in zip(
            of_corpus, ids, last["part_id"].to_pylist(), last["cluster"].to_pylist(), strict=True
        )
    ]
    sides: dict[str, str] = {}
    for split, cluster in zip(splits, clusters, strict=True):
        side = split if split in HELD_OUT else "bank"
        if sides.setdefault(cluster, side) != side:  # a bank would see what it is tested by
            return None
    place = last.schema.get_field_index("cluster")
    return last.set_column(place, last.schema.field("cluster"), pa.array(clusters, pa.string()))


def _clusters(samples: pa.Table, column: str) -> dict[str, str]:
    return dict(zip(samples[column].to_pylist(), samples["cluster"].to_pylist(), strict=True))
